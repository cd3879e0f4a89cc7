"""Proofs of the emitted units. A property counts once an error breaks it and its cover statements are reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.formal.proofs import PROOFS
from tests.formal.prove import emitted, missing, mutated, sby
from tests.paths import ROOT

MUTANTS = [(name, mutant) for name, proof in PROOFS.items() for mutant in proof.mutants]

pytestmark = [
    pytest.mark.prove,
    pytest.mark.skipif(missing() is not None, reason=f"no {missing()} (pip install -e '.[dev]')"),
]


def of_all(names: list[str]) -> pytest.MarkDecorator:
    slow = [name for name in names if not PROOFS[name].quick]
    cases = [pytest.param(name, marks=pytest.mark.slow if name in slow else []) for name in names]
    return pytest.mark.parametrize("name", cases)


def slow_mutants() -> list:
    """All but the first ones of quick proofs."""
    quick = [(name, next(iter(proof.mutants))) for name, proof in PROOFS.items() if proof.quick]
    return [pytest.param(*both, marks=[] if both in quick else pytest.mark.slow) for both in MUTANTS]


@of_all(list(PROOFS))
def test_properties_hold(name: str, tmp_path: Path, record_property) -> None:
    proof = PROOFS[name]
    outcome = sby(proof, emitted(name), proof.mode, proof.depth, tmp_path)
    record_property("proof", (name, proof.properties, proof.mode, proof.depth, outcome.seconds, outcome.verdict))
    assert outcome.verdict == "pass", outcome.log


@of_all([name for name, proof in PROOFS.items() if proof.cover])
def test_covers_are_reached(name: str, tmp_path: Path, record_property) -> None:
    proof = PROOFS[name]
    outcome = sby(proof, emitted(name), "cover", proof.cover, tmp_path)
    record_property("proof", (name, proof.properties, "cover", proof.cover, outcome.seconds, outcome.verdict))
    assert outcome.verdict == "pass", outcome.log


@pytest.mark.parametrize("name, mutant", slow_mutants())
def test_mutants_are_found(name: str, mutant: str, tmp_path: Path, record_property) -> None:
    proof, wrong = PROOFS[name], PROOFS[name].mutants[mutant]
    (tmp_path / "generator").mkdir()
    verilog = mutated(name, tmp_path / "generator", wrong.file, wrong.old, wrong.new)
    assert verilog != emitted(name)
    outcome = sby(proof, verilog, "bmc", wrong.depth, tmp_path)
    said = {"fail": "found"}.get(outcome.verdict, outcome.verdict)
    record_property("proof", (name, f"but: {mutant}", "bmc", wrong.depth, outcome.seconds, said))
    assert outcome.failed, outcome.log


@pytest.mark.parametrize("name, mutant", MUTANTS)
def test_mutants_are_up_to_date(name: str, mutant: str) -> None:
    wrong = PROOFS[name].mutants[mutant]
    assert (ROOT / "hwgen" / "rtl" / f"{wrong.file}.py").read_text().count(wrong.old) == 1
