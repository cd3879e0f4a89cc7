"""`hwgen build`: a build and again, and what is wrong with configuration and description."""

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch

from hwgen.build import load_build
from tests.importers.timm_models import vit


def test_build_and_again(hwgen, refused, project):
    args = ("build", project / "config.yaml", "-o", project / "out")
    code, out, err = hwgen(*args)
    assert (code, "Traceback" in err) == (0, False)
    assert "array 8 x 16 x 8, 1024 MACs per cycle" in " ".join(out.split())
    refused("found:    an existing directory", "replace it with --force", args=args)
    assert hwgen(*args, "--force")[0] == 0


def test_many_classes(hwgen, tmp_path):
    """A head of 22,000 classes, from checkpoint to build; tests/system/test_importers.py has its results to the bit."""
    safetensors.torch.save_file(vit(num_classes=22000, embed_dim=32, img_size=16).state_dict(),
                                tmp_path / "vit.safetensors")  # fmt: skip
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8))
    code, _, err = hwgen(
        "quantize", "--checkpoint", tmp_path / "vit.safetensors", "--calibration", tmp_path / "images.npz",
        "--heads", 2, "--activation", "gelu", "--pooling", "token", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5",
        "-o", tmp_path / "model",
    )  # fmt: skip
    assert code == 0, err
    (tmp_path / "config.yaml").write_text("model: model\narray: {t: 2, c: 4, k: 4}\n")
    code, _, err = hwgen("build", tmp_path / "config.yaml", "-o", tmp_path / "out")
    assert code == 0, err
    assert load_build(tmp_path / "out").model.model.tasks[0].outputs == 22000


def test_missing_config(refused, project):
    (project / "config.yaml").unlink()
    refused("config.yaml", "expected: a readable YAML file", "found:    No such file or directory")


def test_unknown_key(refused, project):
    (project / "config.yaml").write_text("model: model\narray: {rows: 8}\n")
    refused("config.yaml: array.rows", "unknown key `rows`")


def test_broken_yaml(refused, project):
    (project / "config.yaml").write_text("model: [model\n")
    refused("config.yaml: line 2, column 1", "expected: valid YAML")


def test_no_power_of_two(refused, project):
    (project / "config.yaml").write_text("model: model\narray: {t: 12}\n")
    refused("config.yaml: array.t", "a power of two from 2 to 64", "found:    12")


def test_buffers_too_small(refused, project):
    (project / "config.yaml").write_text("model: model\nbuffers: {h_depth: 1}\n")
    refused("config.yaml: buffers.h_depth", "h_depth = 1, too small by", "write `buffers: auto`")


def test_nan_scale(refused, project):
    path = project / "model" / "model.yaml"
    path.write_text(
        path.read_text().replace("scales: {", "scales: {x: .nan, ").replace("scales:\n", "scales:\n  x: .nan\n")
    )
    refused("model.yaml: scales.x", "number", "found:    nan")


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (lambda t: t | {"position": t["position"][:-1]}, ["position", "expected: int16 [", "found:    int16 ["]),
        (lambda t: {k: v for k, v in t.items() if k != "embed.mult"}, ["embed.mult", "found:    no such tensor"]),
        (lambda t: t | {"embed.mult": t["embed.mult"].astype(np.float32)}, ["embed.mult", "float32"]),
        (lambda t: t | {"embed.shift": t["embed.shift"] + np.uint8(60)}, ["embed.shift", "values in 0..47"]),
    ],
)
def test_wrong_tensors(refused, project, change, texts):
    path = project / "model" / "weights.safetensors"
    tensors = {name: np.ascontiguousarray(t) for name, t in change(safetensors.numpy.load_file(path)).items()}
    safetensors.numpy.save_file(tensors, path)
    refused("weights.safetensors: " + texts[0], *texts[1:])


def test_weights_are_not_safetensors(refused, project):
    (project / "model" / "weights.safetensors").write_bytes(b"PK\x03\x04 not this")
    refused("weights.safetensors", "expected: a safetensors file of integer tensors")


def test_output_not_writable(refused, project):
    args = ("build", project / "config.yaml", "-o", project / "config.yaml" / "out")
    refused("expected: a directory that can be written", "choose another output directory", args=args)
