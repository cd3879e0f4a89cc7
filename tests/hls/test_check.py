"""Arguments that a run must not start with: C-simulation has no addresses of its own, so `refusal` is asked itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from hwgen.hls import sources
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error
from tests.rtl.control.sequencer_model import bases, refusal

#: In the order in which refusal.cpp reads them; further weight ports' bases behind them.
NAMES = ("program_base", "weights_base", "input_base", "output_base", "program_size", "weights_size", "input_size",
         "output_size", "entry", "batch", "input_stride", "output_stride", "watchdog")  # fmt: skip
TOP = 1 << 64


def arguments(p: HwParams, rng: np.random.Generator) -> dict[str, int]:
    """All is well but for a value or two near a limit."""
    names = [*NAMES, *(f"weights_base{port}" for port in range(1, p.weight_ports))]
    r = {name: 64 * int(rng.integers(1, 1 << 20)) for name in names} | {"entry": 0}
    for name in rng.choice(names, rng.integers(3), replace=False):
        if name.endswith("size"):
            r[name] = int(rng.choice([0, 64, 0xFFFF_FFC0, 0xFFFF_FFFF]))
        elif "base" in name:
            size = r[f"{bases(p)[name]}_size"] // (p.weight_ports if name.startswith("weights") else 1)
            r[name] = (TOP - size - int(rng.integers(-2, 3)) * 64 + int(rng.choice([0, 0, 1, 32]))) % TOP
        elif name == "entry":
            r[name] = int(rng.choice([r["program_size"], max(r["program_size"] - 64, 0), 4, 63, 64, 0xFFFF_FFC0]))
        else:
            r[name] = int(rng.choice([0, 1, 32, 63, 64, 0xFFFF_FFC0]))
    return r


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_refusal(tmp_path: Path, ports: int) -> None:
    p = HwParams(weight_ports=ports)
    for name, text in sources(p).items():
        (tmp_path / name).write_text(text)
    program = tmp_path / "refusal"
    here = Path(__file__).with_name("refusal.cpp")
    sanitize = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    files = (here, tmp_path / "check.cpp")
    subprocess.run(["g++", "-std=c++17", "-Wno-unknown-pragmas", *sanitize, f"-I{tmp_path}", *files, "-o", program],
                   check=True)  # fmt: skip
    rng = np.random.default_rng(ports)
    cases = [arguments(p, rng) for _ in range(2000)]
    lines = "\n".join(" ".join(str(value) for value in case.values()) for case in cases)
    said = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout.split()
    found = [Error(int(code)) for code in said]
    assert found == [refusal(p, case) for case in cases]
    assert set(found) == {Error.NONE, Error.PROGRAM_BASE, Error.WEIGHTS_BASE, Error.INPUT_BASE, Error.OUTPUT_BASE,
                          Error.INPUT_STRIDE, Error.OUTPUT_STRIDE, Error.ENTRY}  # fmt: skip
