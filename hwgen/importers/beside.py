"""What files beside a checkpoint state of its network: `config.json` of timm or of transformers, and transformers'
`preprocessor_config.json`. Only what the importers ask for is read; the network itself is read off the tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import validate
from hwgen.importers.architectures import ARCHITECTURES
from hwgen.importers.common import Finite, ImageSize, Normalize, Overrides, Positive
from hwgen.network.description import Count

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
#: transformers' networks whose head reads the class token.
CLASS_TOKEN = ("vit", "deit")


class _Read(BaseModel):
    """Some keys of a file that has more."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class _Pretrained(_Read):
    mean: list[Finite] | None = None
    std: list[Positive] | None = None
    input_size: list[Count] | None = None


class _Arguments(_Read):
    """Of the constructor, where they differ from the architecture's."""

    num_heads: Count | None = None
    act_layer: str | None = None
    norm_layer: str | None = None
    block_fn: str | None = None
    img_size: Count | list[Count] | None = None
    global_pool: str | None = None


class _Timm(_Read):
    architecture: str
    num_features: Count | None = None
    global_pool: str | None = None
    pretrained_cfg: _Pretrained = _Pretrained()
    model_args: _Arguments = _Arguments()


class _Transformers(_Read):
    model_type: str | None = None
    hidden_size: Count
    num_attention_heads: Count
    layer_norm_eps: Positive | None = None
    hidden_act: str | None = None
    image_size: Count | list[Count] | None = None


class _Preprocessor(_Read):
    do_normalize: bool = True
    do_rescale: bool = True
    rescale_factor: Positive = 1 / 255
    image_mean: list[Finite] | None = None
    image_std: list[Positive] | None = None


@dataclass
class Stated:
    """What the files in a folder state.

    values:  by key of Overrides
    origins: the file and key that states each
    taken:   of these, those which the user left open
    width:   of a token; None: not stated
    """

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    width: int | None = None
    #: Files that were not understood.
    warnings: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, origin: str) -> None:
        """A value of `Overrides`, unless it is None; two files must not state different ones."""
        if value is None:
            return
        if _show(self.values.get(key, value)) != _show(value):
            expected = f"{_show(self.values[key])}, as {self.origins[key]} states"
            raise HwgenError(str(self.folder), key, expected=expected, found=f"{_show(value)} in {origin}",
                             mend="correct the wrong one of these files")  # fmt: skip
        self.values[key], self.origins[key] = value, origin

    def fill(self, overrides: Overrides) -> tuple[Overrides, list[str], list[str]]:
        """Overrides with what is stated where nothing is given; notes of what was taken, warnings of contradictions."""
        filled: dict[str, Any] = {}
        notes, warnings = [], list(self.warnings)
        for key, value in self.values.items():
            given, origin = getattr(overrides, key), self.origins[key]
            if key == "heads" and overrides.head_dim is not None:
                continue
            if given is None:
                filled[key], self.taken[key] = value, origin
                notes.append(f"{key} {_show(value)}: stated by {origin}")
            elif _show(given) != _show(value):
                warnings.append(f"{key} {_show(given)}, as given, though {origin} states {_show(value)}")
        return overrides.model_copy(update=filled), notes, warnings

    def check_width(self, width: int, where: str) -> None:
        """HwgenError if the files are another network's than the checkpoint's, `where`, whose tokens are so wide."""
        if self.width not in (None, width):
            expected = f"the network of {where}, whose tokens are {width} wide"
            raise HwgenError(str(self.folder / CONFIG), expected=expected, found=f"one of {self.width}",
                             mend="keep the checkpoint in a folder of its own, or remove that file")  # fmt: skip


def stated(checkpoint: Path) -> Stated:
    """What the files in a checkpoint's folder, or in the folder that it is, state."""
    found = Stated(checkpoint if checkpoint.is_dir() else checkpoint.parent)
    config = _read(found.folder / CONFIG)
    if config is not None:
        where = str(found.folder / CONFIG)
        if "architecture" in config:
            # Older files have the keys of `pretrained_cfg` beside the others.
            _timm(validate(_Timm, {"pretrained_cfg": config} | config, where), where, found)
        elif "hidden_size" in config and "num_attention_heads" in config:
            _transformers(validate(_Transformers, config, where), found)
        else:
            found.warnings.append(f"{CONFIG} is neither timm's nor transformers': nothing was taken from it")
    preprocessor = _read(found.folder / PREPROCESSOR)
    if preprocessor is not None:
        _preprocessor(validate(_Preprocessor, preprocessor, str(found.folder / PREPROCESSOR)), found)
    return found


def _read(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None without such a file."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HwgenError(str(path), expected="a readable JSON file", found=str(error),
                         mend="correct or remove it") from None  # fmt: skip
    if not isinstance(content, dict):
        raise HwgenError(str(path), expected="a mapping of keys to values", found=type(content).__name__,
                         mend="correct or remove it")  # fmt: skip
    return content


def _timm(config: _Timm, where: str, found: Stated) -> None:
    known, given, trained = ARCHITECTURES.get(config.architecture), config.model_args, config.pretrained_cfg
    post_norm = ("architecture", config.architecture) if known is not None and known.post_norm else None
    other = ("model_args.block_fn", given.block_fn) if given.block_fn not in (None, "Block") else None
    for key, block in filter(None, (post_norm, other)):
        raise HwgenError(where, key, expected="blocks with the norms in front of attention and MLP", found=repr(block),
                         mend="post-norm and other blocks are not supported yet")  # fmt: skip
    if (given.norm_layer or "layernorm").lower() != "layernorm":
        raise HwgenError(where, "model_args.norm_layer", expected="layernorm", found=repr(given.norm_layer),
                         mend="other norms, as RMSNorm, are not supported yet")  # fmt: skip
    found.width = config.num_features
    found.put("heads", given.num_heads, f"{CONFIG}: model_args.num_heads")
    found.put("activation", given.act_layer, f"{CONFIG}: model_args.act_layer")
    if known is not None:
        implied = {"heads": known.heads, "activation": known.activation, "layer_norm_eps": known.eps}
        for key in sorted(implied.keys() - found.values.keys()):
            found.put(key, implied[key], f"{CONFIG}: architecture {config.architecture}")
    if config.global_pool is not None:
        found.put("pooling", config.global_pool, f"{CONFIG}: global_pool")
    else:
        found.put("pooling", given.global_pool, f"{CONFIG}: model_args.global_pool")
    if trained.mean is not None and trained.std is not None:
        normalize = Normalize(mean=[255 * value for value in trained.mean], std=[255 * value for value in trained.std])
        found.put("normalize", normalize, f"{CONFIG}: pretrained_cfg")
    if given.img_size is not None:
        _put_size(given.img_size, f"{CONFIG}: model_args.img_size", found)
    elif trained.input_size is not None:
        _put_size(trained.input_size[1:], f"{CONFIG}: pretrained_cfg.input_size", found)


def _transformers(config: _Transformers, found: Stated) -> None:
    found.width = config.hidden_size
    found.put("heads", config.num_attention_heads, f"{CONFIG}: num_attention_heads")
    found.put("activation", config.hidden_act, f"{CONFIG}: hidden_act")
    found.put("layer_norm_eps", config.layer_norm_eps, f"{CONFIG}: layer_norm_eps")
    if config.model_type in CLASS_TOKEN:
        found.put("pooling", "token", f"{CONFIG}: model_type {config.model_type}")
    if config.image_size is not None:
        _put_size(config.image_size, f"{CONFIG}: image_size", found)


def _put_size(size: int | list[int], origin: str, found: Stated) -> None:
    """A square's side, or height and width; anything else says nothing."""
    sizes = [size, size] if isinstance(size, int) else size
    if len(sizes) == 2:
        found.put("image_size", ImageSize(height=sizes[0], width=sizes[1]), origin)


def _preprocessor(config: _Preprocessor, found: Stated) -> None:
    unit = round(1 / config.rescale_factor, 9) if config.do_rescale else 1.0
    mean, std = config.image_mean, config.image_std
    if not config.do_normalize:
        channels = 3 if mean is None else len(mean)
        mean, std = [0.0] * channels, [1.0] * channels
    if mean is not None and std is not None:
        normalize = Normalize(mean=[unit * value for value in mean], std=[unit * value for value in std])
        found.put("normalize", normalize, PREPROCESSOR)


def _show(value: Any) -> str:
    """A value of `Overrides` as the command line takes it."""
    if isinstance(value, Normalize):
        mean, std = (",".join(f"{number / 255:.6g}" for number in numbers) for numbers in (value.mean, value.std))
        return f"mean {mean} std {std}"
    if isinstance(value, ImageSize):
        return f"{value.height}x{value.width}"
    return f"{value:g}" if isinstance(value, float) else str(value)
