"""cocotb bench of RowBuffer: random writes with masks, operand reads and row reads against a NumPy array."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))


@cocotb.test()
async def random_access(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    banks, lanes, k, depth, elem = (P[n] for n in ("banks", "lanes", "k", "depth", "elem"))
    word = max(lanes, k)
    model = np.zeros((banks, depth, word), dtype=np.int64)
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for name in ("w_en", "r_en", "m_en", "rst"):
        getattr(dut, name).value = 0

    def drive(**values):
        for name, value in values.items():
            if hasattr(dut, name):
                getattr(dut, name).value = value

    async def write(bank, addr, sub, mask, values):
        drive(w_en=1, w_bank=bank, w_addr=addr, w_sub=sub, w_mask=mask)
        dut.w_data.value = sum(int(v) << (elem * i) for i, v in enumerate(values))
        await RisingEdge(dut.clk)
        dut.w_en.value = 0
        for i in range(lanes):
            if mask >> i & 1:
                model[bank, addr, sub * lanes + i] = values[i]

    def elements(handle, count):
        value = handle.value.to_unsigned()
        return [(value >> (elem * i)) & ((1 << elem) - 1) for i in range(count)]

    for bank in range(banks):
        for addr in range(depth):
            for sub in range(word // lanes):
                await write(bank, addr, sub, (1 << lanes) - 1, rng.integers(0, 1 << elem, lanes))
    for _ in range(200):
        mask = int(rng.integers(0, 1 << lanes))
        bank, addr, sub = int(rng.integers(banks)), int(rng.integers(depth)), int(rng.integers(word // lanes))
        await write(bank, addr, sub, mask, rng.integers(0, 1 << elem, lanes))
        addr, sub = int(rng.integers(depth)), int(rng.integers(word // k))
        row_bank, row_sub = int(rng.integers(banks)), int(rng.integers(word // lanes))
        operand = bool(rng.integers(2))
        drive(r_en=operand, m_en=not operand)
        drive(r_addr=addr, r_sub=sub, m_addr=addr, m_bank=row_bank, m_sub=row_sub)
        await RisingEdge(dut.clk)
        dut.r_en.value = dut.m_en.value = 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        if operand:
            expected = model[:, addr, sub * k : (sub + 1) * k].reshape(-1).tolist()
            assert elements(dut.r_data, banks * k) == expected
        else:
            expected = model[row_bank, addr, row_sub * lanes : (row_sub + 1) * lanes].tolist()
            assert elements(dut.m_data, lanes) == expected
    for _ in range(20):
        bank, addr = int(rng.integers(banks)), int(rng.integers(depth))
        read = model[:, addr].copy()
        read[bank] ^= (1 << elem) - 1  # written meanwhile: inverted, so that whoever relies on it is noticed
        drive(r_en=1, r_addr=addr, r_sub=0)
        await write(bank, addr, 0, (1 << lanes) - 1, rng.integers(0, 1 << elem, lanes))
        dut.r_en.value = 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert elements(dut.r_data, banks * k) == read[:, :k].reshape(-1).tolist()
