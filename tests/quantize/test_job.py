"""`hwgen quantize` as users meet it: a checkpoint with options, or quantize.yaml, and what is wrong with them."""

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
import yaml

from hwgen.cli.options import parse_normalize, parse_size, parse_tasks, parse_weight_bits
from hwgen.common.errors import HwgenError
from hwgen.network import description
from hwgen.quantize import read_job
from tests.command import run_command
from tests.importers.moe_models import COLUMNS, DIM, PATCH, ROWS, state_dict
from tests.importers.timm_models import vit

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
    np.savez(tmp_path / "m3vit.npz", **state_dict())
    shape = (4, ROWS * PATCH, COLUMNS * PATCH, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    return tmp_path


def test_timm_checkpoint_from_pictures(deit: Path, quantize: Run) -> None:
    """The architecture is shown, with what was assumed; the output is a whole description."""
    code, out, _ = quantize("--checkpoint", deit / "vit.pth", "--calibration", deit / "images", "-o", deit / "out")
    assert code == 0
    text = " ".join(out.replace("│", " ").split())
    for row in (
        "vit, read as timm", "image 16x16x3, patches of 8x8", "tokens 5 of 64, 1 before the patches",
        "layers 1 with an MLP of 256", "attention 1 heads of 64", "tasks classify: class_token 10",
        "pixels minus 123.675, 116.28, 103.53, by 58.395, 57.12, 57.375", "LayerNorm epsilon 1e-06",
        "note: 1 heads: taken to be 64 wide; else give --heads",
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


def write(directory: Path, **changes: Any) -> Path:
    config = {
        "format": "m3vit", "checkpoint": "m3vit.npz", "calibration": "images.npz", "name": "city", "heads": 4,
        "top_k": 2, "image_size": {"height": 8, "width": 12}, "normalize": {"mean": [127.5] * 3, "std": [60.0] * 3},
        "options": {"ranges": "minmax", "weight_bits": {"layers.0.mlp.fc1": 4}},
        "tasks": [{"name": "semseg"}, {"name": "depth"}],
    }  # fmt: skip
    path = directory / "quantize.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (config | changes).items() if value is not None}))
    return path


def test_config_of_another_format(m3vit: Path, quantize: Run) -> None:
    """The file's options hold; those of the command line come on top."""
    path = write(m3vit)
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
    path = write(m3vit)
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
    path = write(m3vit)
    np.savez(m3vit / "images.npz", **np.load(m3vit / "images.npz"), labels_x=np.zeros(4, int))
    assert "DIR/images.npz: labels_x\n  expected: a task of the model\n  found:    'x'" in quantize_fails(
        quantize, m3vit, path, "--report", m3vit / "r.json"
    )
    np.savez(m3vit / "test.npz", images=np.load(m3vit / "images.npz")["images"])
    assert "DIR/lost/r.json\n  expected: a file that can be written\n" in quantize_fails(
        quantize, m3vit, path, "--report", m3vit / "lost" / "r.json", "--report-images", m3vit / "test.npz"
    )


def test_number_of_images(m3vit: Path) -> None:
    assert read_job(write(m3vit, images=2)).images == 2


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
    path = write(m3vit)
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


def test_wrong_configs(m3vit: Path) -> None:
    for changes, text in (
        ({"format": "tim"}, "quantize.yaml: format\n  expected: 'auto', 'timm', "),
        ({"head": 3}, "quantize.yaml: head\n  expected: no such key here\n  found:    unknown key `head`"),
        ({"checkpoint": None}, "quantize.yaml: checkpoint\n  expected: a value\n  found:    no such key"),
        ({"options": {"ranges": "x"}}, "quantize.yaml: options.ranges\n  expected: 'minmax', "),
        ({"heads": None}, "m3vit.npz\n  expected: the number of attention heads of 128 channels"),
    ):
        with pytest.raises(HwgenError) as caught:
            read_job(write(m3vit, **changes))
        assert text in caught.value.text()


def test_parsing() -> None:
    assert parse_size("8x12") == {"height": 8, "width": 12}
    assert parse_size("16") == {"height": 16, "width": 16}
    assert parse_normalize("0,1", "0.5,0.2") == {"mean": [0.0, 255.0], "std": [127.5, 51.0]}
    assert parse_normalize(None, None) is None
    assert parse_tasks("a,b:mean") == [{"name": "a"}, {"name": "b", "head": "mean"}]
    assert parse_weight_bits(4, ["x=8"]) == {"layers.*.moe.experts.*": 4, "x": 8}
    assert parse_weight_bits(None, []) is None


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (lambda: parse_size("8 by 8"), "--image-size\n  expected: HEIGHTxWIDTH, such as 224x224\n  found:    '8 by 8'"),
        (lambda: parse_normalize("a", "1"), "--mean\n  expected: numbers for pixels in 0..1, one per channel, such as"),
        (lambda: parse_normalize("1", None), "--std\n  expected: numbers for pixels in 0..1"),
        (lambda: parse_normalize("1", None), "found:    no value given\n  mend:     --mean and --std go together"),
        (lambda: parse_weight_bits(None, ["a"]), "--weight-bits\n  expected: PATTERN=4 or PATTERN=8\n  found:    'a'"),
    ],
)
def test_parsing_errors(parse: Callable[[], Any], text: str) -> None:
    with pytest.raises(HwgenError) as caught:
        parse()
    assert text in caught.value.text()
    assert caught.value.text().startswith("command line: --")
