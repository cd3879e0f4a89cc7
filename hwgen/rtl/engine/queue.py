"""The engine's instructions, in the order in which they came; the oldest one is planned.

Tested by tests/rtl/engine/test_issue.py.
"""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.isa import BY_NAME
from hwgen.rtl.common.context import CONTEXT_BITS, CONTEXTS, ContextTable
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields

__all__ = ["PLANNED", "START", "InstructionQueue"]

#: How the engine is given an instruction.
START = {"start": In(1), "instruction": In(INSTRUCTION_BITS), "rows": In(16), "fetched": In(1), "number": In(16)}
_FIELDS = (
    "op", "source", "keep", "narrow", "a_base", "a_stride", "row_begin", "k_steps", "tiles", "d_word", "ring_offset",
    "slack", "k_base", "k_stride", "v_base", "v_stride", "key_tiles", "pv_steps",
)  # fmt: skip
#: `first_use`: its weights are not in the ring for an earlier one.
_MORE = {"rows": 16, "fetched": 1, "first_use": 1, "number": 16}
#: What planning needs to know of an instruction.
PLANNED = data.StructLayout({name: BY_NAME[name].bits for name in _FIELDS} | _MORE)


class InstructionQueue(wiring.Component):
    """`start` takes an instruction as `Issuer` does; `planned` (pulse) drops the oldest one.

    `context` is the number of the oldest one, `fields` follow a cycle later. `loaded`: they are there, `some`: an
    instruction is. `loaded` is low for a cycle at least after `planned`.
    """

    def __init__(self) -> None:
        super().__init__(
            START
            | {
                "planned": In(1),
                "context": Out(CONTEXT_BITS),
                "fields": Out(PLANNED),
                "some": Out(1),
                "loaded": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = ContextTable(_FIELDS, **_MORE)
        following, waiting = Signal(CONTEXT_BITS), Signal(range(CONTEXTS + 1))
        m.d.comb += [
            table.w_en.eq(self.start),
            table.w_context.eq(following),
            table.instruction.eq(self.instruction),
            table.rows.eq(self.rows),
            table.fetched.eq(self.fetched),
            table.first_use.eq(Fields(self.instruction).bytes != 0),
            table.number.eq(self.number),
            table.r_context.eq(self.context),
            self.some.eq(waiting.any()),
        ]
        m.d.sync += [
            # The table's read has a register: what depends on the fields is long enough without it.
            self.fields.eq(table.read),
            self.loaded.eq((waiting != 0) & ~self.planned),
            following.eq(following + self.start),
            self.context.eq(self.context + self.planned),
            waiting.eq(waiting + self.start - self.planned),
        ]
        return m
