"""Data commands: what an IMAGE, LOAD or STORE asks of the data port, and whether it may.

Tested by tests/rtl/control/test_sequencer.py.
"""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.isa import Op
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error
from hwgen.rtl.common.address import byte_address
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields

__all__ = ["READ_TAGS", "DataCommand"]

#: Who a beat from the data port is for.
READ_TAGS = {"program": 0, "image": 1, "load": 2}


class DataCommand(wiring.Component):
    """Where the DRAM bytes of `instruction` lie; the command for them.

    `outside`, with its `range_error`: they are not within their region, nor are a MATMUL's weights; four cycles after
    `instruction`, as is the address, and `overlapping`: its output reaches into that of the next image of `batch`.
    `read_*` and `write_*` are streams of at most one command, with `data_bytes`: `offer` (pulse) makes it valid a cycle
    later, a write if `store_selected`, else a read with the tag that was chosen while `choosing`. `taken` is the cycle
    of its handshake, `withdraw` takes it back.
    """

    def __init__(self, p: HwParams) -> None:
        self.p = p
        regions = ("program", "input", "output")
        super().__init__(
            {
                "instruction": In(INSTRUCTION_BITS),
                "outside": Out(1),
                "range_error": Out(8),
                "overlapping": Out(1),
                "batch": In(32),
                "output_stride": In(32),
                "image_selected": In(1),
                "store_selected": In(1),
                "choosing": In(1),
                "offer": In(1),
                "withdraw": In(1),
                "taken": Out(1),
                "read_valid": Out(1),
                "read_ready": In(1),
                "read_address": Out(64),
                "read_tag": Out(2),
                "write_valid": Out(1),
                "write_ready": In(1),
                "write_address": Out(64),
                "data_bytes": Out(32),
                "input_offset": In(33),
                "output_offset": In(33),
            }
            | {f"{region}_base": In(64) for region in regions}
            | {f"{region}_size": In(32) for region in (*regions, "weights")}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        f = Fields(self.instruction)
        self._place(m, f)
        with m.If(self.choosing):
            m.d.sync += self.read_tag.eq(Mux(self.image_selected, READ_TAGS["image"], READ_TAGS["load"]))
        m.d.comb += self.taken.eq((self.write_valid & self.write_ready) | (self.read_valid & self.read_ready))
        with m.If(self.taken | self.withdraw):
            m.d.sync += [self.write_valid.eq(0), self.read_valid.eq(0)]
        with m.If(self.offer):
            m.d.sync += [self.write_valid.eq(self.store_selected), self.read_valid.eq(~self.store_selected)]
        return m

    def _place(self, m: Module, f: Fields) -> None:
        """The address, and the end against the size, in three stages."""
        size, base, moved = Signal(32), Signal(64), Signal(33)
        m.d.sync += [size.eq(self.weights_size), base.eq(self.program_base), moved.eq(0)]
        m.d.sync += self.range_error.eq(Error.WEIGHTS_RANGE)
        with m.If(f.op == Op.LOAD):
            m.d.sync += [size.eq(self.program_size), self.range_error.eq(Error.PROGRAM_RANGE)]
        with m.If(f.op == Op.IMAGE):
            m.d.sync += [size.eq(self.input_size), base.eq(self.input_base), moved.eq(self.input_offset)]
            m.d.sync += self.range_error.eq(Error.INPUT_RANGE)
        with m.If((f.op == Op.STORE) | ((f.op == Op.LOAD) & f.spilled if self.p.spill else 0)):
            m.d.sync += [size.eq(self.output_size), base.eq(self.output_base), moved.eq(self.output_offset)]
            m.d.sync += self.range_error.eq(Error.OUTPUT_RANGE)
        span, start, end, several = Signal(33), Signal(34), Signal(35), Signal()
        m.d.sync += [
            span.eq(f.offset + f.bytes),
            start.eq(moved + f.offset),
            end.eq(moved + span),
            # The weights of a MATMUL are asked for ahead of time, unless they lie outside.
            self.outside.eq((end > size) & f.op.matches(Op.IMAGE, Op.LOAD, Op.STORE, Op.MATMUL)),
            several.eq(self.batch[1:].any()),
            self.overlapping.eq((span > self.output_stride) & several & (f.op == Op.STORE)),
        ]
        address = byte_address(m, base, start)
        m.d.comb += [self.read_address.eq(address), self.write_address.eq(address), self.data_bytes.eq(f.bytes)]
