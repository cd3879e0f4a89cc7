"""Errors put into the RTL on purpose: the comparison must name each of them, else the other tests prove little."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hwgen.params import HwParams
from sim.harness import SimulationError, Timing
from tests.random_model import random_images
from tests.system.helpers import Work, assert_same, differences, harness, simulate
from tests.system.test_routing import all_equal, as_drawn, description, edit_gates, hardware

ROOT = Path(__file__).resolve().parents[2]
GENERATE = """
import json, sys
from hwgen.params import HwParams
from hwgen.rtl.emit import accelerator_verilog
sys.stdout.write(accelerator_verilog(HwParams(**json.loads(sys.argv[1]))))
"""

#: File, its text, and the wrong text in its place.
MUTATIONS = {
    "row factor shifted too little": ("postprocess", "scale >> MULT", "scale >> (MULT - 1)"),
    "shift a cycle early": ("postprocess", "product, amount[PRODUCT])", "product, amount[PRODUCT - 1])"),
    "no rounding": ("postprocess", "clamped + shifted[0])", "clamped)"),
    "Y and H swapped": ("datapath", "Mux(issue.from_h, self.h.r_data, self.y.r_data)",
                        "Mux(issue.from_h, self.y.r_data, self.h.r_data)"),
    "weights not awaited": ("issue", "issue.eq(~blocked & ~starved)", "issue.eq(~blocked)"),
    "tiles too close": ("issue", "blocked = inner_last & (gap != 0)", "blocked = inner_last & (gap > 1)"),
    "scores not awaited": ("issue", "with m.If(Mux(context_tile[0], score_wait[1], score_wait[0]) == 0):",
                           "with m.If(1):"),
    "one key too many": ("softmax", "Cat(*(remaining > lane for", "Cat(*(remaining >= lane for"),
    "padding in the maximum": ("writeback", "key + lane < self.rows", "key + lane <= self.rows"),
    "no saturation of x": ("writeback", "overflow = total[16] ^ total[15]", "overflow = total[16] & 0"),
    "ties to the higher index": ("router", "(logit > value)", "(logit >= value)"),
    "a row too many": ("drain", "(row < self.rows)", "(row <= self.rows)"),
}  # fmt: skip


@pytest.fixture(scope="module")
def works() -> list[Work]:
    drawn = description("topk_softmax")
    descs = [drawn, edit_gates(drawn, all_equal), edit_gates(description("softmax_topk", gain=60), as_drawn)]
    return [Work(desc, hardware(drawn), random_images(desc, 1, seed=2)) for desc in descs]


def mutant(p: HwParams, home: Path, file: str, old: str, new: str) -> str:
    """Verilog from a copy of the generator with one text replaced."""
    for part in ("hwgen", "templates"):
        shutil.copytree(ROOT / part, home / part, ignore=shutil.ignore_patterns("__pycache__"))
    source = home / "hwgen" / "rtl" / f"{file}.py"
    text = source.read_text()
    assert text.count(old) == 1, f"{file}.py must have {old!r} once: bring the mutation up to date"
    source.write_text(text.replace(old, new))
    command = [sys.executable, "-c", GENERATE, json.dumps(p.as_dict())]
    environment = os.environ | {"PYTHONPATH": str(home)}
    return subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_without_mutation(works):
    assert_same(harness(works[0].p), [(work, task, 0) for work in works for task in work.tasks])


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_named(works, name, tmp_path):
    machine = harness(works[0].p, mutant(works[0].p, tmp_path, *MUTATIONS[name]))
    runs = [(work, task, 0) for work in works for task in work.tasks]
    try:
        found = differences(runs, simulate(machine, runs, Timing(stall_percent=30, watchdog=200_000)))
    except SimulationError as error:  # it may as well hang
        found = [str(error)]
    assert found
    print(name, "->", found[0])
