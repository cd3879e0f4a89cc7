"""The notebook of docs/ runs from its first cell to its last, and what stands in it is what comes out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.notebook import NOTEBOOK, execute, read, text

ANEW = "if this is as it should be: python -m tests.notebook"
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def numbers(line: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(line)]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """By name, as they are kept and as they are made now."""
    folder = tmp_path_factory.mktemp("notebook")
    pairs = list(zip(read().cells, execute(read(), folder).cells, strict=True))
    assert not list((folder / "here").iterdir()), "files beside the notebook"
    return {kept.id: (kept, made) for kept, made in pairs if kept.cell_type == "code"}


def test_results(cells):
    """All bits agree; the quantized network is near the float one; the estimate is near the simulation."""
    made = {name: text(now) for name, (_, now) in cells.items()}
    assert "all bits agree: 2 outputs, 124 intermediate tensors" in made["simulate"]
    assert numbers(made["quality"])[0] > 30
    measured, estimated = numbers(made["simulate"].splitlines()[1])
    assert measured > 10_000 and estimated == pytest.approx(measured, rel=0.02)
    count, possible, front = numbers(made["explore"].splitlines()[0])
    assert count >= possible > front > 3


def test_what_is_kept_is_what_comes_out(cells):
    """The same words, numbers within a tenth, as many plots; machines differ in a last digit."""
    for name, (kept, made) in cells.items():
        assert NUMBER.sub("#", text(kept)) == NUMBER.sub("#", text(made)), f"{name}; {ANEW}"
        assert np.allclose(numbers(text(kept)), numbers(text(made)), rtol=0.1, atol=0.1), f"{name}; {ANEW}"
        plots = [["image/png" in output.get("data", {}) for output in cell.outputs] for cell in (kept, made)]
        assert plots[0] == plots[1], f"{name}; {ANEW}"
        assert all(output.get("name") != "stderr" for output in made.outputs), name
    assert sum("image/png" in str(kept.outputs) for kept, _ in cells.values()) == 5


def test_the_file_is_small_and_of_no_machine():
    page = NOTEBOOK.read_text("utf-8")
    assert len(page) < 250_000
    assert not re.search(r"/(home|tmp|work|root|Users|opt|usr)/", page)
    assert "weights are drawn from a seed, not trained" in page
