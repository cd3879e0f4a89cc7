"""The command line as users meet it: exit codes, one-screen messages, no tracebacks, no partial output."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import safetensors.numpy

from hwgen.network import description
from hwgen.rtl import emit
from tests.command import run_command
from tests.paths import ROOT
from tests.random_model import random_description


@pytest.fixture
def hwgen(monkeypatch, capsys):
    """Runs a command in this process; returns exit code, standard output, standard error."""
    monkeypatch.setattr(emit, "accelerator_verilog", lambda p, build_hash=0: "// quick\n")

    return partial(run_command, monkeypatch, capsys)


@pytest.fixture
def project(tmp_path):
    desc = random_description(1)
    description.save(desc, tmp_path / "model")
    (tmp_path / "config.yaml").write_text("model: model\n")
    return tmp_path


def refused(hwgen, project, *texts, args=None):
    """The command must end with code 2, all `texts` on standard error, no traceback, nothing written."""
    before = sorted(project.rglob("*"))
    code, out, err = hwgen(*(args or ("build", project / "config.yaml", "-o", project / "out")))
    assert code == 2, (out, err)
    assert "Traceback" not in out + err
    assert len(err.splitlines()) <= 24
    for text in texts:
        assert text in err
    assert sorted(project.rglob("*")) == before


def test_missing_config(hwgen, project):
    (project / "config.yaml").unlink()
    refused(hwgen, project, "config.yaml", "expected: a readable YAML file", "found:    No such file or directory")


def test_unknown_key(hwgen, project):
    (project / "config.yaml").write_text("model: model\narray: {rows: 8}\n")
    refused(hwgen, project, "config.yaml: array.rows", "unknown key `rows`")


def test_broken_yaml(hwgen, project):
    (project / "config.yaml").write_text("model: [model\n")
    refused(hwgen, project, "config.yaml: line 2, column 1", "expected: valid YAML")


def test_no_power_of_two(hwgen, project):
    (project / "config.yaml").write_text("model: model\narray: {t: 12}\n")
    refused(hwgen, project, "config.yaml: array.t", "a power of two from 2 to 64", "found:    12")


def test_buffers_too_small(hwgen, project):
    (project / "config.yaml").write_text("model: model\nbuffers: {h_depth: 1}\n")
    refused(hwgen, project, "config.yaml: buffers.h_depth", "h_depth = 1, too small by", "write `buffers: auto`")


def test_nan_scale(hwgen, project):
    path = project / "model" / "model.yaml"
    path.write_text(
        path.read_text().replace("scales: {", "scales: {x: .nan, ").replace("scales:\n", "scales:\n  x: .nan\n")
    )
    refused(hwgen, project, "model.yaml: scales.x", "number", "found:    nan")


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (lambda t: t | {"position": t["position"][:-1]}, ["position", "expected: int16 [", "found:    int16 ["]),
        (lambda t: {k: v for k, v in t.items() if k != "embed.mult"}, ["embed.mult", "found:    no such tensor"]),
        (lambda t: t | {"embed.mult": t["embed.mult"].astype(np.float32)}, ["embed.mult", "float32"]),
        (lambda t: t | {"embed.shift": t["embed.shift"] + np.uint8(60)}, ["embed.shift", "values in 0..47"]),
    ],
)
def test_wrong_tensors(hwgen, project, change, texts):
    path = project / "model" / "weights.safetensors"
    tensors = {name: np.ascontiguousarray(t) for name, t in change(safetensors.numpy.load_file(path)).items()}
    safetensors.numpy.save_file(tensors, path)
    refused(hwgen, project, "weights.safetensors: " + texts[0], *texts[1:])


def test_weights_are_not_safetensors(hwgen, project):
    (project / "model" / "weights.safetensors").write_bytes(b"PK\x03\x04 not this")
    refused(hwgen, project, "weights.safetensors", "expected: a safetensors file of integer tensors")


def test_build_and_again(hwgen, project):
    args = ("build", project / "config.yaml", "-o", project / "out")
    code, out, err = hwgen(*args)
    assert (code, "Traceback" in err) == (0, False)
    assert "array 8 x 16 x 8, 1024 MACs per cycle" in " ".join(out.split())
    refused(hwgen, project, "found:    an existing directory", "replace it with --force", args=args)
    assert hwgen(*args, "--force")[0] == 0


def test_output_not_writable(hwgen, project):
    args = ("build", project / "config.yaml", "-o", project / "config.yaml" / "out")
    refused(hwgen, project, "expected: a directory that can be written", "choose another output directory", args=args)


def test_info(hwgen, project):
    code, out, _ = hwgen("info", project / "model")
    assert code == 0
    assert "model random: " in out
    refused(hwgen, project, "a program exists for a build only", args=("info", project / "model", "--program"))
    hwgen("build", project / "config.yaml", "-o", project / "out")
    code, out, _ = hwgen("info", project / "out", "--program")
    assert code == 0
    tasks = random_description(1).model.tasks
    assert out.count("END ") == len(tasks) == out.count("IMAGE ")
    assert "000000  LOAD" in out
    estimate = out[out.index("estimate per image, memory latency 40") : out.index("task digit:")]
    assert all(text in estimate for text in ("cycles", "floor of the MACs", "array utilization", "stall: weights"))
    assert hwgen("info", project / "config.yaml", "--program")[1].endswith(out[out.index("model random: ") :])
    slow = hwgen("info", project / "config.yaml", "--latency", "1000")[1]
    assert "memory latency 1000" in slow
    refused(hwgen, project, "expected: random", args=("info", project / "config.yaml", "--model", "other"))


def test_sim_refuses(hwgen, project):
    refused(hwgen, project, "expected: a directory written by `hwgen build`", args=("sim", project))
    hwgen("build", project / "config.yaml", "-o", project / "out")
    refused(hwgen, project, "task", "found:    nothing", args=("sim", project / "out", "--task", "nothing"))
    np.savez(project / "out" / "images.npz", images=np.zeros((2, 3, 3, 1), np.uint8))
    refused(hwgen, project, "images.npz: images", "expected: uint8 [images, ", "found:    uint8 [2, 3, 3, 1]",
            args=("sim", project / "out", "--images", "2"))  # fmt: skip


def test_quantize_errors(hwgen, project):
    refused(
        hwgen, project, "q.yaml", "a readable YAML file", args=("quantize", project / "q.yaml", "-o", project / "q")
    )


def test_doctor(hwgen):
    code, out, _ = hwgen("doctor")
    assert code == 0
    assert "verilator" in out


def test_doctor_missing_tools(hwgen, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, _ = hwgen("doctor")
    assert code == 2
    assert "apt install g++ make perl python3" in out


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
