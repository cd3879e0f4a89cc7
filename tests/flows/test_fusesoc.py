"""The FuseSoC core of a real build: lint and simulation run, synthesis is set up."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from golden.model import Golden
from hwgen.build import Build, build
from hwgen.common.toolchain import verilator_environment
from hwgen.network import description
from tests.flows.helpers import edited
from tests.random_model import random_description

CONFIG = """model: model
array: {t: 2, c: 2, k: 2}
buses: {weights: 64, data: 64}
rtl: {prefix: my_, debug: false}
batch: 2
"""
TOP = "my_hwgen_accelerator"
LATCH = "module latch(input a, input b); reg q; always @* if (a) q = b; endmodule\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Build:
    """Two images a run, three tasks; a prefix and no debug ports, which concern the harness."""
    home = tmp_path_factory.mktemp("fusesoc")
    description.save(random_description(3), home / "model")
    (home / "config.yaml").write_text(CONFIG)
    return build(home / "config.yaml", home / "out")


def fusesoc(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("fusesoc"), "--cores-root", ".", "run", *arguments, TOP]
    return subprocess.run(
        [str(part) for part in command], cwd=out, env=verilator_environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_files(made):
    """All files it names are there, and what the simulation loads is among them."""
    text = (made.path / f"{TOP}.core").read_text()
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text)
    files = {name: facts for one in core["filesets"].values() for file in one["files"] for name, facts in file.items()}
    assert all((made.path / file).is_file() for file in files)
    copied = {facts["copyto"] for facts in files.values() if "copyto" in facts} - {"jobs.txt"}
    jobs = (made.path / "fusesoc/jobs.txt").read_text()
    assert copied == set(re.findall(r"[\w.]+\.bin", jobs))
    assert jobs.count("expect ") == len(made.model.model.tasks) == 3
    assert {name: target["toplevel"] for name, target in core["targets"].items()} == dict.fromkeys(
        ("default", "lint", "sim", "synth"), TOP
    )


def test_expected_outputs(made):
    image = made.model.model.image
    raw = np.frombuffer((made.path / "fusesoc/input.bin").read_bytes(), np.uint8)
    assert len(raw) == made.compiled.input_bytes
    size = image.height * image.width * image.channels
    starts = range(0, 2 * made.compiled.image_stride, made.compiled.image_stride)
    images = np.stack([raw[start : start + size] for start in starts]).reshape(
        2, image.height, image.width, image.channels
    )
    assert (images[0] != images[1]).any()
    for task in made.model.model.tasks:
        found = np.frombuffer((made.path / f"fusesoc/expected_{task.name}.bin").read_bytes(), "<i2")
        assert (found == Golden(made.model).run(images, task.name).output.ravel()).all()


def test_lint(made, tmp_path):
    done = fusesoc(made.path, "--target", "lint", "--build-root", tmp_path / "good")
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stdout + done.stderr
    verilog = made.path / "rtl/hwgen_accelerator.v"
    before = verilog.read_text()
    try:
        verilog.write_text(f"{before}\n{LATCH}")
        edited(verilog, "\n  input ap_clk;", "\n  input ap_clk;\n  latch l(.a(ap_clk), .b(ap_rst_n));")
        bad = fusesoc(made.path, "--target", "lint", "--build-root", tmp_path / "bad")
    finally:
        verilog.write_text(before)
    assert bad.returncode != 0 and "LATCH" in bad.stdout + bad.stderr


def test_synth_is_set_up(made, tmp_path):
    done = fusesoc(made.path, "--target", "synth", "--build-root", tmp_path, "--setup")
    assert done.returncode == 0, done.stderr
    script = next(tmp_path.rglob("*synth*/*0.tcl")).read_text()
    for file in ("rtl/hwgen_accelerator.v", "vivado/clock.xdc", "fusesoc/synth.tcl"):
        assert file in script
    assert "xczu9eg-ffvb1156-2-e" in script and TOP in script


@pytest.mark.slow
def test_sim(made, tmp_path):
    """Every task gives the bits of the golden model; one wrong byte of what is expected is an error."""
    done = fusesoc(made.path, "--target", "sim", "--build-root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [int(number) for number in re.findall(r"^done (\d)", done.stdout, re.M)] == [0, 1, 2]
    program = next(tmp_path.rglob(f"V{TOP}"))
    wrong = program.with_name("expected_segment.bin")
    data = bytearray(wrong.read_bytes())
    data[-1] ^= 1
    wrong.write_bytes(data)
    bad = subprocess.run([program, "jobs.txt"], cwd=program.parent, capture_output=True, text=True, check=False)
    rows, columns = made.compiled.output_shapes["segment"]
    assert bad.returncode == 1
    assert f"failed 1: byte {2 * columns - 1} of output row {2 * rows - 1} is not as expected" in bad.stdout
    # An error of the run: no room for the output.
    jobs = program.with_name("jobs.txt")
    jobs.write_text(re.sub(r"^(job - \d+ \d+ \d+ \d+) \d+", r"\1 1", jobs.read_text(), count=1, flags=re.M))
    jobs.write_text(re.sub(r"^expect .*\n", "", jobs.read_text(), flags=re.M))
    stopped = subprocess.run([program, "jobs.txt"], cwd=program.parent, capture_output=True, text=True, check=False)
    assert stopped.returncode == 0 and "error 5 " in program.with_name("results.txt").read_text().splitlines()[0]
