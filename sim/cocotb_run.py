"""The cocotb bench of the whole accelerator from Python, with the interface of `sim.harness`.

Slower than the C++ harness by an order of magnitude, and with memory models from someone else: cocotbext-axi.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwgen.common.toolchain import find_verilator, machine_key, made_once
from hwgen.machine.emission import TOP
from sim.harness import QUICK, Disturbance, Job, Probe, SimulationError, Timing, verilate
from sim.system import SystemResult, Workload

__all__ = ["CocotbHarness", "build_cocotb"]

#: Only what a bench touches, so that Verilator may optimize the rest: all of the top module, and memories.
VISIBLE = """`verilator_config
public_flat_rw -module "{top}" -var "*"
public_flat_rd -module "*hwgen_ram*" -var "mem"
"""
ROOT = Path(__file__).resolve().parents[1]  #: of the packages; the simulator runs in another directory
SEEDS = (1 << 31) - 1  # Verilator's range


@dataclass(frozen=True)
class CocotbHarness:
    """An accelerator compiled for cocotb; `run` is that of `sim.harness.Harness`."""

    directory: Path
    simulator: str = "verilator"  #: or icarus
    top: str = TOP

    def run(
        self,
        jobs: Sequence[Job],
        *,
        program: bytes,
        weights: bytes,
        probes: Mapping[str, Mapping[int, Sequence[Probe]]] | None = None,
        counters: Mapping[str, int] | None = None,
        timing: Timing | None = None,
        trace: Path | None = None,
        on_done: Callable[[int], None] | None = None,
        bench: str = "sim.bench_accelerator",
    ) -> list[SystemResult]:
        """Run the jobs, `Job` or `SystemJob`, one after another in one simulation; `on_done` is called at the end only.
        A `Disturbance` is for the C++ harness.

        `Timing.latency` is that of a burst after the one before: varied by half, bursts do not overlap. Raises
        SimulationError when a job does not end or a violation was seen (but see `SystemJob`: those are in its result).
        """
        from cocotb_tools.check_results import get_results
        from cocotb_tools.runner import get_runner

        if str(ROOT) not in sys.path:  # which cocotb hands to the simulator
            sys.path.append(str(ROOT))
        if any(job.disturbance != Disturbance() for job in jobs):
            raise ValueError("a job for cocotb must have no disturbance")
        timing = timing or Timing()
        random = ["+verilator+rand+reset+2", f"+verilator+seed+{timing.seed % SEEDS + 1}"]
        work = Workload(list(jobs), program, weights, probes or {}, counters or {}, timing)
        with tempfile.TemporaryDirectory(prefix="hwgen-cocotb-") as name:
            directory = Path(name)
            work.save(directory)
            try:
                xml = get_runner(self.simulator).test(
                    test_module=bench,
                    hdl_toplevel=self.top,
                    hdl_toplevel_lang="verilog",
                    build_dir=self.directory,
                    test_dir=directory,
                    results_xml=str(directory / "results.xml"),
                    seed=timing.seed,
                    plusargs=random if self.simulator == "verilator" else [],
                    test_args=["--trace-file", str(trace.absolute())] if trace is not None else [],
                    waves=trace is not None,
                    log_file=directory / "log",
                )
                passed = get_results(xml)[1] == 0
            except (RuntimeError, SystemExit):  # exit code of the simulator; a failed test under pytest
                passed = False
            file = directory / Workload.RESULTS
            if not passed or not file.exists():
                tail = "\n".join((directory / "log").read_text().splitlines()[-30:])
                raise SimulationError("simulation", expected="the cocotb bench to pass", found=tail)
            results, failure = pickle.loads(file.read_bytes())
        for number, (job, result) in enumerate(zip(jobs, results, strict=False)):
            if type(job) is Job and result.violations:
                failure = failure or "; ".join(result.violations[:3])
                raise SimulationError("simulation", f"job {number}", expected="no violation", found=failure)
            if on_done is not None:
                on_done(number + 1)
        if failure:
            raise SimulationError(
                "simulation", f"job {len(results)}", expected="the program to run to its end", found=failure
            )
        return results


def build_cocotb(
    verilog: str,
    *,
    top: str = TOP,
    cache: Path | None = None,
    trace: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> CocotbHarness:
    """Compile the Verilog of an accelerator, or of the component `top`, for cocotb, or take it from the cache."""
    import cocotb_tools.config as cocotb

    tool = find_verilator()
    main = cocotb.share_dir / "lib" / "verilator" / "verilator.cpp"
    options = [
        "--cc", "--exe", "--build", "--vpi", "--prefix", "Vtop", "--top-module", top, "-o", top, "-Mdir", "obj",
        "-j", "2", "-O3", "--x-assign", "fast", "--x-initial", "unique", "--noassert", "-Wno-fatal", "-Wno-lint",
        "-Wno-style", "-Wno-UNOPTFLAT", "--timescale", "1ns/1ps", *QUICK, "-LDFLAGS",
        f"-Wl,-rpath,{cocotb.libs_dir} -L{cocotb.libs_dir} -lcocotbvpi_verilator", *(["--trace"] if trace else []),
    ]  # fmt: skip
    visible = VISIBLE.format(top=top)

    def compiled(work: Path) -> Path:
        (work / "visible.vlt").write_text(visible)
        (work / "accelerator.v").write_text(verilog)
        verilate(work, [*options, "visible.vlt", "accelerator.v", str(main)], f"{top} to compile for cocotb", on_line)
        (work / "done").mkdir()
        shutil.move(work / "obj" / top, work / "done" / top)
        return work / "done"

    text = (verilog, visible, options, main.read_text(), tool.version, machine_key())
    return CocotbHarness(made_once("cocotb", text, compiled, cache), top=top)
