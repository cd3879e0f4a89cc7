"""What a run costs the host, without the accelerator: `python -m bench.driver`. Figures in docs/board.md.

Both drivers of examples/mnist_m3vit on a device that ends each run at once: an image in, the segmentation's 539 outputs
out in the real unit. Processor time, the best of some series. What a board adds is the time of register accesses and
of cache maintenance.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hwgen.build import build
from hwgen.common.toolchain import find_program
from hwgen.machine.emission import vlnv
from hwgen.machine.regmap import BY_NAME, MAGIC, VERSION

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mnist_m3vit" / "config.yaml"
NULL = Path(__file__).with_name("driver_null.c")
#: Seconds of processor time a run may cost the host.
LIMITS = {"C": 50e-6, "Python": 1e-3}
SERIES = 5


class _Registers:
    """Done and idle, always."""

    def __init__(self, build_hash: int) -> None:
        hash_at = BY_NAME["build_hash"].offset
        done = sum(1 << part.lsb for part in BY_NAME["ctrl"].parts if part.name in ("done", "idle"))
        self.values = {
            BY_NAME["magic"].offset: MAGIC, BY_NAME["version"].offset: VERSION, BY_NAME["ctrl"].offset: done,
            hash_at: build_hash & 0xFFFF_FFFF, hash_at + 4: build_hash >> 32,
        }  # fmt: skip

    def read(self, offset: int) -> int:
        return self.values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        pass


class _Buffer(np.ndarray):
    device_address = 0

    def flush(self) -> None:
        pass

    invalidate = freebuffer = flush


class _DefaultIP:
    def __init__(self, description: dict[str, Any]) -> None:
        self.mmio = description["registers"]


@contextmanager
def null_pynq(python: Path) -> Iterator[ModuleType]:
    """The driver in the directory `python`, over a `pynq` without a device."""
    module: Any = ModuleType("pynq")
    module.DefaultIP, module.Overlay = _DefaultIP, object
    module.allocate = lambda shape, dtype: np.zeros(shape, dtype).view(_Buffer)
    sys.modules["pynq"] = module
    sys.path.insert(0, str(python))
    try:
        import hwgen_driver

        yield hwgen_driver
    finally:
        sys.path.remove(str(python))
        for name in [name for name in sys.modules if name.split(".")[0] in ("pynq", "hwgen_driver")]:
            del sys.modules[name]


def python_seconds(home: Path, runs: int = 500) -> float:
    """Per run of the Python driver of the build `home`."""
    with null_pynq(home / "driver" / "python") as driver:
        number = driver.Model(home).build_hash
        acc = driver.Accelerator({"type": vlnv(), "registers": _Registers(number)})
        model = acc.load(home)
        image, task = np.zeros(model.shape, np.uint8), list(model.tasks)[-1]
        best = float("inf")
        for _ in range(SERIES):
            begin = time.process_time()
            for _ in range(runs):
                acc.run(image, task)
            best = min(best, (time.process_time() - begin) / runs)
    return best


def c_seconds(home: Path, runs: int = 20_000) -> float:
    """Per run of the C driver of the build `home`."""
    driver = home / "driver" / "c"
    sources = [driver / "src" / f"{name}.c" for name in ("hwgen", "hwgen_models", "hwgen_tables")]
    with tempfile.TemporaryDirectory() as work:
        program = Path(work) / "null"
        compiler = str(find_program("gcc"))
        options = ["-std=c11", "-O2", "-D_DEFAULT_SOURCE", f"-I{driver / 'include'}"]
        subprocess.run([compiler, *options, *sources, NULL, "-o", program], check=True)
        found = [subprocess.run([program, str(runs)], capture_output=True, check=True).stdout for _ in range(SERIES)]
    return min(map(int, found)) * 1e-9


def main() -> int:
    """Print both; the exit code is 1 when one is beyond its limit."""
    with tempfile.TemporaryDirectory() as work:
        home = build(EXAMPLE, Path(work) / "out").path
        found = {"C": c_seconds(home), "Python": python_seconds(home)}
    for name, seconds in found.items():
        print(f"{name:<8} {seconds * 1e6:8.1f} us per run, at most {LIMITS[name] * 1e6:.0f}")
    return int(any(seconds > LIMITS[name] for name, seconds in found.items()))


if __name__ == "__main__":
    sys.exit(main())
