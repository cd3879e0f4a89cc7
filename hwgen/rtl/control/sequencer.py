"""Sequencer: dispatches a program to the units, in order and as early as allowed, and turns faults into error codes."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.isa import UNITS, Op
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error
from hwgen.rtl.common.address import byte_address
from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields
from hwgen.rtl.control.check import OperandCheck

__all__ = ["PORTS", "READ_TAGS", "Sequencer"]

#: What an opcode starts; IMAGE, LOAD and STORE are parts of the unit `data`.
PORTS: dict[str, tuple[Op, ...]] = {name: ops for name, ops in UNITS.items() if name != "data"}
PORTS |= {"image": (Op.IMAGE,), "load": (Op.LOAD,), "store": (Op.STORE,)}

#: Who a beat from the data port is for.
READ_TAGS = {"program": 0, "image": 1, "load": 2}

#: Cycles after which the engine, starved while no weights can come, will never get any.
STARVED_CYCLES = 1 << 16


class Sequencer(wiring.Component):
    """Takes instructions from `fetch_*`, checks them, waits until their ORDER fields allow them, dispatches them.

    `start` runs the program at `entry` once per image of `batch` (0 counts as 1), the input and output regions
    advancing by their strides, then `done` pulses. Any fault (`*_error`, an illegal instruction, an address outside a
    region, weights that nobody asked for) stops it: `abort` holds until all ports are idle, `clear` resets every unit,
    then `done` comes with `error_code` set and `error_index` the number of the instruction the sequencer was at.

    A `*_start` pulse comes with `instruction`, `rows`, `fetched` and `number`, which stay for that cycle only; `*_done`
    comes when all writes are made. The engine takes CONTEXTS instructions and tells how many are `unfinished`; other
    units take one. `busy` is a bit per unit of `isa.UNITS`; `wait_*`: what the next instruction waits for.
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
            "starved": In(1),
            "weights_barred": In(1),
            "fetch_start": Out(1),
            "fetch_address": Out(64),
            "fetch_limit": Out(32),
            "fetch_valid": In(1),
            "fetch_ready": Out(1),
            "fetch_data": In(INSTRUCTION_BITS),
            "fetch_exhausted": In(1),
            "decision_valid": In(1),
            "decision_ready": Out(1),
            "decision_fetched": In(1),
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
            "fetched": Out(1),
            "number": Out(16),
            "unfinished": In(range(CONTEXTS + 1)),
            "queue_length": In(p.row_bits),
            "busy": Out(len(UNITS)),
            "data_done": Out(1),
            "running": Out(1),
            "executed": Out(1),
            "wait_fetch": Out(1),
        }
        ports |= {
            f"{port}_{event}": In(1) if event == "done" else Out(1) for port in PORTS for event in ("start", "done")
        }
        ports |= {f"wait_{unit}": Out(1) for unit in UNITS}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, f = self.p, Fields(self.instruction)
        m.submodules.check = check = OperandCheck(p)
        m.d.comb += check.instruction.eq(self.instruction)
        selected = self._selected(m, f)
        free = self._busy(m, f, selected)
        self._faults(m)
        data_command = selected["image"] | selected["load"] | selected["store"]
        outside, range_error = self._region(m, f)
        needs_weights, is_end = Signal(), Signal()
        m.d.sync += [needs_weights.eq((f.op == Op.MATMUL) & (f.bytes != 0)), is_end.eq(f.op == Op.END)]

        fault, failed, index, finished = self.fault, self.failed, self.index, self.finished
        image = self.image

        # What goes out of here reaches far: registers drive it, set on the way into the state that they stand for.
        def fetch() -> None:
            m.d.sync += self.fetch_ready.eq(1)
            m.next = "FETCH"

        def abort() -> None:
            m.d.sync += self.abort.eq(1)
            m.next = "ABORT"

        def stop(code: Value | Error) -> None:
            with m.If(~failed):
                m.d.sync += [fault.eq(code), failed.eq(1)]
            abort()

        wait = Signal(range(OperandCheck.LATENCY + 1))
        dispatch = Signal()
        m.d.sync += [self.clear.eq(0), self.executed.eq(dispatch), self.number.eq(index)]
        for port in PORTS:
            m.d.sync += getattr(self, f"{port}_start").eq(0)
        # Until the last one is started, with its pulse, it must stay; until there is a valid one it may be anything.
        m.d.comb += self.wait_fetch.eq(self.fetch_ready & ~self.fetch_valid)
        with m.If(self.fetch_ready):
            m.d.sync += self.instruction.eq(self.fetch_data)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.start):
                    m.d.sync += [image.eq(1), self.input_offset.eq(0), self.output_offset.eq(0), finished.eq(0)]
                    m.d.sync += [fault.eq(0), failed.eq(0), self.error_code.eq(0), self.error_index.eq(0)]
                    m.d.sync += self.running.eq(1)
                    m.next = "LAUNCH"
            with m.State("LAUNCH"):
                m.d.sync += index.eq(0)
                m.d.comb += self.fetch_start.eq(1)
                fetch()
            with m.State("FETCH"):
                m.d.sync += [wait.eq(OperandCheck.LATENCY), self.fetch_ready.eq(0)]
                with m.If(self.fetch_valid):
                    m.next = "CHECK"
                with m.Elif(self.fetch_exhausted):
                    stop(Error.PROGRAM_RANGE)
                with m.Else():
                    m.d.sync += self.fetch_ready.eq(1)
                with m.If(failed):
                    m.d.sync += self.fetch_ready.eq(0)
                    abort()
            with m.State("CHECK"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "ORDER"
                    with m.If(~check.known):
                        stop(Error.OPCODE)
                    with m.Elif(~check.legal):
                        stop(Error.FIELD)
                    with m.Elif(outside):
                        stop(range_error)
            with m.State("ORDER"):
                m.d.comb += self.ordering.eq(1)
                m.d.sync += self.rows.eq(Mux(f.use_queue, self.queue_length, f.row_end))
                m.d.sync += self.read_tag.eq(Mux(selected["image"], READ_TAGS["image"], READ_TAGS["load"]))
                with m.If(failed):
                    abort()
                with m.Elif(free):
                    m.next = "DISPATCH"
                    with m.If(data_command):
                        m.d.sync += [self.write_valid.eq(selected["store"]), self.read_valid.eq(~selected["store"])]
                        m.next = "COMMAND"
            with m.State("COMMAND"):
                taken = (self.write_valid & self.write_ready) | (self.read_valid & self.read_ready)
                with m.If(taken | failed):
                    m.d.sync += [self.write_valid.eq(0), self.read_valid.eq(0)]
                with m.If(taken):
                    m.next = "DISPATCH"
                with m.Elif(failed):
                    abort()
            with m.State("DISPATCH"):
                m.d.comb += dispatch.eq(~needs_weights | self.decision_valid)
                m.d.comb += self.decision_ready.eq(needs_weights)
                m.d.sync += self.fetched.eq(needs_weights & self.decision_fetched)
                with m.If(dispatch):
                    m.d.sync += index.eq(index + 1)
                    # An empty queue has no rows to gather; its MATMULs may have weights to discard, in their turn.
                    skipped = (f.op == Op.GATHER) & (self.rows == 0)
                    for port, mine in selected.items():
                        m.d.sync += getattr(self, f"{port}_start").eq(mine & ~skipped)
                    with m.If(is_end):
                        m.d.sync += finished.eq(1)
                        abort()
                    with m.Else():
                        fetch()
                with m.Elif(failed):
                    abort()
            with m.State("ABORT"), m.If(self.ports_idle):
                # Also the way out of a finished program: instructions fetched beyond END are dropped.
                m.next = "CLEAR"
            with m.State("CLEAR"):
                # It resets much: a register drives it, a cycle later.
                m.d.sync += [self.clear.eq(1), finished.eq(0), image.eq(image + 1), self.following.eq(1)]
                m.next = "CLEARED"
            with m.State("CLEARED"):
                m.d.sync += self.abort.eq(0)
                m.next = "LAUNCH"
                with m.If(failed | self.last_image):  # of the image before
                    m.d.sync += [self.error_code.eq(fault), self.error_index.eq(index), self.running.eq(0)]
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m

    def _selected(self, m: Module, f: Fields) -> dict[str, Signal]:
        """Which port the instruction is for."""
        selected = {port: Signal(name=f"{port}_selected") for port in PORTS}
        for port, opcodes in PORTS.items():
            m.d.sync += selected[port].eq(f.op.matches(*opcodes))
        return selected

    def _busy(self, m: Module, f: Fields, selected: dict[str, Signal]) -> Signal:
        """What each unit does; whether the instruction may start."""
        data_selected = selected["image"] | selected["load"] | selected["store"]
        # A STORE ends when its writes are answered; a cycle later, so that an error in the last response is known too.
        storing, answered = Signal(), Signal()
        m.d.sync += answered.eq(self.writer_idle)
        with m.If(self.store_done):
            m.d.sync += storing.eq(1)
        with m.If(storing & self.writer_idle & answered):
            m.d.sync += storing.eq(0)
            m.d.comb += self.data_done.eq(1)
        with m.If(self.image_done | self.load_done):
            m.d.comb += self.data_done.eq(1)
        free, self.ordering = Signal(), Signal()
        waits: list[Value] = []
        m.d.comb += self.busy[0].eq(self.unfinished != 0)
        engine_full = selected["engine"] & (self.unfinished == CONTEXTS)
        waits.append(Signal(name="engine_holds"))
        m.d.sync += waits[0].eq(engine_full | (self.unfinished > f.engine_lag))
        for number, unit in list(enumerate(UNITS))[1:]:
            starts = [
                getattr(self, f"{port}_start") for port in (("image", "load", "store") if unit == "data" else (unit,))
            ]
            done = self.data_done if unit == "data" else getattr(self, f"{unit}_done")
            with m.If(done | self.clear):
                m.d.sync += self.busy[number].eq(0)
            for start in starts:
                with m.If(start):
                    m.d.sync += self.busy[number].eq(1)
            own = data_selected if unit == "data" else selected[unit]
            holds = Signal(name=f"{unit}_holds")
            m.d.sync += holds.eq(self.busy[number] & (own | ~getattr(f, f"beside_{unit}")))
            waits.append(holds)
        with m.If(self.clear):
            m.d.sync += storing.eq(0)
        for unit, wait in zip(UNITS, waits, strict=True):
            m.d.comb += getattr(self, f"wait_{unit}").eq(wait & self.ordering)
        m.d.comb += free.eq(~waits[0] & ~waits[1] & ~waits[2] & ~waits[3] & ~waits[4])
        return free

    def _faults(self, m: Module) -> None:
        """The first fault wins; errors of the ports may come at any time. After END they are of instructions fetched
        in vain."""
        self.fault, self.finished, self.index = Signal(8), Signal(), Signal(16)
        self.failed = Signal()  # `fault` is not 0
        port_fault = Signal(8)
        hunger = Signal(range(STARVED_CYCLES))
        with m.If(self.starved & self.weights_barred):
            m.d.sync += hunger.eq(hunger + 1)
        with m.Else():
            m.d.sync += hunger.eq(0)
        for pulse, code in (
            (hunger == STARVED_CYCLES - 1, Error.STARVED),
            (self.read0_error, Error.READ_GMEM0),
            (self.read1_error, Error.READ_GMEM1),
            (self.write1_error, Error.WRITE_GMEM1),
        ):
            with m.If(pulse):
                m.d.comb += port_fault.eq(code)
        with m.If(~self.failed & self.running & ~self.finished):
            m.d.sync += [self.fault.eq(port_fault), self.failed.eq(port_fault.any())]

    def _region(self, m: Module, f: Fields) -> tuple[Signal, Signal]:
        """Address of a data command, and if it or a MATMUL's weights lie outside; four cycles after `instruction`."""
        # An offset beyond 32 bits lies outside every region: it is enough to remember that.
        self.image = Signal(32)  # of the batch, from 1 on
        self.following, self.last_image = Signal(), Signal()
        self.input_offset, self.output_offset = Signal(33), Signal(33)
        with m.If(self.following):
            m.d.sync += self.following.eq(0)
            for offset, stride in (
                (self.input_offset, self.input_stride),
                (self.output_offset, self.output_stride),
            ):
                total = Signal(34)
                m.d.comb += total.eq(offset[:32] + stride)
                m.d.sync += offset.eq(total | (offset[32] << 32))
        m.d.sync += self.last_image.eq(self.image >= self.batch)
        # The arguments are stable long before a start.
        inside = (self.entry < self.program_size) & (self.entry[:6] == 0)
        m.d.comb += self.fetch_address.eq(byte_address(m, self.program_base, self.entry))
        m.d.sync += self.fetch_limit.eq(Mux(inside, self.program_size - self.entry, 0))
        size, base, moved = Signal(32), Signal(64), Signal(33)
        range_error = Signal(8)
        m.d.sync += [size.eq(self.weights_size), base.eq(self.weights_base), moved.eq(0)]
        m.d.sync += range_error.eq(Error.WEIGHTS_RANGE)
        with m.If(f.op == Op.IMAGE):
            m.d.sync += [size.eq(self.input_size), base.eq(self.input_base), moved.eq(self.input_offset)]
            m.d.sync += range_error.eq(Error.INPUT_RANGE)
        with m.If(f.op == Op.STORE):
            m.d.sync += [size.eq(self.output_size), base.eq(self.output_base), moved.eq(self.output_offset)]
            m.d.sync += range_error.eq(Error.OUTPUT_RANGE)
        span, start, end = Signal(33), Signal(34), Signal(35)
        outside = Signal()
        m.d.sync += [
            span.eq(f.offset + f.bytes),
            start.eq(moved + f.offset),
            end.eq(moved + span),
            # The weights of a MATMUL are asked for ahead of time, unless they lie outside.
            outside.eq((end > size) & f.op.matches(Op.IMAGE, Op.LOAD, Op.STORE, Op.MATMUL)),
        ]
        address = byte_address(m, base, start)
        m.d.comb += [
            self.read_address.eq(address),
            self.write_address.eq(address),
            self.data_bytes.eq(f.bytes),
        ]
        return outside, range_error
