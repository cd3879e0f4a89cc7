"""What is proved: units in small but real shapes, the properties they have, and errors that break these.

A file of properties is a module around the unit, `dut`. It reads registers inside by their names in the Verilog
(attribute `hierconn`); a signal that Amaranth found no name for is `_signal...` there, so a change of a unit may number
them anew: Yosys then says which one is not there.

`python -m tests.formal.proofs NAME` writes the Verilog of a proof's unit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.isa import BY_NAME, Op
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import COUNTERS, Error
from hwgen.rtl.common.counter import saturating_counter
from hwgen.rtl.common.gearbox import Gearbox, ShiftQueue, Skid
from hwgen.rtl.control.lite import LiteSlave
from hwgen.rtl.control.registers import Control
from hwgen.rtl.control.sequencer import Sequencer
from hwgen.rtl.emit import to_verilog
from hwgen.rtl.memory.axi import AxiReader, AxiWriter
from hwgen.rtl.memory.bursts import BurstSplitter
from hwgen.rtl.memory.weights import WeightFetch

__all__ = ["PROOFS", "Mutant", "Proof"]


@dataclass(frozen=True)
class Mutant:
    """File of hwgen/rtl, its text, and the wrong text in its place; a counterexample has at most `depth` cycles."""

    file: str
    old: str
    new: str
    depth: int = 12


@dataclass(frozen=True)
class Proof:
    """`properties` names the file and its module, `parameters` are that module's.

    Mode `prove`: by induction over `depth` cycles; `bmc`: in the first `depth` cycles after reset. All cover statements
    are reached within `cover` cycles (0: in another shape). `quick`: it runs with the tests that are not slow, as does
    its first mutant.
    """

    unit: Callable[[], wiring.Component]
    properties: str
    mode: str = "prove"
    depth: int = 2
    cover: int = 20
    parameters: Mapping[str, int] = field(default_factory=dict)
    mutants: Mapping[str, Mutant] = field(default_factory=dict)
    quick: bool = False
    cut: tuple[str, ...] = ()  #: modules of the Verilog that are replaced by anything
    leaf: str = ""  #: module of a RAM that ram.sv takes the place of
    tables: Callable[[], dict[str, object]] = dict  #: what the file of properties is rendered with, as a template


#: A small machine.
SMALL = HwParams(t=2, c=2, k=2, weight_bus=64, data_bus=64)
GEARBOX, BURST, AXI = "common/gearbox", "memory/bursts", "memory/axi"

SKID = {
    "a word is lost": Mutant(GEARBOX, "with m.Elif(self.in_valid):", "with m.Elif(self.in_valid & self.clear):"),
    "the spare word changes": Mutant(GEARBOX, "with m.If(~spare_valid):", "with m.If(1):"),
}
QUEUE = {
    "full one too late": Mutant(GEARBOX, "self.full.eq(self.count == self.depth - 1)",
                                "self.full.eq(self.count == self.depth)"),
    "not the oldest": Mutant(GEARBOX, "oldest.eq(self.count - 1)", "oldest.eq(self.count)"),
    "lost beside a pop": Mutant(GEARBOX, "with m.If(self.push):", "with m.If(self.push & ~self.pop):"),
}
NARROWING = {
    "a part is lost": Mutant(GEARBOX, "self.out_valid.eq(left != 0)", "self.out_valid.eq(left > 1)"),
    "taken over a word that waits": Mutant(GEARBOX, "(self.out_ready & (left == 0))", "(left == 0)"),
    "last with every part": Mutant(GEARBOX, "self.out_last.eq(last & (left == 0))", "self.out_last.eq(last)"),
}
WIDENING = {
    "goes on in the word before": Mutant(GEARBOX, "with m.If(whole):", "with m.If(0):"),
    "a part too many": Mutant(GEARBOX, "self.out_count.eq(part)", "self.out_count.eq(part + 1)"),
}
BURSTS = {
    "beyond the end": Mutant(BURST, "(Mux(self.final, rest, 0) + ~below)", "(rest + ~below)"),
    "the carry is forgotten": Mutant(BURST, "~(whole[0] & carry)", "~whole[0]"),
}
READER = {
    "an address is not held": Mutant(AXI, "with m.Elif(self.ar.ready):", "with m.Else():"),
    "stray beats are counted": Mutant(AXI, "step.eq(self.r.valid & owed & (", "step.eq(self.r.valid & ("),
    "stray beats wait": Mutant(AXI, "self.r.ready.eq(beats.in_ready | self.abort | ~owed)",
                               "self.r.ready.eq(beats.in_ready | self.abort)"),
    "asks beside stray beats": Mutant(AXI, "[calm.eq(0), unrest.eq(CALM_CYCLES - 1)]", "[unrest.eq(CALM_CYCLES - 1)]"),
    "RLAST not looked at": Mutant(AXI, "step & (self.r.last != (beat == expected))", "step & 0"),
}
READER_HONEST = {
    "each burst ends a command": Mutant(AXI, "self.r.last & final", "self.r.last"),
    "a beat is lost": Mutant(AXI, "self.r.ready.eq(beats.in_ready | self.abort | ~owed)", "self.r.ready.eq(1)"),
}
WRITER = {
    "an address is not held": Mutant(AXI, "with m.Elif(self.aw.ready):", "with m.Else():"),
    "WLAST a beat early": Mutant(AXI, "last.eq(left == 1)]", "last.eq(left == 2)]"),
    "abort writes": Mutant(AXI, "offered.strb & (~self.abort).replicate(beat_bytes)", "offered.strb"),
    "abort leaves bursts": Mutant(AXI, "open_burst & (self.beats.valid | self.abort)", "open_burst & self.beats.valid"),
    "stray responses count": Mutant(AXI, "self.b.valid & addressed & complete", "self.b.valid & complete"),
}
LITE = {
    "a write without its data": Mutant("control/lite", "aw_held & w_held & (~self.BVALID | self.BREADY)",
                                       "aw_held & (~self.BVALID | self.BREADY)"),
    "an answer is lost": Mutant("control/lite", "aw_held & w_held & (~self.BVALID | self.BREADY)", "aw_held & w_held"),
    "a stalled read changes": Mutant("control/lite", "held_for[-1] & (~self.RVALID | self.RREADY)", "held_for[-1]"),
}
REGISTERS = {
    "strobes ignored": Mutant("control/registers", "with m.If(bus.write_strobe[byte]):", "with m.If(1):", 14),
    "the wrong word of a pair": Mutant("control/registers", "low.eq(~bus.read_address[0])",
                                       "low.eq(bus.read_address[0])", 14),
}
SEQUENCER = {
    "the end is not compared": Mutant("control/command", "Op.LOAD, Op.STORE, Op.MATMUL)", "Op.LOAD, Op.MATMUL)", 20),
    "checked too early": Mutant("control/sequencer", "wait.eq(OperandCheck.LATENCY)",
                                "wait.eq(OperandCheck.LATENCY - 2)", 14),
    "the watchdog sleeps": Mutant("control/faults", "(self.late, Error.WATCHDOG)", "(self.late & 0, Error.WATCHDOG)",
                                  22),
}
RING = {
    "overrun": Mutant("memory/weights", "widener.out_ready.eq(room != 0)", "widener.out_ready.eq(1)"),
    "counted while it is written": Mutant("memory/weights", "self.level.eq(self.level + self.ring.written - popped)",
                                          "self.level.eq(self.level + complete - popped)"),
    "the wrong memory": Mutant("memory/weights", "from_odd.eq(read[0])", "from_odd.eq(address[0])"),
}
COUNTER = {
    "it wraps": Mutant("common/counter", "carry.eq(total[half] & ~full)", "carry.eq(total[half])", 100),
    "full too late": Mutant("common/counter", "low[margin:].all()", "low.all()", 100),
    "the carry is shown too early": Mutant("common/counter", "shown.eq(low)", "shown.eq(total)"),
}


class Counter(wiring.Component):
    """`saturating_counter` alone."""

    def __init__(self, *, bits: int, amount: int) -> None:
        self.bits = bits
        super().__init__({"clear": In(1), "amount": In(amount), "count": Out(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.count.eq(
            saturating_counter(m, bits=self.bits, clear=self.clear, amount=self.amount, name="total")
        )
        return m


def registers() -> dict[str, object]:
    control = Control(SMALL, build_hash=0x0123456789ABCDEF)
    constants = {name: f"64'd{value}" for name, value in control._constants().items()}
    return {"registers": control.registers, "constants": constants, "counters": COUNTERS}


def instructions() -> dict[str, object]:
    return {"fields": BY_NAME, "ops": Op.__members__, "errors": Error.__members__}


PROOFS = {
    "Skid": Proof(lambda: Skid(width=8), "skid", parameters={"WIDTH": 8}, mutants=SKID, quick=True),
    "ShiftQueue, 4 deep": Proof(
        lambda: ShiftQueue(width=8, depth=4), "queue", parameters={"WIDTH": 8, "DEPTH": 4}, mutants=QUEUE, quick=True
    ),
    "ShiftQueue, 3 deep": Proof(lambda: ShiftQueue(width=8, depth=3), "queue", parameters={"WIDTH": 8, "DEPTH": 3}),
    "ShiftQueue, 1 deep": Proof(lambda: ShiftQueue(width=8, depth=1), "queue", parameters={"WIDTH": 8, "DEPTH": 1}),
    "Gearbox, 64 to 16 bits": Proof(
        lambda: Gearbox(in_bits=64, out_bits=16), "narrowing", parameters={"IN": 64, "OUT": 16}, mutants=NARROWING,
        quick=True,
    ),
    "Gearbox, 32 to 16 bits": Proof(
        lambda: Gearbox(in_bits=32, out_bits=16), "narrowing", parameters={"IN": 32, "OUT": 16}
    ),
    "Gearbox, 16 to 16 bits": Proof(
        lambda: Gearbox(in_bits=16, out_bits=16), "narrowing", parameters={"IN": 16, "OUT": 16}
    ),
    "Gearbox, 16 to 64 bits": Proof(
        lambda: Gearbox(in_bits=16, out_bits=64), "widening", parameters={"IN": 16, "OUT": 64}, mutants=WIDENING,
        quick=True,
    ),
    "Gearbox, 8 to 16 bits": Proof(lambda: Gearbox(in_bits=8, out_bits=16), "widening",
                                   parameters={"IN": 8, "OUT": 16}),
    "BurstSplitter, 64 bits, 4 beats": Proof(
        lambda: BurstSplitter(data_bits=64, max_burst=4, tag_bits=2), "bursts", parameters={"BYTES": 8, "MAX": 4},
        mutants=BURSTS, quick=True,
    ),
    "BurstSplitter, 64 bits, 256 beats": Proof(
        lambda: BurstSplitter(data_bits=64, max_burst=256, tag_bits=2), "bursts", parameters={"BYTES": 8, "MAX": 256}
    ),
    "BurstSplitter, 512 bits, 64 beats": Proof(
        lambda: BurstSplitter(data_bits=512, max_burst=64, tag_bits=2), "bursts", parameters={"BYTES": 64, "MAX": 64}
    ),
    "AxiReader": Proof(
        lambda: AxiReader(data_bits=64, outstanding=2, max_burst=4), "reader", cover=12, parameters={"HONEST": 1},
        mutants=READER_HONEST,
    ),
    "AxiReader, any memory": Proof(
        lambda: AxiReader(data_bits=64, outstanding=2, max_burst=4), "reader", cover=12, parameters={"HONEST": 0},
        mutants=READER,
    ),
    "AxiWriter": Proof(
        lambda: AxiWriter(data_bits=64, outstanding=2, max_burst=4), "writer", cover=12, mutants=WRITER,
    ),
    "LiteSlave": Proof(LiteSlave, "lite", depth=3, mutants=LITE, quick=True),
    "Control": Proof(
        lambda: Control(SMALL, build_hash=0x0123456789ABCDEF), "registers", mode="bmc", depth=8, cover=18,
        mutants=REGISTERS, tables=registers,
    ),
    "Sequencer": Proof(
        lambda: Sequencer(SMALL), "sequencer", cover=40, cut=("dut_check",), tables=instructions, mutants=SEQUENCER,
    ),
    "saturating_counter, 48 bits": Proof(
        lambda: Counter(bits=48, amount=10), "counter", cover=0, parameters={"BITS": 48, "AMOUNT": 10}
    ),
    "saturating_counter, 8 bits": Proof(
        lambda: Counter(bits=8, amount=2), "counter", mode="bmc", depth=100, cover=100,
        parameters={"BITS": 8, "AMOUNT": 2}, mutants=COUNTER,
    ),
    "weight ring of 4 words": Proof(
        lambda: WeightFetch(replace(SMALL, c=4, weight_depth=4)), "ring", cut=("dut_reader",),
        leaf="hwgen_ram_distributed", mutants=RING,
    ),
}  # fmt: skip


def main() -> None:
    sys.stdout.write(to_verilog(PROOFS[sys.argv[1]].unit(), "dut"))


if __name__ == "__main__":
    main()
