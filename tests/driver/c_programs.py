"""C programs over the generated driver: compiled for this machine or for aarch64, and run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent / "c"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
SANITIZE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
AARCH64, QEMU = "aarch64-linux-gnu-gcc", "qemu-aarch64"


def missing(*programs: str) -> bool:
    return any(shutil.which(program) is None for program in programs)


def compile_c(driver: Path, sources: Sequence[Path], output: Path, *options: str, compiler: str = "gcc") -> Path:
    """The driver's own sources and these, with every warning an error."""
    own = sorted((driver / "src").glob("*.c"))
    command = [compiler, *STRICT, "-D_DEFAULT_SOURCE", *options, f"-I{driver / 'include'}", f"-I{HERE}"]
    done = subprocess.run([*command, *own, *sources, "-o", output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output


def run_cases(*command: object) -> list[str]:
    """The lines of a program of cases; all must be ok."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=500, check=False)
    lines = done.stdout.splitlines()
    wrong = [line for line in lines if not line.startswith("ok ")]
    assert done.returncode == 0 and not done.stderr, "\n".join([*wrong, done.stderr])
    assert lines and not wrong, wrong
    return [line.removeprefix("ok ") for line in lines]
