"""Run a cocotb bench of one component in Verilator: Verilog emission, cached build, pytest-friendly failure.

Tested by tests/rtl/common/test_ram.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping

from amaranth.lib import wiring

from hwgen.common.toolchain import cache_dir, lock, verilator_environment
from hwgen.rtl.emit import to_verilog

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
    text = to_verilog(component, "dut")
    args = ["-Wno-fatal", "-Wno-WIDTH", "-Wno-UNOPTFLAT", "--x-initial", "unique", "-O3", "-CFLAGS", "-O1"]
    if trace:
        args += ["--trace"]
    key = hashlib.sha256((text + repr(args)).encode()).hexdigest()[:20]
    build = cache_dir() / "units" / key
    build.mkdir(parents=True, exist_ok=True)
    source = build / "dut.v"
    runner = get_runner("verilator")
    with lock(build / "lock"):
        if not (build / "built").exists():
            source.write_text(text)
            runner.build(sources=[source], hdl_toplevel="dut", build_args=args, build_dir=build, always=True)
            (build / "built").touch()
        else:
            runner.hdl_toplevel = runner.toplevel = "dut"
    work = cache_dir() / "runs" / f"{bench}-{key}-{seed}-{os.getpid()}"
    environment = {"HWGEN_PARAMETERS": json.dumps(dict(parameters or {})), "PYTHONPATH": os.pathsep.join(sys.path)}
    results = runner.test(
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
