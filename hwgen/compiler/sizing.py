"""Accelerators for models: how large they must be, and whether one is. Tested by tests/compiler/test_layout.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.compiler.features import check_features, features
from hwgen.compiler.layout import Layout, div_up
from hwgen.machine.params import HwParams
from hwgen.network.description import Description

__all__ = ["auto_params", "buffer_needs", "check_fits"]

#: What row blocks share gets a place in the weight ring of an accelerator sized for its models, if it is not more.
RING_BYTES = 1 << 18


def buffer_needs(desc: Description, p: HwParams, batch: int = 1) -> dict[str, int]:
    """Least values of the size fields of HwParams for all tasks of `desc` on an array shaped like `p`."""
    return {name: value for name, (value, _) in Layout(desc, p, batch).worst().items()}


def check_fits(desc: Description, p: HwParams, batch: int = 1) -> None:
    """Raises HwgenError naming a feature that is not there, or every buffer that is too small, what needs it, and by
    how much."""
    check_features(desc.model, p)
    short = [
        (name, getattr(p, name), need, what)
        for name, (need, what) in Layout(desc, p, batch).worst().items()
        if need > getattr(p, name)
    ]
    if short:
        raise HwgenError(
            f"model {desc.model.name}",
            ", ".join(name for name, *_ in short),
            expected=", ".join(f"{name} of at least {need} ({what})" for name, _, need, what in short),
            found=", ".join(f"{name} = {have}, too small by {need - have}" for name, have, need, _ in short),
            mend="enlarge the buffers, or generate an accelerator sized for this model",
        )


def auto_params(
    descs: Sequence[Description], t: int, c: int, k: int, *, weight_bus: int = 256, data_bus: int = 128,
    weight_ports: int = 1, batch: int = 1,
) -> HwParams:  # fmt: skip
    """An accelerator of this array shape just large enough for all of `descs`, `batch` images at once.

    Depths are rounded up to what block RAM gives for nothing: powers of two up to 512, then multiples of 512. The
    weight ring also holds what row blocks share, up to RING_BYTES: else units wait for each other.
    """
    shape = HwParams(t=t, c=c, k=k, weight_bus=weight_bus, data_bus=data_bus, weight_ports=weight_ports)
    sizes: dict[str, Any] = {}
    for desc in descs:
        for name, need in buffer_needs(desc, shape, batch).items():
            sizes[name] = max(need, sizes.get(name, 0))
        kept = [words for words in Layout(desc, shape, batch).kept() if words * shape.ring_bytes <= RING_BYTES]
        sizes["weight_depth"] = max([sizes["weight_depth"], *kept])
    for name in sizes:
        if name == "weight_depth":  # a ring: its counters wrap
            sizes[name] = _power_of_two(sizes[name])
        elif name.endswith("_depth"):
            sizes[name] = min(_power_of_two(sizes[name]), div_up(sizes[name], 512) * 512)
    return replace(shape, **sizes, **{name: True for desc in descs for name in features(desc.model)})


def _power_of_two(value: int) -> int:
    return 1 << max(1, (value - 1).bit_length())
