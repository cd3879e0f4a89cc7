"""A control signal's register, once for every part of what it drives: a hand-written leaf that no tool merges.

Tested by tests/rtl/engine/test_array.py, tests/rtl/test_emit.py.
"""

from __future__ import annotations

from amaranth import ClockDomain, ClockSignal, DomainRenamer, Elaboratable, Instance, Module, ResetSignal, Signal, Value

__all__ = ["LEAF", "replica", "reset_apart"]

#: The hand-written module.
LEAF = "hwgen_replica"


def replica(m: Module, name: str, value: Value, domain: str = "sync") -> Signal:
    """One bit, `value` a cycle late, without reset. A synthesis tool that finds equal registers keeps one of them and
    all their loads; of these (`templates/rtl/hwgen_replica.v.j2`) it keeps each."""
    register = Signal(name=name)
    m.submodules[f"{name}_replica"] = Instance(LEAF, i_clk=ClockSignal(domain), i_d=value, o_q=register)
    return register


def reset_apart(m: Module, name: str, unit: Elaboratable, reset: Value | None = None) -> None:
    """`unit` as submodule `name`, on the module's clock, with a reset register of its own: `reset` (by default the
    module's) a cycle late."""
    m.domains += ClockDomain(name, local=True)
    m.d.comb += [
        ClockSignal(name).eq(ClockSignal()),
        ResetSignal(name).eq(replica(m, f"{name}_reset", ResetSignal() if reset is None else reset)),
    ]
    m.submodules[name] = DomainRenamer(name)(unit)
