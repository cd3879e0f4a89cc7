"""How to quantize: the methods and their settings, the same for `quantize.yaml` and the command line."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict, validate


class Options(Strict):
    """Choices of post-training quantization; docs/quantization.md has each one's effect in figures."""

    #: Where a tensor's range ends: at its extremes, at a percentile, where the squared error is smallest, or by the
    #: kind of tensor (`hwgen.quantize.ranges`).
    ranges: Literal["auto", "minmax", "percentile", "mse"] = "auto"
    #: For `ranges: percentile`: percent of the values within the range.
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    #: Per-channel scales and zero points of post-LayerNorm tensors (RepQ-ViT).
    repq: bool = True
    #: Per-channel factors moved between a linear layer and the next (SmoothQuant; with bias term: MPTQ-ViT).
    equalize: bool = True
    #: Windows of the hidden channels that reach far beyond the others, at most; with `ranges: auto` only.
    windows: Annotated[int, Field(ge=1, le=4)] = 4
    #: Weights to the nearest code, or so that errors make up for each other (GPTQ).
    rounding: Literal["nearest", "second_order"] = "second_order"
    #: Bits of the weights of the linear layers a pattern matches; the last match counts, eight where none does.
    weight_bits: dict[str, Literal[4, 8]] = {}
    #: Integer weights that a checkpoint has (of a quantized ONNX graph) stay as they are, where their bits do.
    keep_weights: bool = True
    #: Bits of a weight on average: a search gives four to the layers `weight_bits` does not name.
    mean_bits: Annotated[float, Field(ge=4, le=8)] | None = None

    def bits(self, layers: Iterable[str], where: str = "options") -> dict[str, int]:
        """Bits of every linear layer a pattern matches; a pattern that matches none raises HwgenError."""
        names = list(layers)
        found: dict[str, int] = {}
        for pattern, bits in self.weight_bits.items():
            matches = fnmatch.filter(names, pattern)
            if not matches:
                raise HwgenError(where, f"weight_bits.{pattern}", found="no such layer",
                                 expected=f"a pattern of linear layers such as `{names[-1]}`",
                                 mend="`*` matches any text, dots too")  # fmt: skip
            found |= dict.fromkeys(matches, bits)
        return found


def parse_options(data: object, where: str) -> Options:
    """Checked options of parsed YAML (None: the defaults); `where` names the file in messages."""
    return validate(Options, {} if data is None else data, where)


def option_strings(settings: Iterable[str], base: Options | None = None, where: str = "command line") -> Options:
    """`base`, or the defaults, changed by settings `key=value` or `weight_bits.PATTERN=bits`."""
    data: dict[str, Any] = base.model_dump(exclude_unset=True) if base else {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise HwgenError(where, setting, expected="key=value", found=repr(setting), mend="for example ranges=mse")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if key.startswith("weight_bits."):
            pattern = key.removeprefix("weight_bits.")
            data["weight_bits"] = {k: v for k, v in data.get("weight_bits", {}).items() if k != pattern}
            data["weight_bits"][pattern] = value
        else:
            data[key] = value
    return validate(Options, data, where)
