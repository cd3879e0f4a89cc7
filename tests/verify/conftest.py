"""Eight cases a machine, found in this process; a golden model that is wrong about experts."""

from functools import partial

import pytest

from golden.model import Golden
from hwgen.verify import draw, run
from sim import simulate
from tests.command import run_command

FEW = 8


def spread(work, missing, keep, *, workers, scheduler, step):
    """In place of processes, where nothing could be replaced."""
    for chunk in missing():
        for found in work(chunk):
            keep(found)
        step()


@pytest.fixture
def few(monkeypatch):
    for module in (draw, run):
        monkeypatch.setattr(module, "PER_MACHINE", FEW)
    monkeypatch.setattr(run, "spread", spread)


class Wrong(Golden):
    """The first output of a network with experts is one too much."""

    def __init__(self, description):
        super().__init__(description)
        self.experts = any(layer.mlp.kind == "moe" for layer in description.model.layers)

    def run(self, *args, **named):
        result = super().run(*args, **named)
        if self.experts:
            result.output.reshape(len(result.output), -1)[:, 0] ^= 1
        return result


@pytest.fixture
def wrong_golden(monkeypatch):
    monkeypatch.setattr(simulate, "Golden", Wrong)


@pytest.fixture
def hwgen(monkeypatch, capsys):
    return partial(run_command, monkeypatch, capsys)
