"""Instruction fields as the assembler puts them, and registers in a row, in Amaranth's own simulator."""

import random

import pytest
from amaranth import Module, ResetInserter, Signal, signed
from amaranth.sim import Simulator

from hwgen.machine.isa import BY_NAME, OPCODES, encode
from hwgen.rtl.common.decode import INSTRUCTION_BITS, Fields, delayed

RANDOM = random.Random(3)


@pytest.mark.parametrize("op", OPCODES, ids=lambda op: op.name)
def test_fields_of_an_encoded_instruction(op):
    """All ones in one field after the other, then random values in all."""
    names = OPCODES[op][1]
    m, word = Module(), Signal(INSTRUCTION_BITS)
    found = {name: getattr(Fields(word), name) for name in ("op", *names)}
    outs = {name: Signal(len(field), name=name) for name, field in found.items()}
    m.d.comb += [out.eq(found[name]) for name, out in outs.items()]
    cases = [{name: (1 << BY_NAME[name].bits) - 1} for name in names]
    cases += [{name: RANDOM.getrandbits(BY_NAME[name].bits) for name in names} for _ in range(20)]

    async def bench(ctx):
        for case in cases:
            ctx.set(word, int.from_bytes(encode(op, **case), "little"))
            await ctx.delay(1e-9)
            wanted = dict.fromkeys(names, 0) | case | {"op": int(op)}
            assert {name: ctx.get(out) for name, out in outs.items()} == wanted

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


def test_unknown_field():
    with pytest.raises(AttributeError, match="no instruction field 'opcode'"):
        _ = Fields(Signal(INSTRUCTION_BITS)).opcode


@pytest.mark.parametrize("cycles", [0, 1, 4])
@pytest.mark.parametrize("reset", [False, True])
def test_delayed(cycles, reset):
    """Signed values too; a reset in the middle clears the chain that has one, and only that."""
    m, inner, data, out, rst = Module(), Module(), Signal(signed(6)), Signal(signed(6)), Signal()
    inner.d.comb += out.eq(delayed(inner, data, cycles, reset=reset))
    m.submodules.inner = ResetInserter(rst)(inner)
    m.d.sync += Signal().eq(1)  # there is a clock, if no register
    seen, sent = [], [RANDOM.randint(-32, 31) for _ in range(40)]

    async def bench(ctx):
        for number, value in enumerate(sent):
            ctx.set(data, value)
            ctx.set(rst, number == 20)
            await ctx.delay(1e-9)
            seen.append(ctx.get(out))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    wanted = [0] * cycles + sent[: len(sent) - cycles]
    if reset and cycles:  # what was on its way, and what came with the reset
        wanted[21 : 21 + cycles] = [0] * cycles
    assert seen == wanted

