import re
import shutil
import subprocess

import pytest

from hwgen.machine.emission import Emission
from hwgen.rtl.common.ram import Ram, Target, block_rams, ram_style, ultra_rams
from hwgen.rtl.emit import to_verilog
from sim.unit import run_unit
from tests.rtl import yosys
from tests.rtl.bundle import Bundle
from tests.rtl.parts import parts


def test_ram():
    run_unit(parts(), bench="tests.rtl.common.bench_ram")


@pytest.mark.parametrize(
    ("width", "depth", "grain", "blocks", "ultras", "without", "style"),
    [
        (256, 2048, 256, 15, 4, "block", "block"),
        (288, 2048, 288, 16, 4, "block", "ultra"),
        (256, 4096, 256, 29, 4, "block", "ultra"),
        (144, 1024, 9, 4, 2, "block", "block"),
        (144, 2048, 9, 8, 2, "block", "ultra"),
        (144, 2048, 12, 8, 2, "block", "block"),  # a grain that UltraRAM cannot write
        (9, 4096, 9, 1, 1, "block", "block"),
        (36, 4096, 36, 4, 1, "block", "ultra"),
        (1024, 512, 256, 15, 15, "block", "block"),
        (128, 128, 8, 2, 2, "block", "block"),
        (768, 64, 256, 11, 11, "auto", "auto"),
        (8, 256, 8, 1, 1, "auto", "auto"),
        (1024, 4, 1024, 15, 15, "distributed", "distributed"),
    ],
)
def test_style(width, depth, grain, blocks, ultras, without, style):
    assert (block_rams(width, depth), ultra_rams(width, depth)) == (blocks, ultras)
    assert ram_style(width, depth, grain, ultra_ram=False) == without
    assert ram_style(width, depth, grain, ultra_ram=True) == style


#: Words that may be written by bytes of 8 and 9 bits, as a whole, and in thirds.
ULTRA = {"eight": (72, 4096, 8), "nine": (144, 2048, 9), "whole": (288, 2048, 288), "wide": (144, 4096, 72)}


def test_each_style_is_inferred(tmp_path):
    """By Yosys for a ZynqMP; a RAM that begins with zeros is an UltraRAM, too."""
    rams = {name: Ram(width=width, depth=depth, grain=grain) for name, (width, depth, grain) in ULTRA.items()}
    rams |= {"block": Ram(width=144, depth=1024, grain=9), "distributed": Ram(width=32, depth=16)}
    text = to_verilog(Bundle(**rams), "dut", Emission(ram_init=True), Target(ultra_ram=True))
    assert {name: len(re.findall(rf"^  {name} ", text, re.M)) for name in ("hwgen_ram_ultra", "hwgen_ram_block")} == {
        "hwgen_ram_ultra": len(ULTRA), "hwgen_ram_block": 1,
    }  # fmt: skip
    script = "synth_xilinx -family xcup -top dut -noiopad -run begin:map_ffs"
    made = yosys.cells(yosys.run(text, script, "dut", tmp_path))
    expected = {"URAM288": sum(ultra_rams(width, depth) for width, depth, _ in ULTRA.values()), "RAMB36E2": 4}
    assert {name: count for name, count in made.items() if name in ("URAM288", "RAMB36E2", "RAMB18E2")} == expected
    assert made["RAM32M16"] == 3


FIRST_WORD = """
module first;
    reg clk = 0;
    wire [15:0] word;
    dut ram (.clk(clk), .rst(1'b0), .w_en(1'b0), .w_addr(2'd0), .w_data(16'd0), .r_en(1'b1), .r_addr(2'd3),
        .r_data(word));
    initial begin #5 clk = 1; #5 $display("%b", word); $finish; end
endmodule
"""


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="no iverilog (apt install iverilog)")
@pytest.mark.parametrize(
    ("zeros", "options", "found"),
    [(True, [], "0" * 16), (False, [], "x" * 16), (False, ["-DHWGEN_RAM_INIT={2{8'd5}}"], "0000010100000101")],
)
def test_first_contents(zeros, options, found, tmp_path):
    source = tmp_path / "ram.v"
    source.write_text(to_verilog(Ram(width=16, depth=4), "dut", Emission(ram_init=zeros)) + FIRST_WORD)
    subprocess.run(["iverilog", "-g2005", *options, "-s", "first", "-o", tmp_path / "ram", source], check=True)
    done = subprocess.run([tmp_path / "ram"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found
