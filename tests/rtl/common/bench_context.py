"""cocotb bench of ContextTable: random instructions in every context, looked up in the same cycle."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, Timer

from hwgen.machine.isa import BY_NAME, BYTES
from hwgen.rtl.common.context import CONTEXT_BITS, CONTEXTS
from tests.rtl.parts import CONTEXT, MORE
from tests.rtl.ports import Ports, reset


def fields(instruction, more):
    """The row of the table: fields as they stand in the instruction's bytes, one behind the other from bit 0 on."""
    word, at = 0, 0
    for name in CONTEXT:
        field = BY_NAME[name]
        word |= (instruction >> field.offset & (1 << field.bits) - 1) << at
        at += field.bits
    for name, bits in MORE.items():
        word |= more[name] << at
        at += bits
    return word


@cocotb.test()
async def random_access(dut):
    ports, rng = Ports(dut, "context_"), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut, ports, w_en=0, w_context=0, r_context=0, instruction=0, **dict.fromkeys(MORE, 0))
    table = [None] * CONTEXTS
    assert 1 << CONTEXT_BITS == CONTEXTS
    for number in range(600):
        instruction = int.from_bytes(rng.bytes(BYTES), "little")
        if number < 2 * CONTEXTS:  # nothing of a neighbouring field
            instruction = -(number & 1) & (1 << 8 * BYTES) - 1
        more = {name: int(rng.integers(1 << bits)) for name, bits in MORE.items()}
        write, context = int(number < CONTEXTS or rng.random() < 0.5), int(rng.integers(CONTEXTS))
        context = number if number < CONTEXTS else context
        ports.set(w_en=write, w_context=context, instruction=instruction, **more)
        for read in rng.permutation(CONTEXTS):
            ports.set(r_context=int(read))
            await Timer(1, "ns")
            assert table[read] in (None, ports.get("read")), "combinational, and not changed before the edge"
        await RisingEdge(dut.clk)
        if write:
            table[context] = fields(instruction, more)
