"""Accelerators for models: how large they must be, and whether one is. Tested by tests/compiler/test_layout.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.compiler.blocks import PARTS, Blocks, even, spill_unit, spillable
from hwgen.compiler.features import check_features, features
from hwgen.compiler.layout import Layout, div_up
from hwgen.machine.params import HwParams
from hwgen.network.description import Description, MoeMlp

__all__ = ["auto_params", "buffer_bytes", "buffer_needs", "check_fits", "fitted"]

#: What row blocks share gets a place in the weight ring of an accelerator sized for its models, if it is not more.
RING_BYTES = 1 << 18
#: Steps in which blocks are made smaller.
SHARES = 32


def buffer_needs(desc: Description, p: HwParams, batch: int = 1, blocks: Blocks | None = None) -> dict[str, int]:
    """Least values of the size fields of HwParams for all tasks of `desc` on an array shaped like `p`, by default with
    nothing cut into blocks."""
    layout = Layout(desc, p, batch, blocks or Blocks.whole(desc, batch))
    return {name: value for name, (value, _) in layout.worst().items()}


def fitted(desc: Description, p: HwParams, batch: int = 1) -> Layout:
    """The layout with the largest blocks that fit `p`; the smallest, where even they do not."""
    whole = Layout(desc, p, batch, Blocks.whole(desc, batch))
    if not _short(whole):
        return whole
    least = Blocks.least(desc, p, batch)
    heads = next((size for size in Blocks.groups(desc) if _fits_heads(desc, p, batch, size)), least.heads)
    rows, tokens = whole.rows, whole.rows
    for index, layer in enumerate(desc.model.layers):
        stride = whole.hidden(index).stride
        if isinstance(layer.mlp, MoeMlp):
            tokens = min(tokens, p.h_depth // (stride + 2 * whole.dim_stride) * p.t)
        else:
            rows = min(rows, p.h_depth // stride * p.t)
    cut = (even(whole.rows, max(rows, least.rows), p.t), even(whole.rows, max(tokens, least.tokens), p.t))
    found = Layout(desc, p, batch, Blocks(heads, *cut))
    if not p.spill or spillable(desc, p, batch) or not {"x_depth", "y_depth"} & {name for name, *_ in _short(found)}:
        return found
    sizes = range(min(whole.rows, p.x_depth // (2 * whole.dim_words)), 0, -spill_unit(p))
    layouts = (Layout(desc, p, batch, replace(Blocks.spilled(desc, p, batch, size, parts), heads=heads))
               for size in sizes for parts in PARTS)  # fmt: skip
    smallest = Layout(desc, p, batch, replace(Blocks.spilled(desc, p, batch, 0, PARTS[-1]), heads=heads))
    return next((layout for layout in layouts if not _short(layout)), smallest)


def _fits_heads(desc: Description, p: HwParams, batch: int, heads: int) -> bool:
    layout = Layout(desc, p, batch, replace(Blocks.least(desc, p, batch), heads=heads))
    return not any(name in ("k_depth", "v_depth") or what == "queries" for name, _, _, what in _short(layout))


def _short(layout: Layout) -> list[tuple[str, int, int, str]]:
    """Buffers that are too small: the field, what it is, what it should be, and for what."""
    have = layout.p
    return [(name, getattr(have, name), need, what) for name, (need, what) in layout.worst().items()
            if need > getattr(have, name)]  # fmt: skip


def check_fits(desc: Description, p: HwParams, batch: int = 1) -> Layout:
    """The layout, `fitted`. Raises HwgenError naming a feature that is not there, or every buffer that is too small
    even in the smallest blocks, what needs it, and by how much."""
    check_features(desc.model, p)
    layout = fitted(desc, p, batch)
    short = _short(layout)
    if short:
        raise HwgenError(
            f"model {desc.model.name}",
            ", ".join(name for name, *_ in short),
            expected=", ".join(f"{name} of at least {need} ({what})" for name, _, need, what in short),
            found=", ".join(f"{name} = {have}, too small by {need - have}" for name, have, need, _ in short),
            mend="enlarge the buffers, or generate an accelerator sized for this model",
        )
    return layout


def auto_params(
    descs: Sequence[Description], t: int, c: int, k: int, *, weight_bus: int = 256, data_bus: int = 128,
    weight_ports: int = 1, batch: int = 1, on_chip: int | None = None,
) -> HwParams:  # fmt: skip
    """An accelerator of this array shape just large enough for all of `descs`, `batch` images at once.

    Depths are rounded up to what block RAM gives for nothing: powers of two up to 512, then multiples of 512. The
    weight ring also holds what row blocks share, up to RING_BYTES: else units wait for each other. on_chip: bytes of
    all buffers at most; networks are cut into blocks, then, as little as need be. HwgenError says how many would do.
    """
    shape = HwParams(t=t, c=c, k=k, weight_bus=weight_bus, data_bus=data_bus, weight_ports=weight_ports)
    best = _sized(descs, shape, batch, [Blocks.whole(desc, batch) for desc in descs])
    if on_chip is None or buffer_bytes(best) <= on_chip:
        return best
    least = buffer_bytes(best)
    for blocks in _choices(descs, shape, batch):
        best = _sized(descs, shape, batch, blocks)
        least = min(least, buffer_bytes(best))
        if buffer_bytes(best) <= on_chip:
            return best
    raise HwgenError("buffers", "on_chip", expected=f"at least {div_up(least, 1024):,} KB",
                     found=f"{on_chip // 1024:,} KB", mend="raise it, or make `array` or `batch` smaller")  # fmt: skip


def _choices(descs: Sequence[Description], p: HwParams, batch: int) -> Iterator[list[Blocks]]:
    """Blocks for each, in the order in which they cost cycles: weights that come in time, any, the stream in DRAM."""
    for least in (Blocks.ample, Blocks.least):
        smallest = [least(desc, p, batch) for desc in descs]
        for share in range(SHARES + 1):
            yield [_between(desc, p, one, batch, share) for desc, one in zip(descs, smallest, strict=True)]
    rows = max((desc.model.tokens for desc in descs if not spillable(desc, p, batch)), default=0)
    for size in range(div_up(rows, 2), 0, -spill_unit(p)):
        for parts in PARTS:
            yield [_spilled(desc, p, batch, size, parts) for desc in descs]


def _between(desc: Description, p: HwParams, least: Blocks, batch: int, share: int) -> Blocks:
    """Blocks the smaller, the larger `share`, of SHARES; heads come in equal groups, rows in row tiles."""
    whole, sizes = Blocks.whole(desc, batch), list(Blocks.groups(desc))
    heads = max(least.heads, sizes[min(share * len(sizes) // SHARES, len(sizes) - 1)])

    def cut(most: int, fewest: int) -> int:
        return min(most, max(fewest, div_up(most * (SHARES - share), SHARES * p.t) * p.t))

    return Blocks(heads, cut(whole.rows, least.rows), cut(whole.tokens, least.tokens))


def _spilled(desc: Description, p: HwParams, batch: int, *size: int) -> Blocks:
    """The residual stream in DRAM, if it may be there, in blocks of this size."""
    return Blocks.least(desc, p, batch) if spillable(desc, p, batch) else Blocks.spilled(desc, p, batch, *size)


def buffer_bytes(p: HwParams) -> int:
    """Of the buffers and the weight ring; what units have beside them is less than a tenth of it."""
    operands = 9 * p.t * p.word * (p.y_depth + p.h_depth)
    keys = 8 * (p.c * p.word * p.k_depth + p.k * p.c * p.v_depth)
    scores = 16 * p.t * p.word * 2 * div_up(p.max_tokens, p.word)
    return div_up(operands + keys + scores + 16 * p.c * p.x_depth + 8 * p.ring_bytes * p.weight_depth, 8)


def _sized(descs: Sequence[Description], shape: HwParams, batch: int, blocks: Sequence[Blocks]) -> HwParams:
    sizes: dict[str, Any] = {}
    for desc, cut in zip(descs, blocks, strict=True):
        layout = Layout(desc, shape, batch, cut)
        for name, (need, _) in layout.worst().items():
            sizes[name] = max(need, sizes.get(name, 0))
        limit = RING_BYTES // (4 if cut.stream else 1)
        kept = [words for words in layout.kept() if words * shape.ring_bytes <= limit]
        sizes["weight_depth"] = max([sizes["weight_depth"], *kept])
    for name in sizes:
        if name == "weight_depth":  # a ring: its counters wrap
            sizes[name] = _power_of_two(sizes[name])
        elif name.endswith("_depth"):
            sizes[name] = min(_power_of_two(sizes[name]), div_up(sizes[name], 512) * 512)
    needed = {name: True for desc in descs for name in features(desc.model)}
    return replace(shape, **sizes, **needed, spill=any(cut.stream for cut in blocks))


def _power_of_two(value: int) -> int:
    return 1 << max(1, (value - 1).bit_length())
