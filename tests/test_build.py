"""The output directory: complete, reproducible, all or nothing."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwgen import hls
from hwgen.build import build, build_hash, load_build
from hwgen.common.errors import HwgenError
from hwgen.flows.vitis import memory_beats
from hwgen.machine.emission import Emission
from hwgen.machine.regmap import BY_NAME
from hwgen.network import description
from hwgen.rtl import emit
from sim.simulate import load_images
from tests.hollow import hollow_verilog
from tests.paths import ROOT
from tests.random_model import random_description, random_images


@pytest.fixture(autouse=True)
def quick_verilog(monkeypatch):
    """Generating Verilog takes seconds and is tested elsewhere."""
    monkeypatch.setattr(emit, "accelerator_verilog", hollow_verilog)


@pytest.fixture
def config(tmp_path) -> Path:
    first, second = random_description(3), random_description(4)
    description.save(first, tmp_path / "first")
    second = description.Description(second.model.model_copy(update={"name": "other"}), second.tensors)
    description.save(second, tmp_path / "second")
    images = random_images(first, 3, 1)
    np.savez(tmp_path / "images.npz", images=images, labels=np.zeros(3, np.uint8))
    path = tmp_path / "config.yaml"
    path.write_text("models: [first, second]\narray: {t: 4, c: 8, k: 4}\nimages: images.npz\n")
    return path


def contents(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_output_directory(config, tmp_path):
    made = build(config, tmp_path / "out")
    files = contents(tmp_path / "out")
    for name in (
        "rtl/hwgen_accelerator.v", "rtl/waivers.vlt", "include/hwgen_regs.h", "harness/main.cpp", "harness/jobs.h",
        "harness/dram.h", "harness/memory.h", "harness/serve.h", "harness/harness.vlt",
        "driver/python/hwgen_driver/accelerator.py",
        "driver/c/src/hwgen.c", "program.bin", "weights.bin", "memory_map.json", "model/model.yaml",
        "config.yaml", "tests/test_accelerator.py", "README.md",
        "hwgen_accelerator.core", "fusesoc/jobs.txt", "vivado/synth.tcl", "vivado/ip/component.xml",
        "model/weights.safetensors", "images.npz", "models/other/program.bin", "models/other/model/model.yaml",
    ):  # fmt: skip
        assert name in files
    listed = set(re.findall(r"`([\w./]+)`", files["README.md"].decode().split("## Simulate")[0]))
    for name in listed - {"hwgen_accelerator"}:
        assert (tmp_path / "out" / name).exists(), name
    top = {path.name for path in (tmp_path / "out").iterdir()}
    assert {name.split("/")[0] for name in listed} >= top - {"README.md", "models"}
    assert f"{made.params.macs} multiply-accumulates" in " ".join(files["README.md"].decode().split())
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest == made.manifest
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert manifest["parameters"] == made.params.as_dict()
    assert manifest["rtl"] == made.emission.as_dict() == {"prefix": "", "debug": True, "ram_init": False}
    assert manifest["config_sha256"] == hashlib.sha256(config.read_bytes()).hexdigest()
    assert [model["name"] for model in manifest["models"]] == ["random", "other"]
    memory = json.loads(files["memory_map.json"])
    assert memory["program"]["bytes"] == len(files["program.bin"])
    for task, entry in memory["tasks"].items():
        assert entry["entry"] == made.compiled.entries[task]
        output = entry["output"]
        assert output["row_pitch"] * output["rows"] == output["bytes"] == made.compiled.output_bytes[task]


def test_emission(config, tmp_path):
    """What `rtl` says reaches the emission, the manifest, the README and whoever opens the build."""
    config.write_text(config.read_text() + "rtl: {prefix: my_, debug: false, ram_init: true}\n")
    made = build(config, tmp_path / "out")
    assert "module my_hwgen_accelerator(" in made.verilog and (tmp_path / "out" / "my_hwgen_accelerator.core").exists()
    assert load_build(tmp_path / "out").emission == Emission("my_", debug=False, ram_init=True)
    assert "top module `my_hwgen_accelerator`" in (tmp_path / "out" / "README.md").read_text()


def test_backends(config, tmp_path):
    """`hls` adds a directory and a line of the README; nothing else is another."""
    plain = build(config, tmp_path / "plain")
    config.write_text(config.read_text() + "backends: [amaranth, hls]\nrtl: {prefix: my_}\n")
    made = build(config, tmp_path / "out")
    assert (plain.manifest["backends"], plain.hls) == (["amaranth"], {}) and not (tmp_path / "plain" / "hls").exists()
    files = contents(tmp_path / "out")
    folders = {name.split("/")[1] for name in files if name.startswith("hls/")}
    assert made.manifest["backends"] == ["amaranth", "hls"] and folders == {"src", "csim", "tb", "vitis"}
    beats = memory_beats(made.params, made.compiled)
    assert load_build(tmp_path / "out").hls == hls.sources(
        made.params, build_hash(made.params), "my_hwgen_accelerator", hls.Depth(*beats)
    )
    readme = files["README.md"].decode()
    assert "| `hls/` |" in readme and "| `hls/` |" not in (tmp_path / "plain" / "README.md").read_text()
    assert all((tmp_path / "out" / name).exists() for name in re.findall(r"`(hls/[\w./]*)`", readme))
    build(config, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_weight_ports(config, tmp_path, ports):
    """Each port's share is a file of its own; beat by beat in turn they are the weights."""
    config.write_text(config.read_text() + f"buses: {{weights: 64, weight_ports: {ports}}}\n")
    made = build(config, out := tmp_path / "out")
    weights, listed = (out / "weights.bin").read_bytes(), json.loads((out / "memory_map.json").read_text())["weights"]
    assert (listed["file"], listed["bytes"]) == ("weights.bin", len(weights))
    shares = [(out / port["file"]).read_bytes() for port in listed["ports"]]
    beats = [share[at : at + 8] for at in range(0, len(shares[0]), 8) for share in shares]
    assert b"".join(beats) == weights == made.compiled.weights
    assert [port["bytes"] for port in listed["ports"]] == [len(share) for share in shares]
    assert [port["master"] for port in listed["ports"]] == [f"m_axi_gmem{n}" for n in (0, 2, 3, 4)[:ports]]
    registers = [BY_NAME[port["register"]] for port in listed["ports"]]
    assert [register.weight_port for register in registers] == list(range(ports))
    assert (ports > 1) == (out / "weights0.bin").exists() == ("weights0.bin" in made.manifest["files"])
    assert (ports > 1) == ("`weights0.bin`" in (out / "README.md").read_text())
    load_build(out)
    if ports > 1:
        (out / f"weights{ports - 1}.bin").write_bytes(shares[0])
        with pytest.raises(HwgenError, match=rf"weights{ports - 1}.bin\n  expected: what the compiler makes"):
            load_build(out)


def test_scale_and_unit_of_outputs(config, tmp_path):
    """In the memory map and the README; null where the description tells none."""
    desc = description.load(config.parent / "first")
    task = next(task for task in desc.model.tasks if task.head != "none")
    scales = desc.model.scales | {f"tasks.{task.name}.output": 0.03125}
    model = desc.model.model_copy(update={"scales": scales})
    description.save(description.Description(model, desc.tensors), config.parent / "first")
    build(config, tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "memory_map.json").read_text())["tasks"]
    found = {name: (entry["output"]["scale"], entry["output"]["unit"]) for name, entry in tasks.items()}
    assert found.pop(task.name) == (0.03125, "logits or values")
    for name, known in found.items():
        plain = next(one for one in model.tasks if one.name == name)
        features = plain.head == "none" and not plain.norm
        expected = (2.0 ** -model.stream_bits[-1], "token features") if features else (None, "no scale known")
        assert known == expected
    rows, columns = model.output_shape(task)
    line = f"| {model.name}, {task.name} | {rows} × {columns} | 0.03125 | logits or values |"
    assert line in (tmp_path / "out" / "README.md").read_text()


def test_reproducible(config, tmp_path):
    """Byte for byte, wherever it is written, also over an earlier build."""
    build(config, tmp_path / "one")
    build(config, tmp_path / "deeper" / "two")
    build(config, tmp_path / "one", force=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "deeper" / "two")
    assert sorted(p.name for p in (tmp_path / "deeper").iterdir()) == ["two"]


def test_load_build(config, tmp_path):
    out = tmp_path / "out"
    made = build(config, out)
    assert load_build(out).compiled.program == made.compiled.program
    assert load_build(out, "other").model.model.name == "other"
    with pytest.raises(HwgenError, match=r"model\n  expected: random or other\n  found:    third"):
        load_build(out, "third")
    data = bytearray((out / "weights.bin").read_bytes())
    data[0] ^= 1
    (out / "weights.bin").write_bytes(data)
    with pytest.raises(HwgenError, match=r"weights.bin\n  expected: what the compiler makes of the model beside it"):
        load_build(out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["versions"]["hwgen"] = "0.0.1"
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(HwgenError, match=r"found:    one of hwgen 0.0.1\n  mend:     build it again"):
        load_build(out)
    with pytest.raises(HwgenError, match="expected: a directory written by `hwgen build`"):
        load_build(tmp_path)


def test_existing_output_is_kept(config, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("only copy")
    with pytest.raises(HwgenError, match=r"found:    an existing directory\n  mend:     choose another one, or"):
        build(config, out)
    with pytest.raises(HwgenError, match="--force deletes nothing else"):
        build(config, out, force=True)
    assert contents(out) == {"thesis.txt": b"only copy"}
    (tmp_path / "file").write_text("x")
    with pytest.raises(HwgenError, match="found:    a file or a link"):
        build(config, tmp_path / "file", force=True)
    with pytest.raises(HwgenError, match=r"expected: a directory that can be written\n  found:    .*: /proc"):
        build(config, Path("/proc/hwgen/out"))
    with pytest.raises(HwgenError, match="expected: a directory that can be written"):
        build(config, tmp_path / "file" / "out")


def test_leftovers_of_killed_builds(config, tmp_path, monkeypatch):
    """Swept when they are old, or in the way; what --force had moved aside is kept while it is all there is."""
    left = {name: tmp_path / name for name in (".out.new-1", ".out.old-1", ".out2.new-1", f".out.new-{os.getpid()}")}
    for path in left.values():
        path.mkdir()
        os.utime(path, (0, 0))
    left[".out.new-2"] = tmp_path / ".out.new-2"
    left[".out.new-2"].mkdir()
    build(config, tmp_path / "out")
    there = {name for name, path in left.items() if path.exists()}
    assert there == {".out.old-1", ".out2.new-1", ".out.new-2"}
    build(config, tmp_path / "out", force=True)
    assert not left[".out.old-1"].exists()


def test_images_of_each_model(config, tmp_path):
    """The first model lends its images to others of their size; of another size the simulation takes random ones."""
    other = random_description(5, image={"height": 12, "width": 12, "channels": 1})
    other = description.Description(other.model.model_copy(update={"name": "other"}), other.tensors)
    description.save(other, tmp_path / "second")
    build(config, tmp_path / "out")
    notes = []
    first, labels = load_images(load_build(tmp_path / "out"), 3, notes.append)
    assert len(first) == len(labels) == 3 and notes == []
    images, labels = load_images(load_build(tmp_path / "out", "other"), 3, notes.append)
    assert (images.shape, labels) == ((3, 12, 12, 1), None)
    assert notes == ["random images: those of the build are not other's 12x12; "
                     "write `images: {other: FILE.npz}` into its config"]  # fmt: skip
    own = random_images(other, 2, 1)
    np.savez(tmp_path / "own.npz", images=own)
    name = random_description(3).model.name
    config.write_text(config.read_text().replace(": images.npz", f": {{{name}: images.npz, other: own.npz}}"))
    build(config, tmp_path / "both")
    np.testing.assert_array_equal(load_images(load_build(tmp_path / "both", "other"), 2)[0], own)
    np.testing.assert_array_equal(load_images(load_build(tmp_path / "both"), 3)[0], first)


@pytest.mark.parametrize("error", [HwgenError("here", expected="a", found="b"), KeyboardInterrupt()])
def test_failure_leaves_nothing(config, tmp_path, monkeypatch, error):
    build(config, tmp_path / "out")
    before = contents(tmp_path)

    def fail(*args, **named):
        raise error

    monkeypatch.setattr(emit, "accelerator_verilog", fail)
    for out, force in ((tmp_path / "out", True), (tmp_path / "new", False)):
        with pytest.raises(type(error)):
            build(config, out, force=force)
    assert contents(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_tests_of_the_output(tmp_path, monkeypatch):
    """`pytest OUT/tests` is green for a build with two models, and red when the Verilog is not what it should be."""
    monkeypatch.undo()  # real Verilog
    for seed, name in ((3, "first"), (4, "second")):
        desc = random_description(seed)
        model = desc.model.model_copy(update={"name": name})
        description.save(description.Description(model, desc.tensors), tmp_path / name)
    config = tmp_path / "config.yaml"
    config.write_text("models: [first, second]\narray: {t: 4, c: 4, k: 4}\nbuses: {weights: 64, data: 64}\n")
    build(config, tmp_path / "out")

    def run() -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path / "out" / "tests")]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    good = run()
    assert good.returncode == 0, good.stdout
    assert "2 passed" in good.stdout
    verilog = tmp_path / "out" / "rtl" / "hwgen_accelerator.v"
    wrong = re.sub(r"count0 \+ 1'h1", "count0 + 2'h2", verilog.read_text())
    assert wrong != verilog.read_text()
    verilog.write_text(wrong)
    bad = run()
    assert bad.returncode == 1
    assert re.search(r"instruction \d+: layers.\d.expert.0.rows\[\] must be \d+, found \d+", bad.stdout), bad.stdout
