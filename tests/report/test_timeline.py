"""What each cycle goes to, instruction by instruction; files that are no timelines."""

import pytest

from hwgen.common.errors import HwgenError
from hwgen.report.timeline import BUSY, Causes, Instructions, Share, Timeline, Transfers, check
from tests.report.helpers import simulated

EMPTY = Transfers(port=[], kind=[], instruction=[], asked=[], begin=[], end=[], bytes=[])


def timeline(causes: list[tuple[str, int, int]], engine: list[tuple[int, int]]) -> Timeline:
    """A norm that never ran, then the array's instructions."""
    count = len(engine)
    return Timeline(
        source="simulation", model="m", task="t", batch=1, cycles=causes[-1][2],
        instructions=Instructions(
            name=["norm", *(f"product {number}" for number in range(count))], op=["NORM", *["MATMUL"] * count],
            unit=["norm", *["engine"] * count], begin=[None, *(begin for begin, _ in engine)],
            end=[None, *(end for _, end in engine)],
        ),
        causes=Causes(cause=[cause for cause, *_ in causes], begin=[begin for _, begin, _ in causes],
                      end=[end for *_, end in causes]),
        transfers=EMPTY,
    )  # fmt: skip


def test_shares():
    """A pause within an instruction is its own; behind all steps it is nobody's. Steps that go on over a begin are cut
    there."""
    causes = [("fetch", 4, 10), (BUSY, 10, 20), ("weights", 20, 25), (BUSY, 25, 45), ("norm", 45, 60), (BUSY, 60, 70),
              ("issue", 70, 75)]  # fmt: skip
    found = timeline(causes, [(10, 50), (30, 80), (62, 90)]).shares()
    assert found == [
        Share(1, 15, {"fetch": 6, "weights": 5}), Share(2, 17, {"norm": 15}), Share(3, 8, {}),
        Share(None, 0, {"issue": 5}),
    ]  # fmt: skip
    assert sum(share.cycles for share in found) == 71


def test_the_wait_in_front_of_an_instruction_is_its_own():
    found = timeline([(BUSY, 0, 10), ("router", 10, 30), (BUSY, 30, 40)], [(0, 20), (30, 50)]).shares()
    assert found == [Share(1, 10, {}), Share(2, 10, {"router": 20}), Share(None)]


def test_without_the_array():
    assert timeline([("fetch", 0, 10)], []).shares() == []


def test_all_cycles_are_shared_out(build):
    for task in build.compiled.entries:
        made = simulated(build, task)
        shares = made.shares()
        assert sum(share.cycles for share in shares) == made.cycles
        assert {share.instruction for share in shares if share.busy} <= set(made.engine())


def test_columns_of_different_lengths(build):
    made = simulated(build, "digit")
    bad = made.model_copy(update={"causes": made.causes.model_copy(update={"end": made.causes.end[:-1]})})
    with pytest.raises(HwgenError, match=r"file: causes\n  expected: columns of one length\n  found:    cause \d+, "):
        check(bad, "file")


def test_unknown_causes(build):
    made = simulated(build, "digit")
    bad = made.model_copy(update={"causes": made.causes.model_copy(update={"cause": ["rain"] * len(made.causes.end)})})
    with pytest.raises(HwgenError, match=r"causes\n  expected: busy, weights, .*\n  found:    rain"):
        check(bad, "file")
    assert check(made, "file") is made
