"""Compiler launcher for Verilator's makefiles (their OBJCACHE): its runtime is compiled once, not in each build.

python objcache.py CACHE COMPILER ARGUMENTS... -o OBJECT SOURCE. Sources other than the runtime's go to the compiler as
they are. Run as a script without the package: it must start fast.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def main(cache: Path, command: list[str]) -> int:
    """Run the compiler, or copy what it made of the same source with the same flags before."""
    source, output = Path(command[-1]), _output(command)
    # What depends on this machine's processor is not kept: the cache may be shared.
    if output is None or not _is_runtime(source) or "-march=native" in command:
        return subprocess.run(command, check=False).returncode
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"{source.stem}-{_key(command, source)}.o"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # builds in parallel wait instead of compiling the same
        if not kept.exists():
            code = subprocess.run(command, check=False).returncode
            if code == 0:
                new = kept.with_suffix(".new")
                shutil.copyfile(output, new)
                new.rename(kept)
            return code
    shutil.copyfile(kept, output)
    return 0


def _output(command: list[str]) -> Path | None:
    return Path(command[command.index("-o") + 1]) if "-c" in command and "-o" in command[:-1] else None


def _is_runtime(source: Path) -> bool:
    """The runtime's files include nothing that is made for one design."""
    return source.stem.startswith("verilated") and (source.parent / "verilated_config.h").exists()


def _key(command: list[str], source: Path) -> str:
    """All that decides about the object: flags (but not where a build looks for its own headers), compiler, texts."""
    flags = [flag for flag in command if not flag.startswith("-I")]
    compiler = subprocess.run([command[0], "--version"], capture_output=True, check=False).stdout
    key = hashlib.sha256(repr((flags, compiler)).encode())
    for file in [source, *sorted(source.parent.glob("verilated*.h"))]:
        key.update(file.read_bytes())
    return key.hexdigest()[:24]


if __name__ == "__main__":
    sys.exit(main(Path(os.path.abspath(sys.argv[1])), sys.argv[2:]))
