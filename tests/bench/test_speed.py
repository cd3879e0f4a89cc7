"""The measurement of the integer model's speed: what it counts and prints, not how fast this machine is."""

import time

import pytest

from bench import speed
from golden.model import Golden
from tests.random_model import random_description, random_images


def test_least_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    description = random_description(1)
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 29.0])
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    task = description.model.tasks[0].name
    assert speed.seconds(Golden(description), random_images(description, 1, 0), task) == 2.0


def test_a_line_per_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    description = random_description(1)
    monkeypatch.setattr(speed, "seconds", lambda golden, images, task: 0.5)
    speed.report(description, random_images(description, 4, 0))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [task.name for task in description.model.tasks]
    assert all("4 images    125.0 ms      8.0 per s" in line for line in lines)
