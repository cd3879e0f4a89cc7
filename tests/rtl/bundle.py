"""Several components in one Verilog module, so that one Verilator build serves several shapes."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out


class Bundle(wiring.Component):
    """Port `p` of the part `name` becomes the port `name_p`."""

    def __init__(self, **parts: wiring.Component) -> None:
        self.parts = parts
        super().__init__(
            {
                f"{name}_{port}": member
                for name, part in parts.items()
                for port, member in part.signature.members.items()
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            for port, member in part.signature.members.items():
                inner, outer = getattr(part, port), getattr(self, f"{name}_{port}")
                if member.is_signature:
                    wiring.connect(m, wiring.flipped(outer), inner)
                else:
                    m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        return m
