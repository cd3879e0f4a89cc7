"""The emitted Verilog is clean under `verilator --lint-only -Wall` apart from the commented waivers."""

import subprocess

import pytest

from hwgen.common.toolchain import find_verilator, verilator_environment
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import TOP, accelerator_verilog, templates

SHAPES = {
    "small": HwParams(t=4, c=4, k=4, weight_bus=128, data_bus=64),
    "lanes": HwParams(t=2, c=4, k=16, weight_bus=512, data_bus=512, max_tokens=17, max_experts=2, max_topk=1),
    "columns": HwParams(t=2, c=8, k=1, weight_bus=64, data_bus=64, max_tokens=5, max_experts=9),
}


def lint(verilog, directory, *options):
    source = directory / "hwgen_accelerator.v"
    source.write_text(verilog)
    command = [find_verilator().program, "--lint-only", "-Wall", *options, source, "--top-module", TOP]
    done = subprocess.run(command, env=verilator_environment(), capture_output=True, text=True, check=False)
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("%")]


@pytest.mark.parametrize("shape", SHAPES)
def test_clean(shape, tmp_path):
    code, found = lint(accelerator_verilog(SHAPES[shape]), tmp_path, templates() / "rtl" / "waivers.vlt")
    assert (code, found) == (0, [])


def test_a_latch_is_found(tmp_path):
    latch = "\nmodule extra(input a, input b, output reg q); always @* if (a) q = b; endmodule\n"
    instance = "wire held; extra latch(.a(ap_clk), .b(ap_rst_n), .q(held));\nendmodule"
    body, rest = accelerator_verilog(SHAPES["columns"]).split(f"module {TOP}(", 1)
    broken = f"{body}module {TOP}({rest.replace('endmodule', instance, 1)}{latch}"
    code, found = lint(broken, tmp_path, templates() / "rtl" / "waivers.vlt")
    assert code != 0
    assert any("LATCH" in line for line in found), found
