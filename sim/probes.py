"""What is read out of the buffers after an instruction, and its comparison with the golden model's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from amaranth.utils import ceil_log2
from numpy.typing import NDArray

from hwgen import compiler
from hwgen.build import Build
from hwgen.machine import regmap
from hwgen.rtl.emit import debug_map
from sim.compare import WIDE, Difference, first_difference
from sim.harness import JobResult, Probe

__all__ = ["Probes", "batch_tensors"]


def batch_tensors(tensors: Mapping[str, Any], images: Sequence[int]) -> dict[str, NDArray]:
    """The golden model's tensors of the images of a run, as they lie in the buffers: one image's rows behind the
    other's. The scores keep their axis of heads in front, queues name rows of the run."""
    joined: dict[str, NDArray] = {}
    for name, tensor in tensors.items():
        parts = [tensor[image] for image in images]
        if name.endswith(".tokens"):
            rows = len(tensors["embed"][0])
            parts = [part + number * rows for number, part in enumerate(parts)]
        joined[name] = np.concatenate(parts, axis=1 if name.endswith(".score") else 0)
    return joined


class Probes:
    """A task's probes, as ranges of memory words for the harness and back into whole buffers for the comparison.

    The router's queues are among them: length, tokens and gate weights.
    """

    def __init__(self, build: Build, task: str) -> None:
        self.params, self.top = build.params, build.emission.top
        self.buffers = cast("dict[str, Any]", debug_map(build.params))
        self.rows = build.compiled.batch * build.model.model.tokens
        self.probes = build.compiled.probes[task]
        self.windows: dict[int, list[tuple[str, int, int]]] = {}  #: buffer, first word and end, in the harness's order
        self.ranges: dict[int, list[Probe]] = {}
        self._of: dict[int, list[compiler.Probe]] = {}
        for probe in self.probes:
            self._of.setdefault(probe.instruction, []).append(probe)
            for window in self._windows(probe):
                self._add(probe.instruction, *window)

    def _windows(self, probe: compiler.Probe) -> list[tuple[str, int, int]]:
        if probe.buffer == "QUEUE":
            assert probe.expert is not None
            first = probe.expert << ceil_log2(self.params.max_tokens)
            return [("COUNTS", 0, 1), ("QUEUE", first, first + self.rows)]
        buffer = self.buffers[probe.buffer]
        banks = len(buffer["paths"])
        end = self.rows if probe.row_end is None else probe.row_end
        first, last = (probe.base + row // banks * probe.stride for row in (probe.row_begin, end - 1))
        last += max(probe.channels) // (buffer["width"] // buffer["element"])
        return [(probe.buffer, first, min(last + 1, buffer["depth"]))]

    def _add(self, instruction: int, name: str, first: int, end: int) -> None:
        windows = self.windows.setdefault(instruction, [])
        if (name, first, end) not in windows:
            windows.append((name, first, end))
            buffer = self.buffers[name]
            self.ranges.setdefault(instruction, []).extend(
                Probe(f"{self.top}.{path}", first, end - first, buffer["width"]) for path in buffer["paths"]
            )

    def compare(self, result: JobResult, tensors: Mapping[str, NDArray]) -> Difference | None:
        for instruction in sorted(result.dumps):
            dump = {instruction: self._dump(instruction, result.dumps[instruction])}
            if difference := first_difference(self._of[instruction], dump, tensors):
                return difference
        return None

    def missing(self, result: JobResult, tensors: Mapping[str, NDArray]) -> str | None:
        """The hardware's own error, or an instruction that never completed although it had rows to compute."""
        if result.error:
            error = regmap.Error(result.error)
            return f"instruction {result.error_index}: the hardware stopped, error {error.name}: {regmap.ERRORS[error]}"
        for probe in self.probes:
            part = probe.queued(tensors) if probe.expert is not None else slice(None)
            if probe.instruction not in result.dumps and len(tensors[probe.tensor][part]):
                return f"instruction {probe.instruction}: {probe.tensor} was never computed"
        return None

    def _dump(self, instruction: int, arrays: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray]:
        """Buffers as `sim.compare` wants them; words that were not dumped are zero."""
        dump: dict[str, NDArray] = {}
        position = 0
        for name, first, end in self.windows[instruction]:
            buffer = self.buffers[name]
            banks, depth, width = len(buffer["paths"]), buffer["depth"], -(-buffer["width"] // 8)
            words = dump.setdefault(name, np.zeros((banks, depth, width), np.uint8))
            for bank in range(banks):
                words[bank, first:end] = arrays[position + bank]
            position += banks
        for name in WIDE.keys() & dump:
            dump[name] = _elements(dump[name], self.buffers[name]["element"])
        if "QUEUE" in dump:
            dump |= self._queues(dump.pop("COUNTS")[0, 0], dump.pop("QUEUE")[0])
        return dump

    def _queues(self, counts: NDArray[np.uint8], entries: NDArray[np.uint8]) -> dict[str, NDArray]:
        """The packed counts and the words of the queues' RAM, see `hwgen.rtl.units.router.Router`."""
        p = self.params
        mask = (1 << p.row_bits) - 1
        packed = int.from_bytes(counts.tobytes(), "little")
        words = np.pad(entries, ((0, 0), (0, 8 - entries.shape[1]))).view("<i8").reshape(p.max_experts, -1)
        return {
            "counts": np.array([packed >> p.row_bits * expert & mask for expert in range(p.max_experts)]),
            "tokens": words & mask,
            "weights": words >> p.row_bits,
        }


def _elements(words: NDArray[np.uint8], bits: int) -> NDArray:
    """The signed elements, at most 25 bits each, of words [..., bytes]."""
    first = np.arange(8 * words.shape[-1] // bits) * bits
    padded = np.pad(words, [(0, 0)] * (words.ndim - 1) + [(0, 3)])
    four = np.ascontiguousarray(padded[..., first[:, None] // 8 + np.arange(4)]).view("<u4")[..., 0]
    return (four >> first % 8 << 32 - bits).astype("<u4").view("<i4") >> 32 - bits
