"""Spoilt programs on the RTL and on the model of its instructions: the same error or the same bytes, always an end, and
no write outside of the output (the harness's memory sees to that)."""

from __future__ import annotations

import os
from collections import Counter
from functools import lru_cache

import pytest

from hwgen.machine.regmap import Error
from sim import isa_model
from sim.harness import JobResult
from tests.fuzz.programs import Case, Expected, difference, expected
from tests.fuzz.rtl import TIMING, cases, machine, results

#: Programs; HWGEN_FUZZ is a factor.
COUNT = int(50 * float(os.environ.get("HWGEN_FUZZ", "1")))


@lru_cache
def drawn() -> list[Case]:
    return cases(machine(1), range(COUNT))


@lru_cache
def wanted() -> list[Expected]:
    return [expected(case, machine(1).p) for case in drawn()]


@lru_cache
def found() -> list[JobResult]:
    return results(machine(1), drawn(), TIMING)


def test_programs_are_of_all_kinds() -> None:
    """Not only what is refused at once, and not only what is right."""
    kinds = Counter(one.error for one in wanted())
    assert min(kinds[Error.NONE], kinds[Error.FIELD], kinds[None]) >= COUNT // 10
    assert {Error.PROGRAM_RANGE, Error.OUTPUT_RANGE, Error.NOT_FETCHED, Error.WEIGHTS_RANGE} <= set(kinds)
    known = [int(one.known.sum()) for one in wanted() if one.error == Error.NONE]
    assert sum(count >= 10 for count in known) > COUNT // 8


def test_the_rtl_does_what_the_model_says() -> None:
    p, runs = machine(1).p, zip(drawn(), wanted(), found(), strict=True)
    wrong = [(number, case.how, text) for number, (case, want, one) in enumerate(runs)
             if (text := difference(case, p, want, one))]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize("spoil", ["operand", "rshift"])
def test_another_arithmetic_is_found(spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the model, beside the same results."""
    whole = getattr(isa_model, spoil)
    other = {"operand": lambda value: whole(value) // 2 * 2, "rshift": lambda value, shift: value >> shift}[spoil]
    monkeypatch.setattr(isa_model, spoil, other)
    p, runs = machine(1).p, zip(drawn(), found(), strict=True)
    good = [(case, one) for case, one in runs if case.how.startswith("compiled") and not one.error][:2]
    assert any(difference(case, p, expected(case, p), one) for case, one in good)


def test_another_error_is_found() -> None:
    p = machine(1).p
    for case, want, one in zip(drawn(), wanted(), found(), strict=True):
        if want.error not in (None, Error.NONE):
            for other in ({"error": Error.WATCHDOG}, {"error": Error.NONE}, {"error_index": one.error_index + 1}):
                assert difference(case, p, want, JobResult(**vars(one) | other))
