"""hwgen's own float checkpoint, the tensor names of hwgen.network.floatmodel, with the structure read off the shapes.

What the shapes leave open is asked for; `quantize.yaml` (hwgen.quantize.config) states all of it instead.
"""

from __future__ import annotations

import math
from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.importers.common import Draft, Imported
from hwgen.importers.m3vit import moe
from hwgen.importers.source import Source

#: Image channels that square patches may have.
CHANNELS = (1, 3)


def import_hwgen(source: Source, draft: Draft) -> Imported:
    """The network of a checkpoint without a structure file: square patches, task T reads `headT`."""
    prefix = sum(source.size(token, 0) for token in ("cls", "dist", "reg") if token in source)
    draft.patch, draft.channels = square_patch(source, "embed.w")
    layers: list[dict[str, Any]] = []
    while source.names(f"l{len(layers)}.*") or not layers:
        layers.append({"mlp": _mlp(source, draft, f"l{len(layers)}")})
    tasks = draft.tasks(_tasks(source, draft))
    width, patches = source.size("l0.proj.w", 1), source.size("pos", 0) - prefix
    draft.tensors = source.take_all()
    return draft.finish(
        image=draft.image_size(patches),
        heads=draft.heads(width),
        normalize=draft.normalize(draft.channels),
        activation=draft.activation("gelu"),
        layers=layers,
        tasks=tasks,
    )


def square_patch(source: Source, name: str) -> tuple[tuple[int, int], int]:
    """Height and width of a patch, and channels, of a patch embedding [dim, pixels]."""
    size = source.size(name, 1)
    for channels in CHANNELS:
        side = math.isqrt(size // channels)
        if side * side * channels == size:
            return (side, side), channels
    raise HwgenError(source.where, name, expected="square patches of 1 or 3 channels", found=f"{size} pixels",
                     mend="write a quantize.yaml with the structure")  # fmt: skip


def _mlp(source: Source, draft: Draft, layer: str) -> dict[str, Any]:
    if not source.names(f"{layer}.gate*") and not source.names(f"{layer}.e[0-9]*.*"):
        return {"kind": "dense", "hidden": source.size(f"{layer}.fc1.w", 0)}
    if draft.overrides.gate is None:
        raise draft.ask("--gate", "whether the gate's softmax comes before the top-k (softmax_topk) or after it")
    experts, hidden = source.size(f"{layer}.gate0", 0), source.size(f"{layer}.e0.fc1.w", 0)
    return moe(draft, experts, hidden, draft.overrides.gate)


def _tasks(source: Source, draft: Draft) -> list[dict[str, Any]]:
    """One for each gate or head; what several heads read must be said."""
    norm = "nf.g" in source
    number = 1
    while (
        f"head{number}.w" in source or f"map{number}.q" in source
        or any(name.endswith(f".gate{number}") for name in source.names())
    ):  # fmt: skip
        number += 1
    choices = draft.overrides.tasks
    if number > 1 and (choices is None or any(choice.head is None for choice in choices)):
        raise draft.ask("--tasks NAME:HEAD,...", f"names and kinds of heads of {number} tasks")
    found: list[dict[str, Any]] = []
    for task in range(number):
        found.append({"name": f"task{task}", "head": "none", "norm": norm})
        if f"head{task}.w" in source:
            head = "class_token" if "cls" in source else "mean"
            found[-1] |= {"head": head, "outputs": source.size(f"head{task}.w", 0)}
        if f"map{task}.q" in source:
            found[-1] |= {"head": "map", "mlp": {"kind": "dense", "hidden": source.size(f"map{task}.fc1.w", 0)}}
    return found
