"""`hwgen info` on a description, a configuration and a build."""

import re

from tests.random_model import random_description


def test_info(hwgen, refused, project):
    code, out, _ = hwgen("info", project / "model")
    assert code == 0
    assert "model random: " in out
    assert all(word in out for word in ("int16 outputs", "scale", "unit"))
    refused("a program exists for a build only", args=("info", project / "model", "--program"))
    hwgen("build", project / "config.yaml", "-o", project / "out")
    code, out, _ = hwgen("info", project / "out", "--program")
    assert code == 0
    tasks = random_description(1).model.tasks
    assert out.count("END ") == len(tasks) == out.count("IMAGE ")
    assert re.search(r"^[0-9a-f]{6}  LOAD", out, re.MULTILINE)
    estimate = out[out.index("estimate per image, memory latency 40") : out.index("task digit:")]
    assert all(text in estimate for text in ("cycles", "floor of the MACs", "array utilization", "stall: weights"))
    assert hwgen("info", project / "config.yaml", "--program")[1].endswith(out[out.index("model random: ") :])
    slow = hwgen("info", project / "config.yaml", "--latency", "1000")[1]
    assert "memory latency 1000" in slow
    refused("expected: random", args=("info", project / "config.yaml", "--model", "other"))
