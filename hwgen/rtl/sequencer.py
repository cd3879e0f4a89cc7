"""Sequencer: runs a program, one instruction after another, and turns every fault into an error code."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.isa import Op
from hwgen.params import HwParams
from hwgen.regmap import Error

from .check import OperandCheck
from .decode import INSTRUCTION_BITS, Fields

__all__ = ["READ_TAGS", "UNITS", "Sequencer"]

#: Units an instruction can start, each with a `start` and a `done` port here.
UNITS: dict[str, tuple[Op, ...]] = {
    "engine": (Op.MATMUL, Op.ATTENTION),
    "norm": (Op.NORM,),
    "router": (Op.ROUTE,),
    "mover": (Op.GATHER, Op.MEAN),
    "image": (Op.IMAGE,),
    "loadx": (Op.LOADX,),
    "store": (Op.STORE,),
}

#: Who a beat from the data port is for.
READ_TAGS = {"program": 0, "image": 1, "loadx": 2}


class Sequencer(wiring.Component):
    """Takes instructions from `fetch_*`, checks them, moves data commands to the data port, starts units and awaits
    them.

    `start` runs the program at `entry` once per image of `batch` (0 counts as 1), the input and output regions
    advancing by their strides, then `done` pulses. Any fault (`*_error`, an illegal instruction, an address outside a
    region) stops it: `abort` holds until all ports are idle, `clear` resets every unit, then `done` comes with
    `error_code` set and `error_index` the number of the instruction. `retire` pulses with `retire_index` when an
    instruction has made all its writes.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        ports = {
            "start": In(1),
            "done": Out(1),
            "idle": Out(1),
            "error_code": Out(8),
            "error_index": Out(16),
            "program_base": In(64),
            "program_size": In(32),
            "weights_base": In(64),
            "weights_size": In(32),
            "input_base": In(64),
            "input_size": In(32),
            "output_base": In(64),
            "output_size": In(32),
            "entry": In(32),
            "batch": In(32),
            "input_stride": In(32),
            "output_stride": In(32),
            "abort": Out(1),
            "clear": Out(1),
            "ports_idle": In(1),
            "writer_idle": In(1),
            "read0_error": In(1),
            "read1_error": In(1),
            "write1_error": In(1),
            "fetch_start": Out(1),
            "fetch_address": Out(64),
            "fetch_limit": Out(32),
            "fetch_valid": In(1),
            "fetch_ready": Out(1),
            "fetch_data": In(INSTRUCTION_BITS),
            "fetch_exhausted": In(1),
            "read_valid": Out(1),
            "read_ready": In(1),
            "read_address": Out(64),
            "read_tag": Out(2),
            "write_valid": Out(1),
            "write_ready": In(1),
            "write_address": Out(64),
            "data_bytes": Out(32),
            "instruction": Out(INSTRUCTION_BITS),
            "rows": Out(16),
            "queue_length": In(p.row_bits),
            "route_done": Out(1),
            "retire": Out(1),
            "retire_index": Out(16),
            "running": Out(1),
            "unit_running": Out(1),
            "stall_fetch": Out(1),
        }
        for unit in UNITS:
            ports |= {f"{unit}_start": Out(1), f"{unit}_done": In(1)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, f = self.p, Fields(self.instruction)
        m.submodules.check = check = OperandCheck(p)
        m.d.comb += check.instruction.eq(self.instruction)

        index, image = Signal(16), Signal(32)
        input_offset, output_offset = Signal(64), Signal(64)
        fault = Signal(8)

        # The first fault wins; errors of the ports may come at any time. After END they are of instructions fetched in
        # vain.
        finished = Signal()
        port_fault = Signal(8)
        for pulse, code in (
            (self.read0_error, Error.READ_GMEM0),
            (self.read1_error, Error.READ_GMEM1),
            (self.write1_error, Error.WRITE_GMEM1),
        ):
            with m.If(pulse):
                m.d.comb += port_fault.eq(code)
        with m.If((fault == 0) & self.running & ~finished):
            m.d.sync += fault.eq(port_fault)

        # Region of a data command.
        size, base = Signal(32), Signal(64)
        range_error = Signal(8)
        with m.Switch(f.op):
            with m.Case(Op.IMAGE):
                m.d.comb += [
                    size.eq(self.input_size),
                    base.eq(self.input_base + input_offset),
                    range_error.eq(Error.INPUT_RANGE),
                ]
            with m.Case(Op.STORE):
                m.d.comb += [
                    size.eq(self.output_size),
                    base.eq(self.output_base + output_offset),
                    range_error.eq(Error.OUTPUT_RANGE),
                ]
            with m.Default():
                m.d.comb += [
                    size.eq(self.weights_size),
                    base.eq(self.weights_base),
                    range_error.eq(Error.WEIGHTS_RANGE),
                ]
        image_offset = Mux(f.op == Op.IMAGE, input_offset, Mux(f.op == Op.STORE, output_offset, 0))
        end = Signal(66)
        m.d.sync += end.eq(image_offset + f.offset + f.bytes)
        data_command = (f.op == Op.IMAGE) | (f.op == Op.STORE) | (f.op == Op.LOADX)
        # The weights of these were asked for ahead of time, unless they lie outside.
        addressed = data_command | (f.op == Op.MATMUL) | (f.op == Op.NORM)
        m.d.sync += [self.read_address.eq(base + f.offset), self.write_address.eq(base + f.offset)]
        m.d.comb += self.data_bytes.eq(f.bytes)
        m.d.comb += self.read_tag.eq(Mux(f.op == Op.IMAGE, READ_TAGS["image"], READ_TAGS["loadx"]))

        start, unit_done = Signal(), Signal()
        for unit, opcodes in UNITS.items():
            mine = Signal(name=f"{unit}_selected")
            m.d.comb += mine.eq(0)
            for opcode in opcodes:
                with m.If(f.op == opcode):
                    m.d.comb += mine.eq(1)
            m.d.comb += getattr(self, f"{unit}_start").eq(start & mine)
            with m.If(getattr(self, f"{unit}_done") & mine):
                m.d.comb += unit_done.eq(1)

        def stop(code: int | Error) -> None:
            with m.If(fault == 0):
                m.d.sync += fault.eq(code)
            m.next = "ABORT"

        wait = Signal(range(OperandCheck.LATENCY + 1))
        answered = Signal()  # a cycle late, so that an error in the last response is known too
        m.d.sync += answered.eq(self.writer_idle)
        m.d.sync += self.route_done.eq(self.retire & (f.op == Op.ROUTE))
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.start):
                    m.d.sync += [image.eq(0), input_offset.eq(0), output_offset.eq(0), finished.eq(0)]
                    m.d.sync += [fault.eq(0), self.error_code.eq(0), self.error_index.eq(0), self.running.eq(1)]
                    m.next = "LAUNCH"
            with m.State("LAUNCH"):
                m.d.sync += index.eq(0)
                inside = (self.entry < self.program_size) & (self.entry[:6] == 0)
                m.d.comb += [
                    self.fetch_start.eq(1),
                    self.fetch_address.eq(self.program_base + self.entry),
                    self.fetch_limit.eq(Mux(inside, self.program_size - self.entry, 0)),
                ]
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += [self.fetch_ready.eq(1), self.stall_fetch.eq(~self.fetch_valid)]
                m.d.sync += wait.eq(OperandCheck.LATENCY)
                with m.If(self.fetch_valid):
                    m.d.sync += self.instruction.eq(self.fetch_data)
                    m.next = "CHECK"
                with m.Elif(self.fetch_exhausted):
                    stop(Error.PROGRAM_RANGE)
                with m.If(fault != 0):
                    m.next = "ABORT"
            with m.State("CHECK"):
                m.d.sync += wait.eq(wait - 1)
                m.d.sync += self.rows.eq(Mux(f.use_queue, self.queue_length, f.row_end))
                with m.If(wait == 0):
                    with m.If(~check.known):
                        stop(Error.OPCODE)
                    with m.Elif(~check.legal):
                        stop(Error.FIELD)
                    with m.Elif(addressed & (end > size)):
                        stop(range_error)
                    with m.Elif(f.op == Op.END):
                        m.d.sync += finished.eq(1)
                        m.next = "RETIRE"
                    with m.Elif(f.use_queue & (self.rows == 0)):
                        m.next = "RETIRE"
                    with m.Elif(data_command):
                        m.next = "COMMAND"
                    with m.Else():
                        m.next = "START"
            with m.State("COMMAND"):
                store = f.op == Op.STORE
                m.d.comb += [self.write_valid.eq(store), self.read_valid.eq(~store)]
                with m.If(Mux(store, self.write_ready, self.read_ready)):
                    m.next = "START"
                with m.Elif(fault != 0):
                    m.next = "ABORT"
            with m.State("START"):
                m.d.comb += start.eq(1)
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.unit_running.eq(1)
                with m.If(fault != 0):
                    m.next = "ABORT"
                with m.Elif(unit_done):
                    m.next = "RETIRE"
                    with m.If(f.op == Op.STORE):
                        m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.comb += self.unit_running.eq(1)
                with m.If(fault != 0):
                    m.next = "ABORT"
                with m.Elif(self.writer_idle & answered):
                    m.next = "RETIRE"
            with m.State("RETIRE"):
                m.d.comb += [self.retire.eq(1), self.retire_index.eq(index)]
                m.d.sync += index.eq(index + 1)
                m.next = "FETCH"
                with m.If(finished):
                    m.next = "ABORT"
            with m.State("ABORT"):
                # Also the way out of a finished program: instructions fetched beyond END are dropped.
                m.d.comb += self.abort.eq(1)
                with m.If(self.ports_idle):
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += [self.abort.eq(1), self.clear.eq(1)]
                m.d.sync += [
                    finished.eq(0),
                    image.eq(image + 1),
                    input_offset.eq(input_offset + self.input_stride),
                    output_offset.eq(output_offset + self.output_stride),
                ]
                m.next = "LAUNCH"
                with m.If((fault != 0) | (image + 1 >= self.batch)):
                    m.d.sync += [self.error_code.eq(fault), self.error_index.eq(index), self.running.eq(0)]
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
