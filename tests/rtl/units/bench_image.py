"""cocotb bench of ImageLoader: random rasters and stalls, Y as a Python memory of lanes."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
W = max(P["c"], P["k"])
BEAT = P["data_bus"] // 8


def moves(image_bytes, segment, patches, height):
    """Cycles the contract allows: pieces between all borders of beats, segments and C-words."""
    count, position = 0, 0
    for index in range(image_bytes // segment):
        offset = index // patches % height * segment
        end = offset + segment
        while offset < end:
            step = min(end - offset, P["c"] - offset % P["c"], BEAT - position % BEAT)
            count, offset, position = count + 1, offset + step, position + step
    return count


@cocotb.test()
async def commands(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    c, t = P["c"], P["t"]
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.start.value = dut.beats__valid.value = 0
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    for number in range(P["commands"]):
        segment = int(rng.choice([1, 5, 9, 48, c, 2 * BEAT, rng.integers(1, 100)]))
        height, patches, patch_rows = (int(rng.integers(1, high)) for high in (7, 6, 4))
        vector = segment * height
        row_begin = int(rng.integers(3 * t))
        rows = patches * patch_rows
        d_stride = -(-vector // W) + int(rng.integers(2))
        groups = (row_begin + rows - 1) // t + 1
        d_base = int(rng.integers(0, P["y_depth"] - groups * d_stride + 1))
        raster = rng.integers(0, 256, (patch_rows, height, patches, segment))
        # patch [r, p] as a vector: its pixel rows one after the other
        vectors = raster.transpose(0, 2, 1, 3).reshape(rows, vector)
        expected = {}
        for i, values in enumerate(vectors.tolist()):
            row = row_begin + i
            for b, value in enumerate(values):
                word = b // c
                expected[row % t, d_base + row // t * d_stride + word // (W // c), word % (W // c), b % c] = value
        data = raster.astype(np.uint8).tobytes()
        size = len(data)
        data += rng.bytes(-size % BEAT)
        beats = [int.from_bytes(data[i : i + BEAT], "little") for i in range(0, len(data), BEAT)]
        command = {
            "bytes": size, "segment": segment, "patches": patches, "patch_height": height, "row_begin": row_begin,
            "d_base": d_base, "d_stride": d_stride,
        }  # fmt: skip
        for name, value in command.items():
            getattr(dut, name).value = value
        stall = float(rng.choice([0.5, 0.9])) if number % 2 else 0.0
        limit = moves(size, segment, patches, height) + 6
        written, taken, cycles, valid = {}, 0, 0, False
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        while True:
            if not valid and rng.random() >= stall:
                valid = True
                # one beat too many is offered: it must stay where it is
                payload = beats[taken] if taken < len(beats) else 0
                dut.beats__payload.value = payload
            dut.beats__valid.value = valid
            if not valid:
                dut.beats__payload.value = int.from_bytes(rng.bytes(BEAT))
            await RisingEdge(dut.clk)
            cycles += 1
            if valid and dut.beats__ready.value == 1:
                taken, valid = taken + 1, False
            if dut.y__en.value == 1:
                sub = int(dut.y__sub.value) if hasattr(dut, "y__sub") else 0
                mask, word = int(dut.y__mask.value), int(dut.y__data.value)
                assert mask, "a write without bytes"
                for lane in range(c):
                    if mask >> lane & 1:
                        place = int(dut.y__bank.value), int(dut.y__addr.value), sub, lane
                        assert place not in written, f"{place} written twice: {command}"
                        written[place] = word >> (9 * lane) & 511
            if dut.done.value == 1:
                break
            assert stall or cycles <= limit, f"slower than {limit} cycles: {command}"
            assert cycles < 20 * limit + 1000, f"no done: {command}"
        assert taken == len(beats), f"{taken} of {len(beats)} beats taken: {command}"
        assert written == expected, f"{command}: {len(written.items() ^ expected.items())} differences"
        dut.beats__valid.value = 0
        for name in command:
            getattr(dut, name).value = 0
        for _ in range(int(rng.integers(1, 3))):
            await RisingEdge(dut.clk)
            assert dut.y__en.value == 0
        assert dut.busy.value == 0
