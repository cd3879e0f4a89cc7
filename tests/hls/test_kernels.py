"""The sources of several machines as a tool takes them: neither the lint finds anything nor does a compiler warn."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from hwgen.hls import sources
from hwgen.machine.regmap import Error
from tests.system.test_models import HARDWARE, SMALL, Hardware

#: 1, 4 and 2 weight ports, K > C, a multiplier for each product; then the others.
MACHINES = [HARDWARE[1], HARDWARE[2], HARDWARE[5], HARDWARE[0], *HARDWARE[3:5]]
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-label", "-Wno-maybe-uninitialized")
#: `refusal` of a region at the very end of the address space, and offsets of images beyond all regions.
CHECKS = """
#include "check.h"
#include <cstdio>
using namespace hwgen;
int main() {
    const std::uint64_t last = ~std::uint64_t(0) - ALIGN + 1;
    for (int excess = 0; excess < 2; excess++) {
        Arguments a{};
        a.input_base = last;
        a.input_size = ALIGN + excess;
        a.program_size = INSTRUCTION_BYTES;
        std::printf("%d ", refusal(a));
    }
    const ap_uint<33> far = advanced(ap_uint<33>(0xFFFFFFC0u), ap_uint<32>(64));
    const bool stays = far == advanced(far, ap_uint<32>(0xFFFFFFC0u));
    std::printf("%d %d", far == ap_uint<33>(std::uint64_t(1) << 32), stays);
}
"""


def write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    "hardware",
    [pytest.param(one, marks=() if n < 3 else pytest.mark.slow, id=f"{one.t}x{one.c}x{one.k}")
     for n, one in enumerate(MACHINES)],
)  # fmt: skip
def test_the_lint_finds_nothing(hardware: Hardware, tmp_path: Path) -> None:
    pytest.importorskip("clang", reason="needs libclang: pip install hwgen[dev]")
    from tests.hls.lint import lint

    write(tmp_path, sources(hardware.works(1)[0].p))
    assert lint(tmp_path) == []


def test_the_compiler_warns_of_nothing(tmp_path: Path) -> None:
    """Without what is for C-simulation alone."""
    write(tmp_path, sources(SMALL.works(1)[0].p))
    files = sorted(tmp_path.glob("*.cpp"))
    subprocess.run(["g++", "-std=c++17", "-fsyntax-only", *WARNINGS, *files], check=True)


def far_addresses(texts: Mapping[str, str], folder: Path) -> bool:
    """Whether addresses are right that no simulation reaches, as its memory is smaller."""
    write(folder, {**texts, "checks.cpp": CHECKS})
    command = ["g++", "-std=c++17", "-w", "checks.cpp", "check.cpp", "-o", "checks"]
    subprocess.run(command, cwd=folder, check=True)
    return subprocess.check_output([folder / "checks"], text=True) == f"0 {Error.INPUT_BASE} 1 1"


def test_addresses_do_not_wrap(tmp_path: Path) -> None:
    assert far_addresses(sources(SMALL.works(1)[0].p), tmp_path)
