"""C-simulation of the HLS sources: compiled with g++ alone, run with the interface of `sim.harness`.

Tested by tests/hls/test_csim.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hwgen.common.errors import HwgenError
from hwgen.common.toolchain import find_program, made_once
from sim.harness import Harness

__all__ = ["Loop", "build_hls", "trip_counts"]

SANITIZERS = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")
#: HLS pragmas and the labels that its reports name loops by mean nothing to g++.
OPTIONS = ("-std=c++17", "-Wno-unknown-pragmas")


@dataclass(frozen=True)
class Loop:
    """A loop of the sources: how often it was entered, how many iterations it made."""

    entered: int
    iterations: int


def build_hls(
    sources: Mapping[str, str],
    main: str,
    headers: Mapping[str, str],
    *,
    ports: tuple[int, ...],
    sanitize: bool = False,
    integers: Path | None = None,
    cache: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Harness:
    """Compile the C-simulation of an accelerator, or take it from the cache.

    sources: of `hwgen.hls.sources`; main: csim/main.cpp; headers: jobs.h and dram.h of the harness; ports: bytes of a
    beat of each weight port; integers: directory with the vendor's `ap_int.h`, else ours are used; on_line: gets the
    name of each file that was compiled. Takes 10 s of processor time when not cached.
    """
    compiler = find_program("g++", use="C-simulation is compiled with it")
    version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout
    texts = {**sources, **headers, "main.cpp": main}
    options = [*OPTIONS, *(["-O1", "-g", *SANITIZERS] if sanitize else ["-O3", "-march=native"])]
    if integers is not None:
        options += ["-DHWGEN_XILINX_TYPES", "-isystem", str(integers)]
    say = on_line or (lambda line: None)

    def compiled(work: Path) -> Path:
        for name, text in texts.items():
            (work / name).write_text(text)
        names = sorted(name for name in texts if name.endswith(".cpp"))

        def compile_one(name: str) -> str:
            _run([str(compiler), *options, "-c", name], work)
            say(name)
            return name.replace(".cpp", ".o")

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compile_one, names))
        _run([str(compiler), *options, "-o", "csim", *objects], work)
        return work / "csim"

    return Harness(made_once("hls", (texts, options, version), compiled, cache), ports)


def trip_counts(path: Path) -> dict[str, Loop]:
    """The loops of a run by name, unit.loop, from the file that it wrote."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {name: Loop(int(entered), int(iterations)) for name, entered, iterations in lines}


def _run(command: list[str], work: Path) -> None:
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        wrong = [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines()[-5:]
        raise HwgenError(
            "g++", expected="the HLS sources to compile", found="\n    ".join(line[:200] for line in wrong[:6]),
            mend="run `hwgen doctor`; if all is well there, please report this as a bug",
        )  # fmt: skip
