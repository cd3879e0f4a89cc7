"""Weights over two and four AXI masters: the bits and the cycles of one, however their memories differ."""

from dataclasses import replace
from functools import cache

import pytest

from hwgen.compiler import auto_params
from hwgen.machine.regmap import Error
from sim.harness import Disturbance, Job, JobResult, Timing
from tests.random_model import random_description, random_images
from tests.system.helpers import Runs, Work, assert_same, harness

MOE = {"mlp": {"kind": "moe", "experts": 4, "hidden": 90, "top_k": 2, "gate": "softmax_topk"}}
#: The same memory for all; later and later ports, which changes; each pauses by itself.
TIMINGS = {
    "even": Timing(latency=60),
    "late": Timing(latency=60, weight_latency=(60, 90, 75, 100)),
    "early": Timing(latency=60, weight_latency=(60, 30, 1, 45)),
    "random": Timing(latency=40, jitter=40, weight_latency=(40, 40, 40, 40), seed=2),
    "stalls": Timing(latency=60, jitter=20, stall_percent=30, seed=3),
}


@cache
def runs(ports: int) -> Runs:
    """So few tokens that the array waits for weights all the time: one step for a word, which comes in two cycles."""
    desc = random_description(
        5, class_token=True, image={"height": 2, "width": 6, "channels": 1}, patch={"height": 2, "width": 2}, dim=96,
        heads=2, head_dim=48, layers=[{"mlp": {"kind": "dense", "hidden": 300}}, MOE],
        tasks=[{"name": "map", "head": "every_token", "outputs": 9, "norm": True}],
    )  # fmt: skip
    p = auto_params([desc], 4, 4, 8, weight_bus=128, weight_ports=ports, data_bus=128)
    work = Work(desc, p, random_images(desc, 2, seed=2))
    return [(work, task, run) for run in range(2) for task in work.tasks]


@cache
def results(ports: int, timing: str) -> list[JobResult]:
    """None of them different from the golden model, in any tensor."""
    return assert_same(harness(runs(ports)[0][0].p), runs(ports), TIMINGS[timing])


@pytest.mark.parametrize("timing", TIMINGS)
@pytest.mark.parametrize("ports", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_same_cycles_as_one_port(ports, timing):
    one, several = (sum(r.cycles for r in results(count, timing)) for count in (1, ports))
    print(f"{ports} ports, {timing}: {several:,} cycles, {several / one - 1:+.2%}")
    assert several < 1.01 * one


def test_cycles_are_those_of_weights():
    """Else the test above would say nothing: twice as many cycles without a step as with one, when memory stalls."""
    for result in results(2, "stalls"):
        assert result.counters["stall_weights"] > result.counters["array_busy"]


@pytest.mark.parametrize("port, code", [(0, Error.READ_GMEM0), (3, Error.READ_GMEM2)])
def test_each_port_names_its_errors(port, code):
    """At the first beat and at a later one; the run after is a good one."""
    (work, task, _), machine = runs(2)[0], harness(runs(2)[0][0].p)
    compiled = work.compiled
    good = Job(compiled.entries[task], work.input(0), compiled.output_bytes[task])
    jobs = [job for beat in (0, 99) for job in (replace(good, fault=(port, beat)), good)]
    found = machine.run(jobs, program=compiled.program, weights=compiled.weights, timing=TIMINGS["stalls"])
    assert [Error(result.error) for result in found] == [code, Error.NONE] * 2
    assert found[1].output == found[3].output == results(2, "even")[0].output


@pytest.mark.parametrize("numbers", [[0], [3], [0, 3]], ids=str)
def test_silent_weight_ports(numbers):
    """Each alone holds the run up until the watchdog ends it, and the next one's start until it has answered; what it
    and the other one bring then is swallowed."""
    (work, task, _), machine = runs(2)[0], harness(runs(2)[0][0].p)
    compiled, bits = work.compiled, sum(1 << number for number in numbers)
    good = Job(compiled.entries[task], work.input(0), compiled.output_bytes[task])
    jobs = [
        replace(good, watchdog=20_000, disturbance=Disturbance(silent=(bits, 2_000))), good,
        replace(good, disturbance=Disturbance(heard=5_000)),
        replace(good, disturbance=Disturbance(reset=1_500, late=(9, 3))), good,
    ]  # fmt: skip
    found = machine.run(jobs, program=compiled.program, weights=compiled.weights, timing=TIMINGS["late"])
    assert [Error(result.error) for result in found] == [
        Error.WATCHDOG, Error.PORTS, Error.NONE, Error.NONE, Error.NONE,
    ]  # fmt: skip
    assert found[2].output == found[4].output == results(2, "even")[0].output
