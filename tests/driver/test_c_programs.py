"""The generated C driver: on the Verilated accelerator under sanitizers, cross-compiled in QEMU, on fake devices."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwgen.build import build_hash
from hwgen.machine.isa import Op
from hwgen.machine.regmap import BY_NAME, MAGIC, VERSION
from sim.board import Board
from tests.driver.boards import Accelerator
from tests.driver.c_programs import AARCH64, HERE, QEMU, SANITIZE, STRICT, compile_c, missing, run_cases
from tests.paths import MNIST

pytestmark = pytest.mark.skipif(missing("gcc"), reason="no C compiler")


@pytest.fixture(scope="session")
def sources(accelerator: Accelerator) -> Path:
    return accelerator.path / "driver" / "c"


@pytest.fixture(scope="session")
def data(accelerator: Accelerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What board_cases.c reads."""
    home = tmp_path_factory.mktemp("data")
    (home / "images.bin").write_bytes(accelerator.images.tobytes())
    (home / "digits.bin").write_bytes(accelerator.digits.tobytes())
    (home / "second.bin").write_bytes(accelerator.digit_outputs["digit"].astype("<i2").tobytes())
    for task, outputs in accelerator.outputs.items():
        (home / f"{task}.bin").write_bytes(outputs.astype("<i2").tobytes())
    for name, program in {
        "opcode": accelerator.patched(Op.IMAGE, op=0xFF),
        "field": accelerator.patched(Op.NORM, tiles=0),
        "not_fetched": accelerator.patched(Op.MATMUL, bytes=0, offset=0),
        "endless": accelerator.patched(Op.ATTENTION, k_steps=0xFFFF, tiles=0xFFFF),
    }.items():
        (home / f"{name}.bin").write_bytes(program)
    return home


def test_on_the_board(accelerator: Accelerator, board: Board, sources: Path, data: Path, tmp_path: Path) -> None:
    """Outputs of two models, every status that a host or a board can provoke; address and undefined-behaviour
    sanitizers watch."""
    program = compile_c(sources, [HERE / "board_cases.c"], tmp_path / "cases", *SANITIZE)
    done = run_cases(program, board.path, accelerator.path, data, "second")
    assert {"the batch's bytes", "the second model's bytes", "endless.bin", "it still owes data"} <= set(done)


@pytest.mark.skipif(missing(AARCH64, QEMU), reason=f"no {AARCH64} or no {QEMU}")
def test_on_the_board_from_aarch64(accelerator: Accelerator, board: Board, sources: Path, data: Path,
                                   tmp_path: Path) -> None:  # fmt: skip
    """The processor of a board talks to the same simulation."""
    program = compile_c(sources, [HERE / "board_cases.c"], tmp_path / "cases", "-O2", "-static", compiler=AARCH64)
    assert "the batch's bytes" in run_cases(QEMU, program, board.path, accelerator.path, data)


def fake_linux(root: Path, model: Accelerator) -> None:
    """UIO and u-dma-buf as files; registers of the right identity."""
    registers = bytearray(4096)
    for name, value in {"magic": MAGIC, "version": VERSION, "build_hash": build_hash(model.first.params)}.items():
        size = 4 * BY_NAME[name].words
        registers[BY_NAME[name].offset : BY_NAME[name].offset + size] = value.to_bytes(size, "little")
    for name, text in {
        "sys/class/uio/uio0/name": "another\n", "sys/class/uio/uio1/name": "hwgen_accelerator_0\n",
        "sys/class/uio/uio2/name": "without a device file\n",
        "sys/class/u-dma-buf/udmabuf0/phys_addr": "0x0000000070000000\n",
        "sys/class/u-dma-buf/udmabuf0/size": "65536\n",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "dev").mkdir()
    (root / "dev" / "uio1").write_bytes(registers)
    (root / "dev" / "udmabuf0").write_bytes(bytes(65536))


def test_on_fakes(accelerator: Accelerator, sources: Path, tmp_path: Path) -> None:
    """What a simulation cannot show: a device that hangs, Linux's files, no operating system, several images a run."""
    fake_linux(tmp_path / "root", accelerator)
    program = compile_c(sources, [HERE / "unit_cases.c"], tmp_path / "cases", *SANITIZE)
    done = run_cases(program, tmp_path / "root")
    assert {"it does not stop", "no such UIO device", "caches", "unknown code"} <= set(done)
    sync = tmp_path / "root" / "sys" / "class" / "u-dma-buf" / "udmabuf0"
    written = {path.name: path.read_text() for path in sync.glob("sync_*")}
    assert written == {  # the flush of the second buffer, then the invalidation of the first
        "sync_offset": "0", "sync_size": "100", "sync_direction": "2", "sync_for_device": "1", "sync_for_cpu": "1",
    }  # fmt: skip


def test_core_needs_no_system(sources: Path, tmp_path: Path) -> None:
    """The core and the bare metal backend compile freestanding; beside memory functions they call nothing."""
    called = set()
    for name in ("hwgen", "hwgen_baremetal", "hwgen_models", "hwgen_tables"):
        target = tmp_path / f"{name}.o"
        source = sources / "src" / f"{name}.c"
        options = [*STRICT, "-O2", "-ffreestanding", f"-I{sources / 'include'}"]
        subprocess.run(["gcc", *options, "-c", source, "-o", target], check=True)
        listed = subprocess.run(["nm", "-u", target], capture_output=True, text=True, check=True).stdout
        called |= set(re.findall(r" U (\w+)", listed))
    assert {name for name in called if not name.startswith("hwgen_")} <= {"memcpy", "memset", "strcmp"}


@pytest.mark.skipif(missing("cmake", "pkg-config"), reason="no cmake or no pkg-config")
def test_cmake_pkg_config_and_example(accelerator: Accelerator, board: Board, sources: Path, tmp_path: Path) -> None:
    """Install the library, compile the example against it by pkg-config, and by its own CMakeLists.txt; run it."""

    def run(*command: object) -> str:
        words = [str(part) for part in command]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    host, prefix = MNIST / "host", tmp_path / "prefix"
    run("cmake", "-S", sources, "-B", "library", f"-DCMAKE_INSTALL_PREFIX={prefix}", "-DCMAKE_INSTALL_LIBDIR=lib")
    run("cmake", "--build", "library", "--target", "install")
    found = run("env", f"PKG_CONFIG_PATH={prefix / 'lib' / 'pkgconfig'}", "pkg-config", "--cflags", "--libs", "hwgen")
    run("gcc", *STRICT, "-fsyntax-only", host / "mnist.c", *found.split())
    run("gcc", "-std=c11", host / "mnist.c", *found.split(), "-o", "by_pkg_config")
    run("cmake", "-S", host, "-B", "example", f"-DHWGEN_DRIVER={sources}")
    run("cmake", "--build", "example")
    run(sys.executable, host / "photo.py", "1", "photo.pgm")
    out = run("example/mnist", accelerator.path, "photo.pgm", "1", "simulation", board.path)
    logits = accelerator.digit_outputs["digit"][1, 0]
    scale = accelerator.second.model.model.scales["tasks.digit.output"]
    assert f"digit: {logits.argmax()}, logit {logits.max() * scale:.3f}" in out
    classes = accelerator.digit_outputs["segment"][1].argmax(1).reshape(7, 7)
    assert "\n".join(" ".join("." if one == 10 else str(one) for one in row) for row in classes) in out
    assert re.search(r"^\d+\.\d frames per second$", out, re.M) and re.search(r"^cycles +\d{5,}$", out, re.M)
    gone = subprocess.run(["./by_pkg_config", ".", "photo.pgm", "1", "uio", "uio99", "udmabuf0"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert gone.returncode == 2
    assert re.fullmatch(r"uio99: nothing answers: no such device.*\n  to do: load the bitstream.*\n", gone.stderr)
