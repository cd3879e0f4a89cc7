"""The front against its definition, pair by pair."""

import numpy as np
import pytest

from hwgen.explore.evaluate import Design
from hwgen.explore.front import OBJECTIVES, best, front
from hwgen.explore.space import Point


def design(number: int, ms: float, dsp: float, bram: float = 1, lut: float = 1, uram: float = 0, **more) -> Design:
    need = {"dsp": dsp, "bram36": bram, "lut": lut, "ff": 1, "uram": uram}
    point = Point(2, 2, 2, 64, 64, 1, number, None, 1, None, "m")
    return Design(point, resources=need, ms=ms, fps=1000 / ms, energy_uj=ms * dsp, **more)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_by_definition(objective):
    rng = np.random.default_rng(1)
    drawn = [design(number, *map(float, rng.integers(1, 6, 5))) for number in range(300)]
    value = OBJECTIVES[objective][1]

    def row(one):
        need = one.resources
        return np.array([value(one), need["dsp"], need["bram36"] + 8 * need["uram"], need["lut"]])

    rows = {id(one): row(one) for one in drawn}
    every = np.array(list(rows.values()))
    beaten = {one for one, own in rows.items() if ((every <= own).all(1) & (every < own).any(1)).any()}
    found = front(drawn, objective)
    assert {tuple(row(one)) for one in found} == {tuple(row(one)) for one in drawn if id(one) not in beaten}
    assert not {id(one) for one in found} & beaten
    assert [value(one) for one in found] == sorted(value(one) for one in found)


def test_what_is_refused_or_does_not_fit_is_not_chosen():
    good = design(0, 5, 5)
    assert best([design(1, 1, 1, refused="no"), design(2, 1, 1, fits=False), good], "latency") == [good]
    assert front([design(1, 1, 1, fits=False)], "fps") == []


def test_many():
    """10,000 designs in seconds."""
    import time

    rng = np.random.default_rng(2)
    drawn = [design(number, *rng.random(5).tolist()) for number in range(10_000)]
    start = time.process_time()
    assert 100 < len(front(drawn, "latency")) < 5_000
    assert time.process_time() - start < 10
