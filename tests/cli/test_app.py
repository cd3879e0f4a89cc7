"""The application: its version, its usage, and the wheel it comes in."""

import json
import subprocess
import sys

import pytest

from tests.paths import ROOT


def test_usage(hwgen):
    assert hwgen("--version")[1].startswith("hwgen 0.")
    assert hwgen("build")[0] == 2
    assert hwgen("nonsense")[0] == 2


@pytest.mark.slow
def test_wheel_outside_the_checkout(tmp_path):
    """Build the wheel, install it in a fresh environment, build the example far from the checkout."""

    def run(*command, **options):
        return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **options)

    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv" / "bin" / "pip", "install", f"{wheel}[sim]")
    program = tmp_path / "venv" / "bin" / "hwgen"
    config = ROOT / "examples" / "mnist_m3vit" / "config.yaml"
    run(program, "build", config, "-o", tmp_path / "out", cwd=tmp_path)
    assert "IMAGE" in run(program, "info", tmp_path / "out", "--program", cwd=tmp_path).stdout
    run(program, "sim", tmp_path / "out", "--images", "1", "--json", tmp_path / "r.json", cwd=tmp_path)
    result = json.loads((tmp_path / "r.json").read_text())
    assert all(task["bit_identical"] for task in result["tasks"].values())
