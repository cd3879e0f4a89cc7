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
    for name in ("write__en", "operands__en", "row__en", "rst"):
        getattr(dut, name).value = 0

    def drive(**values):
        for name, value in values.items():
            if hasattr(dut, name):
                getattr(dut, name).value = value

    async def write(bank, addr, sub, mask, values):
        drive(write__en=1, write__bank=bank, write__addr=addr, write__sub=sub, write__mask=mask)
        dut.write__data.value = sum(int(v) << (elem * i) for i, v in enumerate(values))
        await RisingEdge(dut.clk)
        dut.write__en.value = 0
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
        drive(operands__en=operand, row__en=not operand)
        drive(operands__addr=addr, operands__sub=sub, row__addr=addr, row__bank=row_bank, row__sub=row_sub)
        await RisingEdge(dut.clk)
        dut.operands__en.value = dut.row__en.value = 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        if operand:
            expected = model[:, addr, sub * k : (sub + 1) * k].reshape(-1).tolist()
            assert elements(dut.operands__data, banks * k) == expected
        else:
            expected = model[row_bank, addr, row_sub * lanes : (row_sub + 1) * lanes].tolist()
            assert elements(dut.row__data, lanes) == expected
    for _ in range(20):
        bank, addr = int(rng.integers(banks)), int(rng.integers(depth))
        read = model[:, addr].copy()
        read[bank] ^= (1 << elem) - 1  # written meanwhile: inverted, so that whoever relies on it is noticed
        drive(operands__en=1, operands__addr=addr, operands__sub=0)
        await write(bank, addr, 0, (1 << lanes) - 1, rng.integers(0, 1 << elem, lanes))
        dut.operands__en.value = 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert elements(dut.operands__data, banks * k) == read[:, :k].reshape(-1).tolist()
