"""The layer contracts of `pyproject.toml`: kept, and reported when an import points up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("hwgen", "golden", "sim", "bench")


@pytest.mark.parametrize(
    "file, line, report",
    [
        (None, "", "0 broken"),
        ("hwgen/common/errors.py", "import hwgen.cli", "hwgen.common is not allowed to import hwgen.cli"),
        ("hwgen/compiler/layout.py", "import hwgen.rtl.top", "hwgen.compiler is not allowed to import hwgen.rtl"),
        ("hwgen/rtl/units/norm.py", "import hwgen.rtl.memory.axi", "units is not allowed to import hwgen.rtl.memory"),
        ("golden/mlp.py", "import hwgen.machine.isa", "golden is not allowed to import hwgen"),
        ("hwgen/attic.py", "", "attic"),
    ],
    ids=["as it is", "upwards", "compiler to rtl", "unit to unit", "golden", "a room on no floor"],
)
def test_contracts(tmp_path: Path, file: str | None, line: str, report: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if file:
        with (tmp_path / file).open("a") as source:
            source.write(line + "\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert report in done.stdout, done.stdout
    assert done.returncode == (1 if file else 0)
