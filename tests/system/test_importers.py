"""A small network of every importer, quantized, on the emitted Verilog: as the golden model, to the bit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from hwgen.importers import Imported, Normalize, Overrides, load
from hwgen.importers.common import ImageSize
from hwgen.network.description import Description, Image
from hwgen.network.floatmodel import expected_checkpoint
from hwgen.quantize import quantize_network
from hwgen.quantize.options import Options
from tests.importers.moe_models import COLUMNS, PATCH, ROWS, edge_moe_folder, state_dict
from tests.importers.timm_models import NORMALIZE, distilled, told, vit
from tests.system.helpers import Work, assert_same, harness
from tests.system.test_edge_moe import hardware, two_layers

SMALL = {"img_size": 16, "embed_dim": 32, "mlp_ratio": 2, "init_values": 0.5}
SIZE = ImageSize(height=ROWS * PATCH, width=COLUMNS * PATCH)
MOE = Overrides(heads=4, top_k=2, image_size=SIZE)


def timm_checkpoint(directory: Path) -> Imported:
    torch.save(vit(**SMALL).state_dict(), directory / "model.pth")
    return load(directory / "model.pth", "timm", told())


def distilled_checkpoint(directory: Path) -> Imported:
    torch.save(distilled(**SMALL).state_dict(), directory / "model.pth")
    return load(directory / "model.pth", "timm", told(pooling=None))


def pooled_checkpoint(directory: Path) -> Imported:
    torch.save(vit(**SMALL, global_pool="avg").state_dict(), directory / "model.pth")
    return load(directory / "model.pth", "timm", told(pooling="avg"))


def many_classes_checkpoint(directory: Path) -> Imported:
    """A head as of ImageNet-21k."""
    torch.save(vit(**SMALL, num_classes=22000).state_dict(), directory / "model.pth")
    return load(directory / "model.pth", "timm", told())


def m3vit_checkpoint(directory: Path) -> Imported:
    np.savez(directory / "model.npz", **state_dict(noisy=True))
    return load(directory / "model.npz", "m3vit", MOE)


def edge_moe_checkpoint(directory: Path) -> Imported:
    return load(edge_moe_folder(state_dict(seed=1), directory), "edge-moe", Overrides(image_size=SIZE))


def hwgen_checkpoint(directory: Path) -> Imported:
    """The timm network's structure with random weights."""
    model = timm_checkpoint(directory).model
    rng = np.random.default_rng(0)
    shapes = expected_checkpoint(model)
    np.savez(directory / "own.npz", **{name: rng.normal(0, shape[-1] ** -0.5, shape) for name, shape in shapes.items()})
    given = Overrides(heads=2, normalize=Normalize(mean=[128.0] * 3, std=[64.0] * 3))
    return load(directory / "own.npz", "hwgen", given)


def onnx_checkpoint(directory: Path) -> Imported:
    """A network of the same structure as timm's."""
    torch.onnx.export(
        vit(**SMALL, qkv_bias=False), (torch.zeros(1, 3, 16, 16),), directory / "model.onnx", dynamo=False
    )
    return load(directory / "model.onnx", "onnx", Overrides(normalize=NORMALIZE))


CHECKPOINTS = {
    "timm": timm_checkpoint,
    "distilled": distilled_checkpoint,
    "mean pooling": pooled_checkpoint,
    "22,000 classes": many_classes_checkpoint,
    "m3vit": m3vit_checkpoint,
    "edge-moe": edge_moe_checkpoint,
    "hwgen": hwgen_checkpoint,
    "onnx": onnx_checkpoint,
}
#: The experts of one of them have four bits.
OPTIONS = {"edge-moe": Options(weight_bits={"layers.*.moe.experts.*": 4})}


def random_images(image: Image, count: int, seed: int) -> np.ndarray:
    shape = (count, image.height, image.width, image.channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def description(name: str) -> Description:
    with TemporaryDirectory() as directory:
        imported = CHECKPOINTS[name](Path(directory))
    images = random_images(imported.model.image, 16, 0)
    return quantize_network(imported.network(), images, OPTIONS.get(name, Options()), lambda line: None)


@pytest.mark.filterwarnings("ignore")  # the ONNX exporter's own
def test_to_the_bit(tmp_path: Path) -> None:
    """They share one accelerator, that of Edge-MoE's layers, and take turns on it."""
    descriptions = [description(name) for name in CHECKPOINTS]
    p = hardware(two_layers(tmp_path))
    works = [Work(one, p, random_images(one.model.image, 2, 1)) for one in descriptions]
    runs = [(work, task, run) for run in range(2) for work in works for task in work.tasks]
    assert len(runs) == 2 * (5 * 1 + 3 * 2)
    assert_same(harness(p), runs)
    for work, task, run in runs:
        assert len(np.unique(work.tensors(task, run)[f"{task}.output"])) > 3
