"""What the engine must remember of its unfinished instructions: each stage looks its fields up by number."""

from __future__ import annotations

from amaranth import Module, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.isa import BY_NAME
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields

__all__ = ["CONTEXTS", "CONTEXT_BITS", "ContextTable"]

#: Instructions of the engine that may be unfinished at a time.
CONTEXTS = 4
CONTEXT_BITS = exact_log2(CONTEXTS)


class ContextTable(wiring.Component):
    """The fields `names` of CONTEXTS instructions, and the number of `rows` of each; a distributed RAM.

    Written with `w_en` at `w_context`; `read` of `r_context` is combinational.
    """

    def __init__(self, names: tuple[str, ...], **more: int) -> None:
        self.names, self.more = names, more
        self.layout = data.StructLayout({name: BY_NAME[name].bits for name in names} | more)
        super().__init__(
            {
                "w_en": In(1),
                "w_context": In(CONTEXT_BITS),
                "instruction": In(INSTRUCTION_BITS),
                "r_context": In(CONTEXT_BITS),
                "read": Out(self.layout),
            }
            | {name: In(bits) for name, bits in more.items()}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.contexts = contexts = memory.Memory(shape=self.layout, depth=CONTEXTS, init=[])
        write, read = contexts.write_port(), contexts.read_port(domain="comb")
        fields = Fields(self.instruction)
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(self.w_context),
            read.addr.eq(self.r_context),
            self.read.eq(read.data),
        ]
        sources: dict[str, Value] = {name: getattr(fields, name) for name in self.names}
        sources |= {name: getattr(self, name) for name in self.more}
        m.d.comb += [write.data[name].eq(source) for name, source in sources.items()]
        return m
