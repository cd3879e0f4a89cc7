"""What a reference may look like, and that an import is compared with it; test_doubts.py has imports that are wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwgen.common.errors import HwgenError
from hwgen.evaluate.reference import Reference, check_import, integer_sqnr, read_reference
from hwgen.importers import Imported
from tests.evaluate.helpers import check, imported, outputs, quiet, random_images
from tests.importers.timm_models import distilled, vit


def test_the_same_network(tmp_path: Path) -> None:
    model = vit()
    assert check(imported(model, tmp_path), outputs(model, random_images())) == ""


def test_integer_sqnr() -> None:
    wanted = np.array([[[3.0, 4.0]], [[0.0, 5.0]]])
    reference = Reference("FILE", random_images(2), {"a": wanted, "b": wanted})
    values = np.array([[[3.0, 4.5]], [[0.0, 5.5]], [[9.0, 9.0]]])
    assert integer_sqnr({"a": values}, reference) == {"a": pytest.approx(20.0)}


# --- files


def read(path: Path, network: Imported, given: np.ndarray, **arrays: np.ndarray) -> Reference:
    np.savez(path, **arrays)
    return read_reference(path, network.model, lambda count: given[:count], (network.mean, network.std))


def test_archives(tmp_path: Path) -> None:
    """Outputs of the first images, or of images of their own; as the library writes them, and as `hwgen run` does."""
    network, images, path = imported(distilled(), tmp_path, pooling=None), random_images(4), tmp_path / "x.npz"
    two, one = np.ones((2, 10), np.float32), np.ones((1, 1, 10))
    found = read(path, network, images, outputs_classify=two, outputs_distill=2 * two)
    assert list(found.outputs) == ["classify", "distill"]
    assert found.outputs["distill"].shape == (2, 1, 10) and (found.outputs["distill"] == 2).all()
    assert np.array_equal(found.images, images[:2])
    found = read(path, network, images, **{"distill.values": one}, images=images[3:], other=two)
    assert list(found.outputs) == ["distill"] and np.array_equal(found.images, images[3:])


def test_wrong_archives(tmp_path: Path) -> None:
    network, images, path = imported(vit(), tmp_path), random_images(2), tmp_path / "x.npz"

    def message(**arrays: np.ndarray) -> str:
        with pytest.raises(HwgenError) as caught:
            read(path, network, images, **arrays)
        return caught.value.text().replace(str(tmp_path), "DIR")

    ones = np.ones((2, 10))
    assert message(outputs=ones) == (
        "DIR/x.npz\n  expected: arrays `outputs_TASK`, one per task of the network\n  found:    outputs"
    )
    assert message(outputs_x=ones) == (
        "DIR/x.npz: outputs_x\n  expected: a task of the network\n  found:    'x'\n  mend:     its tasks are classify"
    )
    for wrong in (np.ones((2, 9)), np.ones((2, 10), int), np.ones((0, 10)), np.float64(1)):
        assert "DIR/x.npz: outputs_classify\n  expected: floats [" in message(outputs_classify=wrong)
    for wrong in (np.zeros((2, 10)), np.full((2, 10), np.nan)):
        assert "expected: finite numbers, not all zero" in message(outputs_classify=wrong)
    assert message(outputs_classify=np.ones((3, 10))) == (
        "DIR/x.npz: images\n  expected: uint8 [3, 32, 32, 3], an image for each output\n"
        "  found:    uint8 [2, 32, 32, 3]\n"
        "  mend:     give outputs of the first calibration images, or the images beside them"
    )
    assert "DIR/x.npz: images" in message(outputs_classify=ones, images=images[:, :16])
    path.write_bytes(b"text")
    with pytest.raises(HwgenError, match=r"expected: a .npz with arrays `outputs_TASK`, or an .onnx file"):
        read_reference(path, network.model, lambda count: images, None)
    with pytest.raises(HwgenError, match=r"`outputs_TASK`, or an .onnx file\n  found:    No such file"):
        read_reference(tmp_path / "lost.npz", network.model, lambda count: images, None)


# --- ONNX


def exported(model: Any, directory: Path, batch: int = 1, **options: Any) -> Path:
    path = directory / "model.onnx"
    torch.onnx.export(model, (torch.zeros(batch, 3, 32, 32),), path, dynamo=False, input_names=["image"], **options)
    return path


def run_onnx(path: Path, network: Imported) -> Reference:
    return read_reference(path, network.model, lambda count: random_images(20)[:count], (network.mean, network.std))


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_onnx(tmp_path: Path, batch: int | None) -> None:
    """Run on 16 images, in batches of any size; it takes normalised pixels, so it cannot show the normalisation."""
    model = vit(num_heads=8)
    path = exported(model, tmp_path, batch or 1, **({} if batch else {"dynamic_axes": {"image": {0: "batch"}}}))
    network = imported(model, tmp_path, heads=8)
    reference = run_onnx(path, network)
    assert reference.onnx and reference.outputs["classify"].shape == (16, 1, 10)
    assert check_import(network, reference, quiet)["classify"] < 1e-5
    wrong = imported(model, tmp_path, heads=2)
    with pytest.raises(HwgenError, match="number of heads 8 it agrees"):
        check_import(wrong, run_onnx(path, wrong), quiet)


@pytest.mark.filterwarnings("ignore")
def test_onnx_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, two = imported(vit(), tmp_path), imported(distilled(), tmp_path, pooling=None)
    path = exported(vit(), tmp_path)

    def message(network: Imported, pixels: Any = ([0.0] * 3, [1.0] * 3)) -> str:
        with pytest.raises(HwgenError) as caught:
            read_reference(path, network.model, lambda count: random_images(2), pixels)
        return caught.value.text().replace(str(tmp_path), "DIR")

    assert message(two) == (
        "DIR/model.onnx\n  expected: 2 output(s), one per task\n  found:    1\n"
        "  mend:     give the tasks' outputs as .npz"
    )
    assert message(network, None) == (
        "DIR/model.onnx\n  expected: a .npz of outputs, as a description does not tell the normalisation\n"
        "  found:    an ONNX file\n  mend:     compare the float network with it: --float"
    )
    path.write_bytes(b"text")
    assert message(network).startswith(
        "DIR/model.onnx\n  expected: an ONNX network of float32 pixels [batch, 3, 32, 32]\n  found:    "
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert message(network) == (
        "DIR/model.onnx\n  expected: onnxruntime, to run this file\n  found:    no such module\n"
        "  mend:     pip install 'hwgen[onnx]', or give the outputs as .npz"
    )
