"""A checkpoint's tensors by timm's names: what all formats of other names share.

A format is a table of rules (pattern, timm's name, change of the array); q, k and v of their own are stacked.
Tested by tests/importers/test_huggingface.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.source import Source

#: A regular expression for the whole name; timm's name, with its groups; what is done to the array.
Rule = tuple[str, str] | tuple[str, str, Callable[[np.ndarray], np.ndarray]]
#: A regular expression for the whole name, and what such tensors are.
LeftOut = tuple[str, str]

_PART = re.compile(r"(?:(blocks\.\d+\.attn)\.[qkv]|(attn_pool)\.[kv])\.(weight|bias)")


def translated(source: Source, rules: Sequence[Rule], left_out: Sequence[LeftOut] = ()) -> tuple[Source, list[str]]:
    """The source by timm's names, and notes of what was left out; names that no rule knows stay as they are."""
    tensors: dict[str, np.ndarray] = {}
    called: dict[str, str] = {}
    dropped: dict[str, int] = {}
    for name in source.names():
        what = next((what for pattern, what in left_out if re.fullmatch(pattern, name)), None)
        if what is not None:
            dropped[what] = dropped.get(what, 0) + 1
            continue
        new, tensor = _translate(name, source.raw(name), rules)
        if new in tensors:
            raise HwgenError(source.where, name, expected="each tensor once", found=f"`{called[new]}` and `{name}`")
        tensors[new], called[new] = tensor, name
    notes = [f"{what} left out ({count} tensor{'s' if count > 1 else ''})" for what, count in dropped.items()]
    return _stacked(Source(tensors, source.where, called)), notes


def _translate(name: str, tensor: np.ndarray, rules: Sequence[Rule]) -> tuple[str, np.ndarray]:
    for pattern, new, *changes in rules:
        match = re.fullmatch(pattern, name)
        if match:
            for change in changes:
                tensor = change(tensor)
            return match.expand(new), tensor
    return name, tensor


def _stacked(source: Source) -> Source:
    """With `blocks.N.attn.qkv` in place of q, k and v, and `attn_pool.kv` of k and v; a bias that only some have is
    zero in the others."""
    tensors: dict[str, np.ndarray] = {}
    called: dict[str, str] = {}
    for name in source.names():
        match = _PART.fullmatch(name)
        if match is None:
            tensors[name], called[name] = source.raw(name), source.called(name)
            continue
        block, pool, kind = match.groups()
        place, letters = (pool, "kv") if pool else (block, "qkv")
        new = f"{place}.{letters}.{kind}"
        if new in tensors:
            continue
        parts = [f"{place}.{letter}.{kind}" for letter in letters]
        tensors[new] = np.concatenate([_part(source, part, name) for part in parts])
        called[new] = " and ".join(source.called(part) for part in parts if part in source)
    return Source(tensors, source.where, called)


def _part(source: Source, name: str, other: str) -> np.ndarray:
    """One of q, k, v; `other`: one of them that is there."""
    shape = source.raw(other).shape
    if name not in source and name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    if name not in source:
        raise HwgenError(source.where, name, expected=f"float {list(shape)}, as {source.called(other)}",
                         found="no such tensor")  # fmt: skip
    if source.raw(name).ndim != len(shape) or source.raw(name).shape[1:] != shape[1:]:
        raise HwgenError(source.where, source.called(name), expected=f"float {list(shape)}, as {source.called(other)}",
                         found=f"{source.raw(name).dtype.name} {list(source.raw(name).shape)}")  # fmt: skip
    return source.raw(name)
