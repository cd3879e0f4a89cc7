"""The IP in an overlay: load a model, run images through its tasks, read counters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pynq import DefaultIP, allocate

from . import registers as reg
from .errors import (
    RUN_ERRORS,
    BadBuffer,
    Busy,
    Hung,
    NoDevice,
    NotHwgen,
    NotLoaded,
    OtherVersion,
    RunError,
    Timeout,
    UnknownTask,
)
from .model import Model

ALL_ONES = 0xFFFF_FFFF
#: Seconds after which a machine that was told to stop is given up. It stops within the latency of its memory.
STOP_SECONDS = 10.0
#: Between two looks at the control register at most.
NAP_SECONDS = 500e-6


class Job(NamedTuple):
    """One start: what is written to the registers, and what its outputs are."""

    registers: dict[str, int]
    task: dict[str, Any]
    images: int


class Accelerator(DefaultIP):
    """Driver of the IP; PYNQ makes it when the overlay is asked for it. One run at a time; not for several threads.

    Raises NoDevice, NotHwgen or OtherVersion if what lies at the IP's address is not what this driver was made for.
    """

    bindto = [reg.VLNV]

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__(description)
        self.model: Model | None = None
        self._program: Any = None
        self._weights: list[Any] = []
        self._regions: dict[str, Any] = {}
        magic, version = self.read_register("magic"), self.read_register("version")
        if magic == ALL_ONES:
            raise NoDevice(f"register magic reads 0x{magic:08x}")
        if magic != reg.MAGIC:
            raise NotHwgen(f"register magic reads 0x{magic:08x}, expected 0x{reg.MAGIC:08x}")
        if version != reg.VERSION:
            raise OtherVersion(f"accelerator {version}, driver {reg.VERSION}")
        #: Of the parameters that the accelerator was generated from.
        self.build_hash = self.read_register("build_hash")

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End a run that is under way, and free all buffers. The next `load` makes the machine usable again."""
        with contextlib.suppress(NoDevice, Hung):
            if not self.idle:
                self.stop()
        for buffer in (self._program, *self._weights, *self._regions.values()):
            if buffer is not None:
                buffer.freebuffer()
        self.model, self._program, self._weights, self._regions = None, None, [], {}

    # Registers

    def read_register(self, name: str) -> int:
        """Any register of the map. Of the counters, reading the lower word keeps the upper one still."""
        offset, bits = reg.REGISTERS[name]
        value = self.mmio.read(offset)
        return value | self.mmio.read(offset + 4) << 32 if bits > 32 else value

    def write_register(self, name: str, value: int) -> None:
        """Any register of the map; arguments only while nothing runs."""
        offset, bits = reg.REGISTERS[name]
        self.mmio.write(offset, value & ALL_ONES)
        if bits > 32:
            self.mmio.write(offset + 4, value >> 32)

    @property
    def counters(self) -> dict[str, int]:
        """Of the last run: cycles, stalls by cause, bytes on each port."""
        return {name: self.read_register(name) for name in reg.COUNTERS}

    @property
    def idle(self) -> bool:
        """Whether nothing runs. Reading takes the done bit away."""
        return bool(self._control() & reg.CTRL_IDLE)

    def _control(self) -> int:
        control = self.mmio.read(reg.REGISTERS["ctrl"][0])
        if control == ALL_ONES:
            raise NoDevice("the control register reads as all ones")
        return control

    # A model

    def load(self, path: str | Path) -> Model:
        """Program and weights of the build directory `path`, or of its `models/NAME`, into DRAM, in place of others.

        Raises OtherBuild or WrongFiles; what was loaded before then still is.
        """
        model = Model(path)
        model.check_build(self.build_hash)
        if not self.idle:
            raise Busy
        made = [_copy(data) for data in (model.program, *model.weights)]
        self.close()
        self.model, self._program, self._weights = model, made[0], made[1:]
        return model

    # Runs

    def run(self, image: Any, task: str | None = None, *, raw: bool = False, timeout: float = 10.0) -> np.ndarray:
        """Outputs of one image, uint8 [height, width, channels]: float32 [rows, columns] in the real unit; `raw`: the
        integers, int16. `task` may be left out where there is one. `timeout` in seconds."""
        return self.run_batch(np.asarray(image)[None], task, raw=raw, timeout=timeout)[0]

    def run_batch(
        self, images: Any, task: str | None = None, *, raw: bool = False, timeout: float = 10.0
    ) -> np.ndarray:
        """As `run`, [n, rows, columns] of images [n, height, width, channels], with one start for all of them."""
        job = self.prepare(images, task)
        self.start(job)
        self.wait(timeout)
        return self.results(job, raw)

    async def run_async(
        self, image: Any, task: str | None = None, *, raw: bool = False, timeout: float = 10.0
    ) -> np.ndarray:
        """As `run`, but awaits the interrupt."""
        return (await self.run_batch_async(np.asarray(image)[None], task, raw=raw, timeout=timeout))[0]

    async def run_batch_async(
        self, images: Any, task: str | None = None, *, raw: bool = False, timeout: float = 10.0
    ) -> np.ndarray:
        """As `run_batch`, but awaits the interrupt."""
        job = self.prepare(images, task)
        self.start(job, interrupt=True)
        await self.wait_async(timeout)
        return self.results(job, raw)

    def prepare(self, images: Any, task: str | None = None) -> Job:
        """Images into the input buffer, and what is to be written to the registers."""
        model = self.model
        if model is None:
            raise NotLoaded
        _, entry = model.task(task)
        images = model.check_images(images)
        runs, output_stride = model.runs(len(images)), model.output_stride(entry)
        source = self._region("input", runs * model.input_stride)
        target = self._region("output", runs * output_stride)
        model.pack(images, _array(source))
        source.flush()
        target.invalidate()  # what a cache still holds of it must not be written back during the run
        values = self._program_registers(model, entry["entry"]) | {
            "input_base": source.device_address, "input_size": runs * model.input_stride,
            "output_base": target.device_address, "output_size": runs * output_stride,
            "batch": runs, "input_stride": model.input_stride, "output_stride": output_stride,
        }  # fmt: skip
        return Job(values, entry, len(images))

    def clear(self, timeout: float = 10.0) -> None:
        """Leave nothing of what ran before in the accelerator's buffers. Raises UnknownTask for a model that was built
        without `clear: true`."""
        model = self.model
        if model is None:
            raise NotLoaded
        if model.clear is None:
            raise UnknownTask(f"clear; {model.name} was built without `clear: true`")
        values = dict.fromkeys(("input_base", "input_size", "output_base", "output_size", "input_stride",
                                "output_stride"), 0)  # fmt: skip
        self.start(Job(values | self._program_registers(model, model.clear) | {"batch": 1}, {}, 0))
        self.wait(timeout)

    def _program_registers(self, model: Model, entry: int) -> dict[str, int]:
        values = {
            "program_base": self._program.device_address, "program_size": len(model.program), "entry": entry,
            "weights_size": sum(map(len, model.weights)),
        }  # fmt: skip
        for port, weights in enumerate(self._weights):
            values[f"weights_base{port or ''}"] = weights.device_address
        return values

    def start(self, job: Job, *, interrupt: bool = False) -> None:
        """Start a prepared job. `interrupt`: ask for one at its end."""
        if not self.idle:
            raise Busy
        for name, value in job.registers.items():
            self.write_register(name, value)
        self.write_register("error_code", 0)
        self._acknowledge()
        self.write_register("ier", reg.IER_DONE if interrupt else 0)
        self.write_register("gie", reg.GIE_ENABLE if interrupt else 0)
        self.write_register("ctrl", reg.CTRL_START)

    def wait(self, timeout: float = 10.0) -> None:
        """Until the run has ended, by polling. Raises its error; Timeout, after stopping it; Hung, if it does not."""
        begin = time.monotonic()
        while not self._control() & reg.CTRL_DONE:
            elapsed = time.monotonic() - begin
            if elapsed > timeout:
                self._give_up(timeout)
            time.sleep(min(elapsed / 16, NAP_SECONDS))
        self._check()

    async def wait_async(self, timeout: float = 10.0) -> None:
        """As `wait`, on the interrupt, if the job was started with `interrupt`. PYNQ knows of one that goes through an
        AXI interrupt controller; without one other tasks run between looks at the control register."""
        begin = time.monotonic()
        while not self._control() & reg.CTRL_DONE:
            left = begin + timeout - time.monotonic()
            event = self.interrupt.wait() if hasattr(self, "interrupt") else asyncio.sleep(NAP_SECONDS)
            try:
                await asyncio.wait_for(event, left)
            except asyncio.TimeoutError:  # noqa: UP041 another class before Python 3.11, which PYNQ does not have
                self._give_up(timeout)
        self._check()

    def stop(self) -> None:
        """End a run as a fault does; returns when it has ended. Raises Hung if it has not."""
        self.write_register("ctrl", reg.CTRL_STOP)
        deadline = time.monotonic() + STOP_SECONDS
        while not self._control() & reg.CTRL_IDLE:
            if time.monotonic() > deadline:
                raise Hung
        self._acknowledge()

    def results(self, job: Job, raw: bool = False) -> np.ndarray:
        """The outputs of a job that has ended, as `run_batch` gives them."""
        assert self.model is not None
        region = self._regions["output"]
        region.invalidate()
        codes = self.model.unpack(job.task, _array(region), job.images)
        return codes if raw else codes * np.float32(job.task["output"]["scale"] or 1.0)

    def _check(self) -> None:
        self._acknowledge()
        code = self.read_register("error_code")
        if code:
            index = self.read_register("error_index")
            self.write_register("error_code", 0)
            if code not in RUN_ERRORS:
                raise RunError(index, f"code {code}, instruction {index}")
            raise RUN_ERRORS[code](index)

    def _give_up(self, timeout: float) -> None:
        self.stop()
        code = self.read_register("error_code")
        self.write_register("error_code", 0)
        index, cycles = self.read_register("error_index"), self.read_register("cycles")
        raise Timeout(f"{timeout} s; stopped with code {code} in instruction {index} after {cycles} cycles")

    def _acknowledge(self) -> None:
        """Bits of the interrupt status are toggled by writing ones."""
        self.write_register("isr", self.read_register("isr"))

    def _region(self, name: str, size: int) -> Any:
        """The buffer of this name, exactly so large."""
        buffer = self._regions.get(name)
        if buffer is None or buffer.nbytes != size:
            if buffer is not None:
                self._regions.pop(name).freebuffer()
            buffer = self._regions[name] = _buffer(size)
        return buffer


def _buffer(size: int) -> Any:
    buffer = allocate((size,), np.uint8)
    if buffer.device_address % 64:
        raise BadBuffer(f"address 0x{buffer.device_address:x}")
    return buffer


def _copy(data: bytes) -> Any:
    """A buffer with this in it, as the accelerator sees it."""
    buffer = _buffer(len(data))
    _array(buffer)[:] = np.frombuffer(data, np.uint8)
    buffer.flush()
    return buffer


def _array(buffer: Any) -> np.ndarray:
    """The memory as a plain array: indexing PYNQ's own is slow."""
    return buffer.view(np.ndarray)
