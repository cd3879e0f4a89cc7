"""The emitted accelerator in front of every tool at hand: Verilator's lint, Icarus as Verilog-2005 and -2012, slang,
Yosys. And two of them in one design."""

import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from hwgen.common.templates import templates
from hwgen.common.toolchain import find_verilator, verilator_environment
from hwgen.machine.emission import LEAF, TOP, Emission
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import accelerator_verilog, debug_map
from tests.rtl import yosys

AXI = {"max_burst": 16, "id_bits": 6, "axi_cache": 0b1111, "axi_prot": 0b010}
#: Each way of writing the Verilog, on one of these machines.
SHAPES = {
    "small": (HwParams(t=4, c=4, k=4, weight_bus=128, data_bus=64), Emission()),
    "lanes": (
        HwParams(t=2, c=4, k=16, weight_bus=512, data_bus=512, max_tokens=17, max_experts=2, max_topk=1),
        Emission(prefix="one_", debug=False),
    ),
    "columns": (
        HwParams(t=2, c=8, k=1, weight_bus=64, data_bus=64, max_tokens=5, max_experts=9, **AXI),
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
    """No net without a driver or with two, no combinational loop; and the optimizer comes to its end, see
    tests/rtl/test_yosys.py."""
    script = f"hierarchy -check -top {SHAPES[shape][1].top}; proc; check -assert; opt; check -assert"
    assert yosys.failure(verilog(shape), script, tmp_path) is None


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


def ports(shape: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Direction and attributes of the top module's ports."""
    top = re.search(rf"^module {SHAPES[shape][1].top}\(.*?^endmodule", verilog(shape), re.M | re.S)[0]
    found = re.findall(r"^((?:  \(\* .* \*\)\n)*)  (input|output) (?:\S+ )?(\w+);$", top, re.M)
    return {name: (way, dict(re.findall(r'\(\* (\w+) = "(.*)" \*\)', said))) for said, way, name in found}


@pytest.mark.parametrize("shape", SHAPES)
def test_vivado_is_told_of_the_interfaces(shape):
    p, found = SHAPES[shape][0], {port: said for port, (_, said) in ports(shape).items()}
    kinds = {"ap_clk": "clock:1.0 ap_clk CLK", "ap_rst_n": "reset:1.0 ap_rst_n RST",
             "interrupt": "interrupt:1.0 interrupt INTERRUPT"}  # fmt: skip
    parameters = {}
    for port, said in found.items():
        bus, _, signal = port.rpartition("_")
        if port.startswith("debug_"):
            assert said == {}
            continue
        info = f"signal:{kinds[port]}" if port in kinds else f"interface:aximm:1.0 {bus} {signal}"
        assert said["X_INTERFACE_INFO"] == f"xilinx.com:{info}"
        if "X_INTERFACE_PARAMETER" in said:
            name, *rest = said["X_INTERFACE_PARAMETER"].removeprefix("XIL_INTERFACENAME ").split(", ")
            assert name not in parameters
            parameters[name] = dict(text.split(" ") for text in rest)
    buses = {port.rpartition("_")[0] for port in found if "_axi_" in port}
    assert set(parameters) == buses | set(kinds)
    assert set(parameters["ap_clk"]["ASSOCIATED_BUSIF"].split(":")) == buses
    assert parameters["ap_clk"]["ASSOCIATED_RESET"] == "ap_rst_n"
    assert parameters["ap_rst_n"] == {"POLARITY": "ACTIVE_LOW"}
    assert parameters["interrupt"] == {"SENSITIVITY": "LEVEL_HIGH"}
    assert parameters["s_axi_control"] == {"PROTOCOL": "AXI4LITE"}
    assert parameters["m_axi_gmem1"]["MAX_BURST_LENGTH"] == str(p.max_burst)
    modes = {bus: said["READ_WRITE_MODE"] for bus, said in parameters.items() if bus.startswith("m_axi")}
    assert modes.pop("m_axi_gmem1") == "READ_WRITE"
    assert set(modes.values()) == {"READ_ONLY"}
    assert verilog(shape).count("X_INTERFACE_INFO") == sum(bool(said) for said in found.values())


@needs_icarus
@pytest.mark.parametrize("shape", ["small", "columns"])
def test_axi_side_signals(shape, tmp_path):
    """Every output has a value from the first moment on; those that never change have what the parameters say."""
    p, top = SHAPES[shape][0], SHAPES[shape][1].top
    outputs = [port for port, (way, _) in ports(shape).items() if way == "output"]
    show = "".join(f'$display("{port} %b", dut.{port}); ' for port in outputs)
    bench = f"\nmodule bench; {top} dut(.ap_clk(1'b0), .ap_rst_n(1'b0)); initial begin #1 {show} end endmodule\n"
    assert [line for line in icarus(verilog(shape) + bench, "bench", tmp_path, "2005") if "error" in line] == []
    done = subprocess.run([tmp_path / "a.vvp"], capture_output=True, text=True, check=True)
    values = dict(line.split(" ") for line in done.stdout.splitlines())
    assert set(values) == set(outputs)
    # The inputs of this bench are open: what hangs on them alone is not known.
    assert {port for port, bits in values.items() if set(bits) - {"0", "1"}} <= {"m_axi_gmem1_RREADY"}
    sides = {"ID": "0" * p.id_bits, "LOCK": "0", "CACHE": f"{p.axi_cache:04b}", "PROT": f"{p.axi_prot:03b}"}
    sides |= {"QOS": "0000", "REGION": "0000"}
    for channel in ("m_axi_gmem0_AR", "m_axi_gmem1_AR", "m_axi_gmem1_AW"):
        assert {name: values[channel + name] for name in sides} == sides


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
