"""Memories: those of the emitted Verilog, all of them; tiled as Yosys tiles them."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from hwgen.estimate.memories import Memory, memories, tiled
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import accelerator_verilog

#: (width, depth, grain) → block RAMs, LUTs: `memory_libmap` of Yosys 0.70 for xcup.
TILED = {
    (8, 32, 8): (0, 8), (8, 33, 8): (0, 16), (8, 65, 8): (0, 24), (8, 256, 8): (0, 64), (8, 512, 8): (0.5, 0),
    (8, 4096, 8): (1, 0), (8, 6000, 8): (1.5, 0), (16, 129, 8): (0, 80), (18, 129, 9): (0.5, 0), (16, 256, 8): (0.5, 0),
    (16, 6000, 8): (3, 0), (32, 65, 8): (0.5, 0), (32, 513, 8): (1, 0), (64, 33, 16): (0, 96), (64, 65, 16): (1, 0),
    (64, 513, 8): (2, 0), (128, 64, 8): (0, 256), (128, 1024, 8): (4, 0), (144, 1024, 9): (4, 0), (192, 65, 24): (3, 0),
    (25, 128, 25): (0, 64), (25, 2048, 25): (1.5, 0), (25, 4096, 25): (3, 0), (48, 128, 48): (0, 112),
    (48, 513, 48): (1.5, 0), (256, 64, 256): (0, 296), (256, 512, 256): (4, 0), (256, 2048, 256): (14.5, 0),
    (384, 129, 384): (5.5, 0), (512, 512, 256): (7.5, 0), (768, 32, 256): (0, 456), (768, 513, 256): (22, 0),
}  # fmt: skip


@pytest.mark.parametrize("shape", TILED, ids=str)
def test_tiles(shape: tuple[int, int, int]) -> None:
    width, depth, grain = shape
    found = tiled(Memory("m", "norm", 1, width, depth, grain))
    assert (found.bram36, found.lut) == TILED[shape]
    assert found.ff == (0 if found.bram36 else width)
    assert tiled(Memory("m", "norm", 3, width, depth, grain)) == found * 3


def test_large_memories_go_into_ultra_ram() -> None:
    ring = Memory("weights", "control", 2, 1024, 4096, 256)
    assert tiled(ring).bram36 == 232 and tiled(ring).uram == 0
    assert (tiled(ring, ultra=True).bram36, tiled(ring, ultra=True).uram) == (0, 2 * 15)
    assert tiled(Memory("y", "datapath", 1, 144, 512, 9), ultra=True).uram == 0


@pytest.mark.parametrize(
    "p",
    [
        HwParams(t=2, c=2, k=2, weight_bus=64, data_bus=64),
        HwParams(t=2, c=4, k=8, weight_bus=64, data_bus=64, max_experts=6, max_tokens=100, norm_depth=5, x_depth=700,
                 weight_depth=64, multiplier_bits=18),
    ],
)  # fmt: skip
def test_every_memory_of_the_verilog_is_counted(p: HwParams) -> None:
    emitted: Counter[tuple[int, int, int]] = Counter()
    for parameters in re.findall(r"hwgen_ram\w* #\((.*?)\n  \)", accelerator_verilog(p), re.DOTALL):
        value = {name: int(number) for name, number in re.findall(r"\.(\w+)\(32'd(\d+)\)", parameters)}
        emitted[value["WIDTH"], value["DEPTH"], value["GRAIN"]] += 1
    emitted[p.max_experts * p.row_bits, 2, p.max_experts * p.row_bits] -= 1  # what only simulation reads
    counted: Counter[tuple[int, int, int]] = Counter()
    for memory in memories(p):
        counted[memory.width, memory.depth, memory.grain] += memory.count
    assert +emitted == counted
