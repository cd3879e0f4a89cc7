"""Icarus Verilog, a simulator with X, for the cocotb bench of the whole accelerator. Slower than Verilator by far.

Tested by tests/system/test_icarus.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from hwgen.common.errors import HwgenError
from hwgen.common.toolchain import find_program, made_once
from hwgen.machine.emission import TOP
from sim.cocotb_run import CocotbHarness

__all__ = ["STANDARDS", "build_icarus"]

#: What Icarus may be told to read the Verilog as.
STANDARDS = ("2005", "2009", "2012")
#: As in Verilator, a word never written holds anything but what is wanted; X would spread through multiplications.
RANDOM = "HWGEN_RAM_INIT={WIDTH{$random}}"


def build_icarus(
    verilog: str, *, top: str = TOP, standard: str = "2012", random: bool = True, cache: Path | None = None
) -> CocotbHarness:
    """Compile the Verilog of an accelerator under one of `STANDARDS`, or take it from the cache. Takes a second or two.

    random: memories that have no first contents of their own start with random words, not with X.
    """
    program = find_program("iverilog", use="the simulator asked for", mend="apt install iverilog")
    version = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout.splitlines()[:1]
    options = [f"-g{standard}", "-s", top, *(["-D", RANDOM] if random else [])]

    def compiled(work: Path) -> Path:
        (work / "accelerator.v").write_text(f"`timescale 1ns/1ps\n{verilog}")
        (work / "done").mkdir()
        command = [str(program), *options, "-o", str(work / "done" / "sim.vvp"), str(work / "accelerator.v")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            found = "\n    ".join(done.stderr.splitlines()[:6])
            raise HwgenError(str(program), expected=f"{top} to compile as Verilog {standard}", found=found)
        return work / "done"

    return CocotbHarness(made_once("icarus", (verilog, options, version), compiled, cache), "icarus", top)
