"""`hwgen quantize`: a checkpoint with options, or quantize.yaml, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from hwgen.importers.activation import SUPPORTED
from hwgen.network import description
from hwgen.quantize import read_job
from tests.command import run_command
from tests.importers.moe_models import COLUMNS, DIM, PATCH, ROWS
from tests.importers.timm_models import pixels, vit
from tests.quantize.helpers import m3vit_job, write_m3vit

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def quantize(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process; returns exit code, standard output, standard error."""

    return partial(run_command, monkeypatch, capsys, "quantize")


@pytest.fixture
def deit(tmp_path: Path) -> Path:
    """A small timm checkpoint, and a folder of two pictures, one of another size."""
    torch.save(vit(img_size=16, embed_dim=64, num_heads=1, depth=1).state_dict(), tmp_path / "vit.pth")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", 16), ("b.png", 20)):
        PIL.Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(tmp_path / "images" / name)
    return tmp_path


@pytest.fixture
def m3vit(tmp_path: Path) -> Path:
    return write_m3vit(tmp_path)


def test_timm_checkpoint_from_pictures(deit: Path, quantize: Run) -> None:
    """The architecture is shown, with what was assumed; the output is a whole description."""
    (deit / "config.json").write_text(json.dumps({"hidden_size": 64, "num_attention_heads": 1, "hidden_act": "gelu"}))
    code, out, err = quantize(
        "--checkpoint", deit / "vit.pth", "--calibration", deit / "images", "-o", deit / "out", "--pooling", "token",
        "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225",
    )  # fmt: skip
    assert code == 0, err
    text = " ".join(out.replace("│", " ").split())
    for row in (
        "vit, read as timm", "image 16x16x3, patches of 8x8", "tokens 5 of 64, 1 before the patches",
        "layers 1 with an MLP of 256", "attention 1 heads of 64", "tasks classify: class_token 10",
        "pixels minus 123.675, 116.28, 103.53, by 58.395, 57.12, 57.375", "LayerNorm epsilon 1e-06",
        "activation gelu", "note: heads 1: stated by config.json: num_attention_heads",
        "note: 1 of 2 images resized to 16x16, bicubic",
    ):  # fmt: skip
        assert row in text, row
    assert description.load(deit / "out").model.name == "vit"


def test_settings_and_methods(m3vit: Path, quantize: Run) -> None:
    code, out, err = quantize(
        "--checkpoint", m3vit / "m3vit.npz", "--format", "m3vit", "--calibration", m3vit / "images.npz", "--images", 3,
        "--heads", 4, "--top-k", 3, "--gate", "topk_softmax", "--image-size", "8x12", "--mean", "0.5,0.5,0.5",
        "--std", "0.25,0.25,0.25", "--tasks", "semseg,depth", "--name", "city", "--ranges", "percentile",
        "--percentile", "99.9", "--no-repq", "--no-equalize", "--expert-bits", 4,
        "--weight-bits", "layers.1.moe.experts.0.*=8", "-o", m3vit / "out",
    )  # fmt: skip
    assert code == 0, err
    assert "2 with an MLP of 96, 1 with 5 experts of 48, top 3" in out
    model = description.load(m3vit / "out").model
    assert (model.name, model.heads, model.image.height, model.image.width) == ("city", 4, 8, 12)
    assert [task.name for task in model.tasks] == ["semseg", "depth"]
    assert (model.layers[1].mlp.top_k, model.layers[1].mlp.gate) == (3, "topk_softmax")
    assert len(model.weight_bits) == 4 * 2  # the first expert keeps eight
    assert all(name.startswith("layers.1.moe.experts.") for name in model.weight_bits)


def test_config_of_another_format(m3vit: Path, quantize: Run) -> None:
    """The file's options hold; those of the command line come on top."""
    path = m3vit_job(m3vit)
    job = read_job(path)
    assert (job.imported.source, job.imported.mean, job.imported.std) == ("m3vit", [127.5] * 3, [60.0] * 3)
    assert (job.options.ranges, job.images, job.calibration) == ("minmax", None, m3vit / "images.npz")
    assert quantize(path, "-o", m3vit / "a")[0] == 0
    assert quantize(path, "-o", m3vit / "b", "--weight-bits", "layers.2.mlp.fc1=4")[0] == 0
    assert list(description.load(m3vit / "a").model.weight_bits) == ["layers.0.mlp.fc1"]
    assert list(description.load(m3vit / "b").model.weight_bits) == ["layers.0.mlp.fc1", "layers.2.mlp.fc1"]


def test_report(m3vit: Path, quantize: Run) -> None:
    """Into the new directory, on images of their own with labels of a task."""
    shape = (3, ROWS * PATCH, COLUMNS * PATCH, 3)
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    depth = np.zeros((3, 1 + ROWS * COLUMNS, DIM), np.float32)
    np.savez(m3vit / "test.npz", images=images, labels_depth=depth)
    path = m3vit_job(m3vit)
    given = ("--report", m3vit / "out" / "report.json", "--report-images", m3vit / "test.npz")
    code, out, err = quantize(path, "-o", m3vit / "out", *given)
    assert code == 0, err
    found = json.loads((m3vit / "out" / "report.json").read_text())
    assert (found["model"], found["images"]) == ("city", 3)
    assert "mae" in found["tasks"]["depth"]["integer"] and "integer" not in found["tasks"]["semseg"]
    assert found["tasks"]["depth"]["sqnr_db"] > 20
    assert "city: 3 images" in out
    assert quantize(path, "-o", m3vit / "other", "--report", m3vit / "r.json", "--images", 2)[0] == 0
    assert json.loads((m3vit / "r.json").read_text())["images"] == 2  # by default those of the calibration


def test_report_that_fails(m3vit: Path, quantize: Run) -> None:
    """Wrong labels are found before the work, a file that cannot be written leaves nothing behind."""
    path = m3vit_job(m3vit)
    np.savez(m3vit / "images.npz", **np.load(m3vit / "images.npz"), labels_x=np.zeros(4, int))
    assert "DIR/images.npz: labels_x\n  expected: a task of the model\n  found:    'x'" in quantize_fails(
        quantize, m3vit, path, "--report", m3vit / "r.json"
    )
    np.savez(m3vit / "test.npz", images=np.load(m3vit / "images.npz")["images"])
    assert "DIR/lost/r.json\n  expected: a file that can be written\n" in quantize_fails(
        quantize, m3vit, path, "--report", m3vit / "lost" / "r.json", "--report-images", m3vit / "test.npz"
    )


def quantize_fails(quantize: Run, directory: Path, *args: Any) -> str:
    """The message of a command that ends with exit code 2 and writes nothing."""
    before = sorted(directory.rglob("*"))
    code, _, err = quantize(*args, "-o", directory / "out")
    assert code == 2
    assert "Traceback" not in err
    assert sorted(directory.rglob("*")) == before
    return err.replace(str(directory), "DIR")


def test_what_must_be_given(deit: Path, quantize: Run) -> None:
    assert quantize_fails(quantize, deit) == (
        "command line: --checkpoint\n  expected: a checkpoint, or a quantize.yaml\n  found:    neither\n"
    )
    assert quantize_fails(quantize, deit, "--checkpoint", deit / "vit.pth") == (
        "command line: --calibration\n  expected: a .npz of images, or a folder of PNG or JPEG files\n"
        "  found:    no value given\n  mend:     some 32 to 512 images of the training data will do\n"
    )


def test_config_and_options(m3vit: Path, quantize: Run) -> None:
    path = m3vit_job(m3vit)
    assert quantize_fails(quantize, m3vit, path, "--heads", 3) == (
        "command line: heads\n  expected: nothing that DIR/quantize.yaml tells\n  found:    3\n"
        "  mend:     write it into quantize.yaml, or leave that out\n"
    )
    assert "command line: checkpoint\n" in quantize_fails(quantize, m3vit, path, "--checkpoint", m3vit / "m3vit.npz")
    assert "command line: percentile\n  expected: at most 100" in quantize_fails(
        quantize, m3vit, path, "--percentile", 101
    )


def test_options_that_do_not_fit(m3vit: Path, quantize: Run) -> None:
    given = ("--checkpoint", m3vit / "m3vit.npz", "--calibration", m3vit / "images.npz")
    assert "gate\n  expected: 'softmax_topk' or 'topk_softmax'\n  found:    'x'" in quantize_fails(
        quantize, m3vit, *given, "--gate", "x"
    )
    assert "DIR/m3vit.npz: format\n  expected: one of auto, " in quantize_fails(
        quantize, m3vit, *given, "--format", "x"
    )
    assert "command line: tasks.0.head\n" in quantize_fails(quantize, m3vit, *given, "--tasks", "a:b")


def test_missing_config(tmp_path: Path, quantize: Run) -> None:
    text = quantize_fails(quantize, tmp_path, tmp_path / "q.yaml")
    assert text.startswith("DIR/q.yaml\n  expected: a readable YAML file\n")


# --- what a checkpoint does not tell, and what another implementation says

IMAGENET = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")
TOLD = ("--heads", 1, "--activation", "gelu", "--pooling", "token")


def test_guesses_are_asked_for(deit: Path, quantize: Run) -> None:
    given = ("--checkpoint", deit / "vit.pth", "--calibration", deit / "images")
    text = quantize_fails(quantize, deit, *given)
    assert text.endswith(
        "  found:    no value given\n  mend:     give `--pooling token` or `--pooling avg`, `--activation gelu`, "
        "`--heads`, `--mean and --std`, or put the network's config.json beside it\n"
    )
    assert quantize_fails(quantize, deit, *given, *IMAGENET, "--heads", 1, "--activation", "mish") == (
        f"DIR/vit.pth: activation\n  expected: {' or '.join(SUPPORTED)}\n  found:    'mish'\n"
        "  mend:     hwgen's machine has no table of another activation\n"
    )


def test_a_guess_is_a_warning(m3vit: Path, quantize: Run) -> None:
    code, out, err = quantize(m3vit_job(m3vit, normalize=None), "-o", m3vit / "out")
    assert code == 0, err
    assert (
        "\nWARNING: normalisation taken to be ImageNet's, as in the public training code; else give --mean and --std\n"
    ) in out


@pytest.fixture
def reference(deit: Path) -> Path:
    """What timm computes for random images, beside these; they are the calibration, too."""
    images = np.random.default_rng(3).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = vit(img_size=16, embed_dim=64, num_heads=1, depth=1)(pixels(images)).numpy()
    np.savez(deit / "reference.npz", images=images, outputs_classify=wanted)
    return deit / "reference.npz"


def test_reference(deit: Path, reference: Path, quantize: Run) -> None:
    """The import agrees; the integer model's noise against it is that against the import."""
    given = ("--checkpoint", deit / "vit.pth", "--calibration", reference, *TOLD, *IMAGENET)
    code, out, err = quantize(*given, "--reference", reference, "--report", deit / "r.json", "-o", deit / "out")
    assert code == 0, err
    found = json.loads((deit / "r.json").read_text())
    agreement = found["reference"]
    assert (agreement["file"], agreement["images"]) == (str(reference), 6)
    assert 0 < agreement["import_relative_rms"]["classify"] < 1e-5
    sqnr = agreement["integer_sqnr_db"]["classify"]
    assert sqnr == pytest.approx(found["tasks"]["classify"]["sqnr_db"], abs=0.01) and sqnr > 20
    line = f"classify against {reference}, 6 image(s): the import is within "
    assert line in out and f" (relative rms), the integer model has {sqnr:.1f} dB\n" in out


def test_a_wrong_import_is_refused(deit: Path, reference: Path, quantize: Run) -> None:
    """Before the work; the report could not show it, which compares the import with itself."""
    given = ("--checkpoint", deit / "vit.pth", "--calibration", reference, *TOLD)
    half = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
    lines = quantize_fails(quantize, deit, *given, *half, "--reference", reference).splitlines()
    assert lines[:2] == [
        "DIR/reference.npz: outputs_classify",
        "  expected: the import's outputs within 0.001 of these (relative rms)",
    ]
    pair = "mean 0.485,0.456,0.406 std 0.229,0.224,0.225"
    assert lines[3].startswith(f"  mend:     with normalisation {pair} it agrees (")
    assert lines[3].endswith(f"): give `{' '.join(IMAGENET)}`")


def test_reference_of_the_calibration_images(m3vit: Path, quantize: Run) -> None:
    """Without images of its own it is of the first ones, however many the calibration takes."""
    path = m3vit_job(m3vit)
    images = np.load(m3vit / "images.npz")["images"]
    wanted = read_job(path).imported.network(np.float32).run(images[:2], "depth")
    np.savez(m3vit / "reference.npz", outputs_depth=wanted)
    code, out, err = quantize(path, "--images", 1, "--reference", m3vit / "reference.npz", "-o", m3vit / "out")
    assert code == 0, err
    assert "reference.npz, 2 image(s): the import is within" in out and "semseg against" not in out
    np.savez(m3vit / "reference.npz", outputs_depth=np.ones((len(images) + 1, *wanted.shape[1:])))
    assert "DIR/reference.npz: images\n" in quantize_fails(
        quantize, m3vit, path, "--reference", m3vit / "reference.npz", "--force"
    )
