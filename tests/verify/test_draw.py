"""Cases: the same for a seed and a number, whatever else is asked for, and of every kind."""

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.compiler import check_fits, compile_model
from hwgen.machine.params import PORTS
from hwgen.verify import draw
from hwgen.verify.cover import coverage
from hwgen.verify.draw import MAX_MACS, draw_machine, numbers_of


def test_a_case_is_its_seed_and_number(monkeypatch):
    monkeypatch.setattr(draw, "PER_MACHINE", 4)
    first, again, other = draw_machine(5, 3), draw_machine(5, 3), draw_machine(6, 3)
    assert [case.number for case in first.cases] == list(numbers_of(3)) == [12, 13, 14, 15]
    assert first.params == again.params != other.params
    for one, same, else_ in zip(first.cases, again.cases, other.cases, strict=True):
        assert one.network.model == same.network.model and one.timing == same.timing
        assert first.facts(one) == again.facts(same)
        assert np.array_equal(one.images, same.images)
        assert one.network.model != else_.network.model
    for case in first.cases:
        check_fits(case.network, first.params, batch=case.batch)
        compile_model(case.network, first.params, batch=case.batch)


def test_everything_is_drawn(monkeypatch):
    """Of machines with two cases each: what a few hundred cases must have met."""
    monkeypatch.setattr(draw, "PER_MACHINE", 2)
    machines = [draw_machine(1, number) for number in range(100)]
    assert all(machine.params.macs <= MAX_MACS and not machine.refused for machine in machines)
    rows = {row.name: row for row in coverage(
        machine.facts(case) for machine in machines for case in machine.cases)}  # fmt: skip
    for name, low, high in (("t", 2, 32), ("c", 2, 32), ("k", 1, 16), ("weight_bus", 64, 512), ("data_bus", 64, 512),
                            ("weight_ports", min(PORTS), max(PORTS)), ("max_burst", 2, 256), ("images a run", 1, 5),
                            ("multiplier_bits", 18, 27), ("layers", 1, 3), ("heads", 1, 3), ("register tokens", 0, 9),
                            ("windows", 1, 4), ("narrow weights, %", 0, 100), ("falls of the stream", 0, 3),
                            ("latency", 0, 400), ("stalls, %", 0, 85), ("jitter", 0, 60), ("top_k", 1, 3),
                            ("instruction_queue", 8, 128)):  # fmt: skip
        assert (rows[name].low, rows[name].high) == (low, high), name
    heads = {"class_token", "distillation_token", "mean", "mean_norm", "map", "every_token", "none"}
    assert set(rows["head"].counts) == heads
    assert set(rows["gate"].counts) == {"none", "softmax_topk", "topk_softmax"}
    assert set(rows["mlp"].counts) == {"dense", "gated", "moe"} and len(rows["activation"].counts) == 6
    assert set(rows["in blocks"].counts) == {"nothing", "heads", "rows", "tokens", "stream"}
    for name in ("class_token", "distillation_token", "norm_pre", "qk_norm", "RMSNorms", "post_norm", "ram_init"):
        assert set(rows[name].counts) == {"False", "True"}, name


def test_refused_networks_are_left_out(monkeypatch):
    """The others have their machine."""
    monkeypatch.setattr(draw, "PER_MACHINE", 3)
    seen = []

    def check(desc, p, batch):
        seen.append(desc)
        if len(seen) == 2:
            raise HwgenError("array parameters", "h_depth", expected="less", found="more")

    monkeypatch.setattr(draw, "check_fits", check)
    machine = draw_machine(1, 0)
    assert [case.number for case in machine.cases] == [0, 2] and machine.refused == {1: "h_depth: less, not more"}


@pytest.mark.parametrize("facts, text", [
    ([{"a": 3}, {"a": 1}, {"a": 3}], "1 (1) … 3 (2)"), ([{"a": 3}], "3 (1)"),
    ([{"a": "x y"}, {"a": "y"}], "x 1, y 2"),
])  # fmt: skip
def test_coverage(facts, text):
    (row,) = coverage(facts)
    assert (row.name, row.text()) == ("a", text)
