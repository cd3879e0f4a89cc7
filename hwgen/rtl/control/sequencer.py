"""Sequencer: dispatches a program to the units, in order and as early as allowed, and turns faults into error codes."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.interfaces import numbered, weight_numbers
from hwgen.machine.isa import UNITS, Op
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error
from hwgen.rtl.common.address import byte_address
from hwgen.rtl.common.context import CONTEXTS
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields
from hwgen.rtl.control.arguments import Arguments
from hwgen.rtl.control.batch import Batch
from hwgen.rtl.control.check import OperandCheck
from hwgen.rtl.control.command import READ_TAGS, DataCommand
from hwgen.rtl.control.faults import Faults
from hwgen.rtl.control.kept import KeptWeights
from hwgen.rtl.control.order import PORTS, Order
from hwgen.rtl.control.watchdog import Watchdog

__all__ = ["PORTS", "READ_TAGS", "Sequencer"]


class Sequencer(wiring.Component):
    """Takes instructions from `fetch_*`, checks them, waits until their ORDER fields allow them, dispatches them.

    `start` runs the program at `entry` once per image of `batch` (0 counts as 1), the input and output regions
    advancing by their strides, then `done` pulses. Any fault (`*_error`, an illegal instruction, an address outside a
    region, weights that do not come, more than `watchdog` cycles for an image, `stop`) ends it: `abort` holds until all
    ports are idle, `clear` resets every unit (`clearing` is the same two cycles before), then `done` comes with
    `error_code` set and `error_index` the number of the instruction the sequencer was at. Ports that are not idle after
    PATIENCE_CYCLES are left to themselves: the run ends, `abort` goes on to hold, and a `start` is refused as long as
    it does; so it is with bad arguments, which are stable for `Arguments.LATENCY` cycles before. `error_code_clear`
    (pulse) forgets the error.

    A `*_start` pulse comes with `instruction`, `rows`, `fetched` and `number`, which stay for that cycle only; `*_done`
    comes when all writes are made. The engine takes CONTEXTS instructions and tells how many are `unfinished`; other
    units take one. `busy` is a bit per unit of `isa.UNITS`; `wait_*`: what the next instruction waits for.

    Here is the state machine, of a run and of the instruction it is at; the parts know what it asks: may the run start
    (`Arguments`), is the instruction legal (`OperandCheck`), does it lie within its region (`DataCommand`), are its
    weights in the ring (`KeptWeights`), may it start (`Order`), has anything failed (`Faults`, `Watchdog`), is there
    another image (`Batch`).
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        ports = {
            "start": In(1),
            "done": Out(1),
            "idle": Out(1),
            "error_code": Out(8),
            "error_index": Out(16),
            "stop": In(1),
            "error_code_clear": In(1),
            "program_base": In(64),
            "program_size": In(32),
            "weights_size": In(32),
            "input_base": In(64),
            "input_size": In(32),
            "output_base": In(64),
            "output_size": In(32),
            "entry": In(32),
            "batch": In(32),
            "input_stride": In(32),
            "output_stride": In(32),
            "watchdog": In(32),
            "abort": Out(1),
            "clear": Out(1),
            "clearing": Out(1),
            "ports_idle": In(1),
            "writer_idle": In(1),
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
        for port, number in enumerate(weight_numbers(p)):
            ports |= {f"read{number}_error": In(1), numbered("weights_base", port): In(64)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.check, self.order, self.command = OperandCheck(self.p), Order(), DataCommand(self.p)
        self.faults, self.images = Faults(self.p), Batch()
        self.arguments, self.kept, self.timer = Arguments(self.p), KeptWeights(self.p), Watchdog()
        self._parts(m)
        self._entry(m)
        self.index, self.finished = Signal(16), Signal()
        m.d.sync += [self.clear.eq(0), self.number.eq(self.index)]
        m.d.comb += self.faults.watching.eq(self.running & ~self.finished)
        # Until the last one is started, with its pulse, it must stay; until there is a valid one it may be anything.
        m.d.comb += self.wait_fetch.eq(self.fetch_ready & ~self.fetch_valid)
        with m.If(self.fetch_ready):
            m.d.sync += self.instruction.eq(self.fetch_data)
        with m.If(self.error_code_clear):
            m.d.sync += [self.error_code.eq(0), self.error_index.eq(0)]
        with m.FSM():
            self._begin(m)
            self._accept(m)
            self._dispatch(m)
            self._end(m)
        return m

    def _parts(self, m: Module) -> None:
        """The parts' ports named like one of the sequencer's are that port."""
        for name in ("arguments", "check", "kept", "order", "command", "faults", "timer", "images"):
            part = m.submodules[name] = getattr(self, name)
            for port, member in part.signature.members.items():
                if port in self.signature.members:
                    inner, outer = getattr(part, port), getattr(self, port)
                    m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        m.d.comb += [
            self.command.image_selected.eq(self.order.image_selected),
            self.command.store_selected.eq(self.order.store_selected),
            self.command.input_offset.eq(self.images.input_offset),
            self.command.output_offset.eq(self.images.output_offset),
            self.kept.words.eq(self.check.words),
            self.faults.late.eq(self.timer.late),
            self.arguments.owing.eq(self.abort),
        ]

    def _entry(self, m: Module) -> None:
        """Where the program begins, and how much may be read from there: the arguments are stable long before."""
        m.d.comb += self.fetch_address.eq(byte_address(m, self.program_base, self.entry))
        m.d.sync += self.fetch_limit.eq(self.program_size - self.entry)

    # What goes out of here reaches far: registers drive it, set on the way into the state that they stand for.
    def _to_fetch(self, m: Module) -> None:
        m.d.sync += self.fetch_ready.eq(1)
        m.next = "FETCH"

    def _to_abort(self, m: Module) -> None:
        m.d.sync += self.abort.eq(1)
        m.next = "ABORT"

    def _found(self, m: Module, code: Value | Error) -> None:
        m.d.comb += [self.faults.found.eq(1), self.faults.found_code.eq(code)]

    def _stop(self, m: Module, code: Value | Error) -> None:
        self._found(m, code)
        self._to_abort(m)

    def _begin(self, m: Module) -> None:
        """Of a run, of a program."""
        with m.State("IDLE"):
            m.d.comb += self.idle.eq(1)
            with m.If(self.ports_idle):  # if they were left to themselves
                m.d.sync += self.abort.eq(0)
            with m.If(self.start):
                m.d.comb += [self.images.begin.eq(1), self.faults.begin.eq(1)]
                m.d.sync += [self.error_code.eq(self.arguments.refusal), self.error_index.eq(0), self.finished.eq(0)]
                with m.If(self.arguments.refused):
                    m.next = "DONE"
                with m.Else():
                    m.d.sync += self.running.eq(1)
                    m.next = "LAUNCH"
        with m.State("LAUNCH"):
            m.d.sync += self.index.eq(0)
            m.d.comb += [self.fetch_start.eq(1), self.kept.begin.eq(1)]
            self._to_fetch(m)

    def _accept(self, m: Module) -> None:
        """An instruction from the queue, and its check."""
        check, failed = self.check, self.faults.failed
        wait = Signal(range(OperandCheck.LATENCY + 1))
        with m.State("FETCH"):
            m.d.sync += [wait.eq(OperandCheck.LATENCY), self.fetch_ready.eq(0)]
            with m.If(self.fetch_valid):
                m.next = "CHECK"
            with m.Elif(self.fetch_exhausted):
                self._stop(m, Error.PROGRAM_RANGE)
            with m.Else():
                m.d.sync += self.fetch_ready.eq(1)
            with m.If(failed):
                m.d.sync += self.fetch_ready.eq(0)
                self._to_abort(m)
        with m.State("CHECK"):
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 0):
                m.next = "ORDER"
                with m.If(~check.known):
                    self._stop(m, Error.OPCODE)
                with m.Elif(~check.legal):
                    self._stop(m, Error.FIELD)
                with m.Elif(self.command.outside):
                    self._stop(m, self.command.range_error)
                with m.Elif(self.command.overlapping):
                    self._stop(m, Error.OUTPUT_STRIDE)
                with m.Elif(self.kept.missing):
                    self._stop(m, Error.NOT_FETCHED)

    def _dispatch(self, m: Module) -> None:
        """An instruction to its unit, when it may start: a data command to the port first, then the pulse."""
        f, order, command, failed = Fields(self.instruction), self.order, self.command, self.faults.failed
        ordering, dispatch, needs_weights, is_end = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [needs_weights.eq((f.op == Op.MATMUL) & (f.bytes != 0)), is_end.eq(f.op == Op.END)]
        for number, unit in enumerate(UNITS):
            m.d.comb += getattr(self, f"wait_{unit}").eq(order.holds[number] & ordering)
        m.d.comb += command.choosing.eq(ordering)
        with m.State("ORDER"):
            m.d.comb += ordering.eq(1)
            m.d.sync += self.rows.eq(Mux(f.use_queue, self.queue_length, f.row_end))
            with m.If(failed):
                self._to_abort(m)
            with m.Elif(~order.holds.any()):
                m.next = "DISPATCH"
                with m.If(order.image_selected | order.load_selected | order.store_selected):
                    m.d.comb += command.offer.eq(1)
                    m.next = "COMMAND"
        with m.State("COMMAND"):
            m.d.comb += command.withdraw.eq(failed)
            with m.If(command.taken):
                m.next = "DISPATCH"
            with m.Elif(failed):
                self._to_abort(m)
        with m.State("DISPATCH"):
            m.d.comb += dispatch.eq(~needs_weights | self.decision_valid)
            m.d.comb += self.decision_ready.eq(needs_weights)
            m.d.sync += self.fetched.eq(needs_weights & self.decision_fetched)
            with m.If(dispatch):
                m.d.sync += self.index.eq(self.index + 1)
                with m.If(is_end):
                    m.d.sync += self.finished.eq(1)
                    self._to_abort(m)
                with m.Else():
                    self._to_fetch(m)
            with m.Elif(failed):
                self._to_abort(m)
        # An empty queue has no rows to gather; its MATMULs may have weights to discard, in their turn.
        skipped = (f.op == Op.GATHER) & (self.rows == 0)
        m.d.comb += self.kept.take.eq(dispatch)
        m.d.sync += self.executed.eq(dispatch)
        for port in PORTS:
            mine = getattr(order, f"{port}_selected")
            m.d.sync += getattr(self, f"{port}_start").eq(dispatch & mine & ~skipped)

    def _end(self, m: Module) -> None:
        """Of a program that stopped or is over: what was fetched beyond END is dropped, units start from reset."""
        with m.State("ABORT"):
            leave = self.ports_idle | self.timer.hopeless
            m.d.comb += self.clearing.eq(leave)  # it reaches far: two registers drive it
            with m.If(leave):
                m.next = "CLEAR"
            with m.If(~self.ports_idle & self.timer.hopeless):
                self._found(m, Error.WATCHDOG)
        with m.State("CLEAR"):
            m.d.comb += self.images.advance.eq(1)
            m.d.sync += [self.clear.eq(1), self.finished.eq(0)]
            m.next = "CLEARED"
        with m.State("CLEARED"):
            m.d.sync += self.abort.eq(~self.ports_idle)
            m.next = "LAUNCH"
            with m.If(self.faults.failed | self.images.last):  # of the image before
                m.d.sync += [self.error_code.eq(self.faults.fault), self.error_index.eq(self.index)]
                m.d.sync += self.running.eq(0)
                m.next = "DONE"
        with m.State("DONE"):
            m.d.comb += self.done.eq(1)
            m.next = "IDLE"
