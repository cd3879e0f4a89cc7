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
    assert done.returncode == 0 and not done.stderr, "\n".join([*(l for l in lines if l.startswith("not")), done.stderr])
    assert lines and all(line.startswith("ok ") for line in lines), lines
    return [line.removeprefix("ok ") for line in lines]
