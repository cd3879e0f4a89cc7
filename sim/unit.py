"""Run a cocotb bench of one component in Verilator: Verilog emission, cached build, pytest-friendly failure.

Tested by tests/rtl/common/test_ram.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping

from amaranth.lib import wiring

from hwgen.common.toolchain import cache_dir, verilator_environment
from hwgen.rtl.emit import to_verilog
from sim.cocotb_run import build_cocotb

__all__ = ["run_unit"]


def run_unit(
    component: wiring.Component,
    *,
    bench: str,
    parameters: Mapping[str, object] | None = None,
    seed: int = 1,
    trace: bool = False,
) -> None:
    """Build `component` and run every `@cocotb.test` of module `bench` (e.g. "tests.rtl.bench_array") on it.

    `parameters` reach the bench as JSON in `os.environ["HWGEN_PARAMETERS"]`. With `trace` a waveform stays in the
    cache directory, below `runs`. Raises AssertionError when a test fails.
    """
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    os.environ.update(verilator_environment())  # cocotb's runner looks for Verilator on this process's PATH
    build = build_cocotb(to_verilog(component, "dut"), top="dut", trace=trace).directory
    work = cache_dir() / "runs" / f"{bench}-{build.name}-{seed}-{os.getpid()}"
    environment = {"HWGEN_PARAMETERS": json.dumps(dict(parameters or {})), "PYTHONPATH": os.pathsep.join(sys.path)}
    results = get_runner("verilator").test(
        test_module=bench,
        hdl_toplevel="dut",
        hdl_toplevel_lang="verilog",
        build_dir=build,
        test_dir=work,
        seed=seed,
        extra_env=environment,
        waves=trace,
    )
    tests, failures = get_results(results)
    assert tests > 0, f"bench {bench} ran no test"
    assert failures == 0, f"{failures} of {tests} tests failed in {bench} with {parameters}"
    if not trace:
        shutil.rmtree(work, ignore_errors=True)
