"""Faults are found, minimised, saved and replayed; what was known is not done again; other cases are not touched."""

import json
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from hwgen.build import load_build
from hwgen.common.errors import HwgenError
from hwgen.verify import run as module
from hwgen.verify.check import Fault
from hwgen.verify.run import Outcomes, verify
from sim.replay import setting
from tests.hollow import hollow_verilog
from tests.verify.conftest import FEW

STALLS = "stalls, %"


@dataclass
class Bench:
    """Without hardware: experts are at fault."""

    kind: str = "difference"

    def fault(self, case):
        experts = any(layer.mlp.kind == "moe" for layer in case.network.model.layers)
        return Fault(self.kind, "experts") if experts else None


@pytest.fixture
def no_hardware(monkeypatch, few):
    made = []

    @contextmanager
    def bench(params, emission):
        made.append(params)
        yield Bench()

    monkeypatch.setattr(module, "bench", bench)
    monkeypatch.setattr("hwgen.rtl.emit.accelerator_verilog", hollow_verilog)
    return made


def test_faults_are_minimised_and_saved(no_hardware, tmp_path):
    """The first of a machine, on one no larger than its own; a build with its images and its memory."""
    store, seen = Outcomes(tmp_path, 3), []
    outcomes = verify(3, 2 * FEW - 3, store, tmp_path, progress=lambda *at: seen.append(at))
    assert [one.number for one in outcomes] == list(range(2 * FEW - 3))
    assert seen == [(0, 13), (8, 13), (13, 13)]
    faults = [one for one in outcomes if one.fault]
    assert {one.number for one in faults} == {one.number for one in outcomes if "moe" in one.facts["mlp"]}
    assert 1 < len(faults) < len(outcomes)
    first = {one.number // FEW: one for one in reversed(faults)}
    for one in faults:
        made = load_build(tmp_path / f"failed-3-{one.number}")
        if one is not first[one.number // FEW]:
            assert made.model.model.dim == one.facts["dim"] and setting(made.path)[1].stall_percent == one.facts[STALLS]
            continue
        model = made.model.model
        assert [layer.mlp.kind for layer in model.layers] == ["moe"] and len(model.tasks) == 1
        assert model.dim == model.heads == 1
        own = no_hardware[0 if one.number < FEW else -1]
        assert made.params.h_depth <= own.h_depth and made.params.c == one.facts["c"]
        case = json.loads((made.path / "case.json").read_text())
        assert case["number"] == one.number and case["replay"] == f"hwgen sim {made.path}"
        count, timing = setting(made.path)
        assert count == case["images"] == 1 and timing.stall_percent == 0 and timing.seed == case["timing"]["seed"]
        assert setting(made.path, 3, latency=7, seed=None)[1].latency == 7


def test_goes_on(no_hardware, tmp_path):
    """The first machine is done; of the second one case, in the middle of whose line it was killed."""
    store = Outcomes(tmp_path, 1)
    whole = verify(1, 2 * FEW, store, tmp_path)
    store.close()
    lines = store.path.read_text().splitlines(keepends=True)
    store.path.write_text("".join(lines[: FEW + 2]) + lines[FEW + 2][:50])
    no_hardware.clear()
    store = Outcomes(tmp_path, 1)
    assert sorted(store.known) == list(range(FEW + 1))
    again = verify(1, 2 * FEW, store, tmp_path)
    for one, same in zip(again, whole, strict=True):
        assert (one.number, one.facts, one.fault) == (same.number, same.facts, same.fault)
    assert {(p.t, p.c, p.k) for p in no_hardware} == {tuple(whole[-1].facts[name] for name in "tck")}
    no_hardware.clear()
    assert verify(1, FEW, store, tmp_path) == whole[:FEW] and not no_hardware
    assert Outcomes(tmp_path, 2).known == {}


def test_a_crash_is_saved_without_a_build(no_hardware, tmp_path, monkeypatch):
    """The compiler itself fails, for the minimised network, too: its inputs are kept."""
    monkeypatch.setattr(Bench, "fault", lambda self, case: Fault("crash KeyError", "KeyError: 'x'"))
    monkeypatch.setattr("hwgen.build.compile_model", lambda *args, **named: {}["x"])
    verify(1, 1, Outcomes(tmp_path, 1), tmp_path)
    files = {path.name for path in (tmp_path / "failed-1-0").iterdir()}
    assert files == {"case.json", "config.yaml", "images.npz", "model"}
    assert "hwgen build" in json.loads((tmp_path / "failed-1-0" / "case.json").read_text())["replay"]


def test_broken_cases_are_refused(tmp_path):
    (tmp_path / "case.json").write_text('{"images": 1}')
    with pytest.raises(HwgenError, match=r"case.json: timing\n  expected: a value\n  found:    no such key"):
        setting(tmp_path)
    (tmp_path / "cases.jsonl").write_text('{"format": "other"}\n')
    with pytest.raises(HwgenError, match=r"cases.jsonl\n  expected: outcomes of this hwgen"):
        Outcomes(tmp_path, 1)
