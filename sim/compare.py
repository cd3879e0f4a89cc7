"""Where a simulation first differs from the golden model: instruction, tensor, index, expected, found.

A dump maps buffer names to arrays: X int16 [depth, C]; Y, H int16 [T, depth, W]; K uint8 [C, depth, W]; V uint8
[K, depth, C]; LOGITS integers [depth, experts of a word]; SCORE int16 [T, depth, W]; the queues are `counts` [experts],
`tokens` and `weights` [experts, max_tokens]. Only those a probe reads need be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwgen.compiler.probes import Probe

__all__ = ["WIDE", "Difference", "compare_arrays", "compare_probe", "first_difference", "image_tensors", "read_probe"]

#: Elements of the buffers that do not hold bytes.
WIDE = {"X": np.int16, "Y": np.int16, "H": np.int16, "LOGITS": np.int32, "SCORE": np.int16}

Dump = Mapping[str, NDArray]


@dataclass(frozen=True)
class Difference:
    """The first wrong element of a tensor, in the tensor's order."""

    instruction: int | None  #: index in the task's program; None for the output region
    tensor: str
    index: tuple[int, ...]
    expected: int
    found: int
    wrong: int  #: wrong elements of the tensor (the part that was probed)
    total: int

    def __str__(self) -> str:
        place = "output region" if self.instruction is None else f"instruction {self.instruction}"
        return (f"{place}: {self.tensor}{list(self.index)} must be {self.expected}, found {self.found} "
                f"({self.wrong} of {self.total} values differ)")  # fmt: skip


def image_tensors(tensors: Mapping[str, Any], image: int) -> dict[str, NDArray]:
    """One image of the golden model's batch of tensors."""
    return {name: tensor[image] for name, tensor in tensors.items()}


def compare_arrays(
    instruction: int | None, tensor: str, expected: NDArray, found: NDArray, origin: tuple[int, ...] = (0, 0)
) -> Difference | None:
    """The first difference of two arrays of one shape; `origin` is the tensor index of their element 0."""
    if expected.shape != found.shape:
        raise ValueError(f"{tensor} must have the shape {expected.shape}, not {found.shape}")
    wrong = np.argwhere(expected != found)
    if not len(wrong):
        return None
    first = tuple(int(i) for i in wrong[0])
    index = tuple(i + o for i, o in zip(first, origin, strict=True))
    return Difference(instruction, tensor, index, int(expected[first]), int(found[first]), len(wrong), expected.size)


def read_probe(probe: Probe, dump: Dump, rows: int) -> NDArray:
    """The first `rows` rows of a probed tensor, [rows, channels], from a dump."""
    words = dump[probe.buffer]
    banked = words[None] if words.ndim == 2 else words
    banks, _, word = banked.shape
    row = probe.row_begin + np.arange(rows)[:, None]
    channel = np.asarray(probe.channels, np.int64)
    data = banked[row % banks, probe.base + row // banks * probe.stride + channel // word, channel % word]
    if probe.buffer in WIDE:
        return data.astype(WIDE[probe.buffer])
    return data.astype(np.uint8).view(np.int8)


def compare_probe(probe: Probe, dump: Dump, tensors: Mapping[str, NDArray]) -> Difference | None:
    """The first difference of one probed tensor; `tensors` are the golden model's, without a batch axis."""
    if probe.buffer == "QUEUE":
        return _compare_queue(probe, dump, tensors)
    head = () if probe.head is None else (probe.head,)
    tensor = tensors[probe.tensor][head]
    first, rows = probe.tensor_row, (probe.row_end or 0) - probe.row_begin
    if probe.row_end is None:
        part = probe.queued(tensors)
        first, rows = part.start, part.stop - part.start
    origin = (first, probe.column)
    expected = tensor[origin[0] : origin[0] + rows, origin[1] : origin[1] + len(probe.channels)]
    found = read_probe(probe, dump, rows)
    if head:
        expected, found = expected[None], found[None]
    return compare_arrays(probe.instruction, probe.tensor, expected, found, head + origin)


def _compare_queue(probe: Probe, dump: Dump, tensors: Mapping[str, NDArray]) -> Difference | None:
    """An expert's queue: its length (shown as tensor `….rows`), its tokens, and their gate weights."""
    layer = probe.tensor.split(".expert.")[0]
    expert, part = probe.expert, probe.queued(tensors)
    expected = tensors[probe.tensor][part]
    count = int(dump["counts"][expert])
    if count != len(expected):
        name = probe.tensor.replace(".tokens", ".rows")
        return Difference(probe.instruction, name, (), len(expected), count, 1, 1)
    found = dump["tokens"][expert, :count]
    difference = compare_arrays(probe.instruction, probe.tensor, expected, found, (part.start,))
    if difference:
        return difference
    token, slot = (axis[part] for axis in np.nonzero(tensors[f"{layer}.experts"] == expert))
    weights = tensors[f"{layer}.weights"][token, slot]
    difference = compare_arrays(probe.instruction, f"{layer}.weights", weights, dump["weights"][expert, :count], (0,))
    if difference is None:
        return None
    entry = difference.index[0]
    return Difference(probe.instruction, f"{layer}.weights", (int(token[entry]), int(slot[entry])), difference.expected,
                      difference.found, difference.wrong, difference.total)  # fmt: skip


def first_difference(
    probes: Iterable[Probe], dumps: Mapping[int, Dump], tensors: Mapping[str, NDArray]
) -> Difference | None:
    """The first difference in program order, over all probes whose instruction was dumped."""
    for probe in sorted(probes, key=lambda probe: probe.instruction):
        difference = compare_probe(probe, dumps[probe.instruction], tensors) if probe.instruction in dumps else None
        if difference:
            return difference
    return None
