"""C-simulation of the HLS sources: compiled with g++ alone, run with the interface of `sim.harness`.

Tested by tests/hls/test_csim.py.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.common.toolchain import find_program, machine_key, made_once
from sim.harness import Harness, Job, JobResult

__all__ = ["HEADERS", "CSimulation", "Loop", "build_hls"]

#: Of the harness, that C-simulation shares.
HEADERS = ("jobs.h", "dram.h")
INCLUDE = re.compile(r'^ *# *include "(.+)"', re.MULTILINE)
SANITIZERS = ("-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")


@dataclass
class Loop:
    """A loop of the sources: how often it was entered, how many iterations it made."""

    entered: int = 0
    iterations: int = 0


@dataclass(frozen=True)
class CSimulation(Harness):
    """`run` is that of `Harness`; there is no time in it, nor a bus: no traces, timelines, faults or disturbances.

    `loops`: those of all runs so far, by unit and label.
    """

    loops: dict[str, Loop] = field(default_factory=dict)

    def run(self, jobs: Sequence[Job], **options: Any) -> list[JobResult]:
        with tempfile.TemporaryDirectory(prefix="hwgen-hls-") as name:
            trips = Path(name) / "trips.txt"
            results = super().run(jobs, **options, extra=[f"trips {trips}"])
            for line in trips.read_text().splitlines():
                loop, entered, iterations = line.split()
                found = self.loops.setdefault(loop, Loop())
                found.entered += int(entered)
                found.iterations += int(iterations)
            return results


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
) -> CSimulation:
    """Compile the C-simulation of an accelerator, or take it from the cache.

    sources: of `hwgen.hls.sources`; main: csim/main.cpp; headers: `HEADERS` of the harness; ports: bytes of a beat of
    each weight port; sanitize: under UBSan and ASan; integers: directory with the vendor's `ap_int.h`, else ours are
    used; on_line: gets the name of each file that was compiled. Takes 10 s of processor time when nothing is cached;
    objects are kept each by itself, as most are those of every build for the same hardware.
    """
    compiler = find_program("g++", use="C-simulation is compiled with it")
    version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout
    texts = {**sources, **headers, "main.cpp": main}
    # HLS pragmas mean nothing to g++.
    options = ["-std=c++17", "-DHWGEN_CSIM", "-Wno-unknown-pragmas"]
    options += ["-O1", *SANITIZERS] if sanitize else ["-O3", "-march=native"]
    if integers is not None:
        options += ["-DHWGEN_XILINX_TYPES", "-isystem", str(integers)]

    def made(what: object, make: Callable[[Path], Path]) -> Path:
        return made_once("hls", (what, options, version, machine_key()), make, cache)

    def compiled(name: str) -> Path:
        needed = {one: texts[one] for one in sorted(_included(name, texts))}

        def make(work: Path) -> Path:
            for one, text in needed.items():
                (work / one).write_text(text)
            _run([str(compiler), *options, "-c", name, "-o", "object"], work)
            if on_line is not None:
                on_line(name)
            return work / "object"

        return made((name, needed), make)

    def linked(work: Path) -> Path:
        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compiled, sorted(name for name in texts if name.endswith(".cpp"))))
        _run([str(compiler), *options, "-o", "csim", *map(str, objects)], work)
        return work / "csim"

    return CSimulation(made(texts, linked), ports)


def _included(name: str, texts: Mapping[str, str]) -> set[str]:
    """The file and those of `texts` that it includes."""
    found, new = set(), {name}
    while new:
        found |= new
        includes = {one for file in new for one in INCLUDE.findall(texts[file])}
        new = (includes & texts.keys()) - found
    return found


def _run(command: list[str], work: Path) -> None:
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        wrong = [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines()[-5:]
        raise HwgenError(
            "g++", expected="the HLS sources to compile", found="\n    ".join(line[:200] for line in wrong[:6]),
            mend="run `hwgen doctor`; if all is well there, please report this as a bug",
        )  # fmt: skip
