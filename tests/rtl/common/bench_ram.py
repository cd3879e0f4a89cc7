"""cocotb bench of the RAM: grains, latency, held data, and the inverted word of a read beside its write."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from tests.rtl.parts import RAMS
from tests.rtl.ports import Ports, reset


@cocotb.test()
@cocotb.parametrize(name=list(RAMS))
async def random_access(dut, name):
    width, depth, grain = RAMS[name]
    ports, rng = Ports(dut, f"ram_{name}_"), np.random.default_rng(cocotb.RANDOM_SEED)
    await reset(dut, ports, w_en=0, w_addr=0, w_data=0, r_en=0, r_addr=0)
    words, known, full = [0] * depth, [0] * depth, (1 << width) - 1  # bits ever written
    seen = seen_known = beside = 0
    for number in range(1500):
        enables = int(rng.integers(1 << width // grain)) if rng.random() < 0.6 else 0
        enables = (1 << width // grain) - 1 if number < depth else enables
        address = number if number < depth else int(rng.integers(depth))
        data, read = int.from_bytes(rng.bytes(8), "little") & full, rng.random() < 0.6
        read_address = address if rng.random() < 0.2 else int(rng.integers(depth))
        ports.set(w_en=enables, w_addr=address, w_data=data, r_en=int(read), r_addr=read_address)
        await RisingEdge(dut.clk)  # samples the values before the edge: what was read two edges ago
        assert (ports.get("r_data") ^ seen) & seen_known == 0
        if read:
            clash = enables and address == read_address
            beside += bool(clash)
            seen, seen_known = words[read_address] ^ (full if clash else 0), known[read_address]
        mask = sum(((1 << grain) - 1) << grain * part for part in range(width // grain) if enables >> part & 1)
        words[address] = words[address] & ~mask | data & mask
        known[address] |= mask
    assert beside > 50
