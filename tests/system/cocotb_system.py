"""One small model on one small array behind cocotbext-axi: its jobs, and what must be true of their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from golden.model import Golden
from hwgen.build import Build
from hwgen.compiler import auto_params, compile_model
from hwgen.machine.isa import BY_NAME, BYTES, UNITS, Op, decode
from hwgen.machine.regmap import BY_NAME as REGISTER
from hwgen.machine.regmap import COUNTERS, Error
from hwgen.network.macs import macs
from hwgen.rtl.emit import accelerator_verilog
from sim.cocotb_run import CocotbHarness, build_cocotb
from sim.compare import image_tensors
from sim.harness import Timing
from sim.simulate import Probes
from sim.system import SystemJob, SystemResult
from tests.random_model import TASKS, random_images, small_description
from tests.system.helpers import queues

__all__ = ["FAST", "TASKS", "System", "build_system"]

FAST = Timing(latency=2, watchdog=50_000)


@dataclass
class System:
    """One small model on one small array; `good` and `check` are an inference and its comparison."""

    build: Build
    harness: CocotbHarness

    @cached_property
    def images(self) -> np.ndarray:
        return random_images(self.build.model, 4, 5)

    @cached_property
    def golden(self) -> dict:
        model = Golden(self.build.model)
        return {task["name"]: model.run(self.images, task["name"], keep=True) for task in TASKS}

    @cached_property
    def probes(self) -> dict:
        return {task["name"]: Probes(self.build, task["name"]) for task in TASKS}

    def good(self, task: str, image: int = 0, **options) -> SystemJob:
        compiled = self.build.compiled
        values = {"entry": compiled.entries[task], "input": self.images[image].tobytes(), "probes": task}
        return SystemJob(**(values | {"output_bytes": compiled.region_bytes[task]} | options))

    def run(self, jobs, timing: Timing = FAST, **options) -> list[SystemResult]:
        compiled = self.build.compiled
        return self.harness.run(
            jobs, program=compiled.program, weights=compiled.weights, timing=timing,
            probes={name: probes.ranges for name, probes in self.probes.items()},
            counters={name: REGISTER[name].offset for name in COUNTERS}, **options,
        )  # fmt: skip

    def check(self, task: str, image: int, result: SystemResult) -> None:
        """Nothing wrong at all: first differing instruction, tensor and value otherwise."""
        assert result.violations == []
        assert Error(result.error) == Error.NONE
        tensors = image_tensors(self.golden[task].tensors, image)
        assert self.probes[task].missing(result, tensors) is None
        assert str(self.probes[task].compare(result, tensors)) == "None"
        (output,) = self.build.compiled.unpack_output(task, result.output)
        assert np.array_equal(output, self.golden[task].output[image])
        self.check_retired(task, image, result.retired)
        assert result.written == set(range(len(result.output)))

    def skipped(self, task: str, image: int) -> set[int]:
        """GATHERs of empty queues never get to their unit."""
        compiled, tensors = self.build.compiled, self.golden[task].tensors
        return {
            index
            for index, tokens in queues(self.build.model, compiled, task).items()
            if compiled.instructions[task][index].op == Op.GATHER and not len(tensors[tokens][image])
        }

    def check_retired(self, task: str, image: int, retired: Sequence[int], end: int | None = None) -> None:
        """All instructions once, each unit's in program order; with `end`, of each unit the first ones before it."""
        instructions, skipped = self.build.compiled.instructions[task], self.skipped(task, image)
        for ops in UNITS.values():
            expected = [i for i, instr in enumerate(instructions[:end]) if instr.op in ops and i not in skipped]
            done = [index for index in retired if instructions[index].op in ops]
            assert done == (expected if end is None else expected[: len(done)]), ops

    def check_stopped(self, task: str, image: int, result: SystemResult) -> None:
        """Of a run that was right up to its fault: nothing but right bytes is written, and those by its STOREs only."""
        assert result.violations == []
        self.check_retired(task, image, result.retired, result.error_index)
        for index, instr in enumerate(self.build.compiled.instructions[task]):
            if instr.op == Op.STORE:
                fields = self.fields(task, index)
                stored = set(range(at := fields["offset"], at + fields["bytes"])) & result.written
                assert index < result.error_index or not stored
                complete = len(stored) == fields["bytes"] or result.error == Error.WRITE_GMEM1
                assert index not in result.retired or complete
        tensor = self.golden[task].output[image].astype("<i2")
        rows = np.frombuffer(result.output, "<i2").reshape(len(tensor), -1)
        written = np.array([byte in result.written for byte in range(len(result.output))])
        written = written.reshape(*rows.shape, 2).all(2)[:, : tensor.shape[1]]
        assert np.array_equal(rows[:, : tensor.shape[1]][written], tensor[written])

    def check_counters(self, task: str, result: SystemResult) -> None:
        counters, p = result.counters, self.build.params
        events = ("0_read", "1_read", "1_write", "2_read", "3_read", "4_read")
        ports = [counters[f"gmem{event}_bytes"] for event in events]
        assert ports == result.bytes
        assert 0 <= result.cycles - counters["cycles"] < result.start_cycles + 16
        assert counters["instructions"] == len(self.build.compiled.instructions[task])
        assert counters["array_busy"] >= macs(self.build.model, task) / p.macs
        causes = [name for name in COUNTERS if name.startswith("stall_")]
        assert counters["cycles"] == counters["array_busy"] + sum(counters[name] for name in causes)

    def find(self, task: str, op: Op, number: int = 0, **fields: int) -> int:
        """Index of the instruction of this kind."""
        return [
            index
            for index, instr in enumerate(self.build.compiled.instructions[task])
            if instr.op == op and fields.items() <= self.fields(task, index).items()
        ][number]

    def fields(self, task: str, index: int) -> dict[str, int]:
        return decode(self.build.compiled.instructions[task][index].encode())

    def patch(self, task: str, index: int, **fields: int) -> tuple[bytes, bytes]:
        """Program and weights, with other values in fields of one instruction, whether legal or not."""
        program = bytearray(self.build.compiled.program)
        place = slice(start := self.build.compiled.entries[task] + index * BYTES, start + BYTES)
        word = int.from_bytes(program[place], "little")
        for name, value in fields.items():
            field = BY_NAME[name]
            word &= ~((1 << field.bits) - 1 << field.offset)
            word |= value << field.offset
        program[place] = word.to_bytes(BYTES, "little")
        return bytes(program), self.build.compiled.weights


def build_system(home: Path) -> System:
    desc = small_description()
    p = auto_params([desc], 4, 4, 4, weight_bus=64, weight_ports=2, data_bus=128)
    return System(Build(home, {}, p, desc, compile_model(desc, p)), build_cocotb(accelerator_verilog(p)))
