"""What reads files from elsewhere: for each kind a valid small file, how it is spoilt, and its reader."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import safetensors.numpy

from hwgen.common.errors import HwgenError
from hwgen.network import description
from tests.fuzz.binaries import (
    spoil_bytes,
    spoil_npy,
    spoil_npz,
    spoil_onnx,
    spoil_png,
    spoil_safetensors,
    spoil_torch,
)
from tests.fuzz.documents import spoil_json, spoil_yaml
from tests.fuzz.guard import Fault, outcome

__all__ = ["TARGETS", "Target", "prepared", "tried"]

Spoil = Callable[[Random, bytes], bytes]


@dataclass(frozen=True)
class Target:
    """`make` writes a valid folder and gives the file in it that is spoilt; `read` gets that file's path.

    `allowed`: how the reader says that the file is bad. `share`: of the examples, for slow readers.
    """

    make: Callable[[Path], Path]
    spoil: Spoil
    read: Callable[[Path], Any]
    allowed: type[Exception] = HwgenError
    share: float = 1.0


def _config(folder: Path) -> Path:
    from tests.random_model import small_description

    description.save(small_description(), folder / "model")
    np.savez(folder / "images.npz", images=np.zeros((2, 4, 6, 1), np.uint8))
    (folder / "config.yaml").write_text(
        "model: model\narray: {t: 4, c: 4, k: 4, multiplier_bits: 27}\n"
        "buses: {weights: 64, data: 64, weight_ports: 1}\naxi: {burst: 16, id_bits: 1, cache: 3, prot: 0}\n"
        "rtl: {prefix: a_, debug: true, ram_init: false}\nbuffers: {weight_depth: 300, on_chip: 3000 KB}\n"
        "batch: 2\nclear: true\nbackends: [amaranth, hls]\nimages: {random3: images.npz}\ndevice: xck26\n".replace(
            "random3", description.load(folder / "model").model.name
        )
    )  # fmt: skip
    return folder / "config.yaml"


def _model(folder: Path) -> Path:
    return _config(folder).parent / "model" / "model.yaml"


def _weights(folder: Path) -> Path:
    return _config(folder).parent / "model" / "weights.safetensors"


def _space(folder: Path) -> Path:
    path = _config(folder).parent / "space.yaml"
    path.write_text(
        "array: {t: [4, 8], c: [8, 16], k: [4]}\nbuses: {weights: [64, 128], data: [64], weight_ports: [1, 2]}\n"
        "weight_depth: [auto, 1024]\ninstruction_queue: [16]\nbatch: [1, 2]\nweight_bits: [4, 8]\n"
    )
    return path


def _read_config(path: Path) -> object:
    from hwgen.config import is_config, load_project

    is_config(path)
    return load_project(path)


def _read_space(path: Path) -> object:
    from hwgen.explore.space import configuration, points, read_space

    project = _project(path.parent)
    return [configuration(project.config, one, None) for one in points(read_space(path), project, str(path))[:20]]


@cache
def _project(folder: Path) -> Any:
    from hwgen.config import load_project

    return load_project(folder / "config.yaml")


def _tensors() -> dict[str, np.ndarray]:
    """A ViT by timm's names: 8 x 8 pixels, 4 patches, a block, a width of 8."""
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    block = {
        "norm1.weight": some(8), "norm1.bias": some(8), "attn.qkv.weight": some(24, 8), "attn.qkv.bias": some(24),
        "attn.proj.weight": some(8, 8), "attn.proj.bias": some(8), "norm2.weight": some(8), "norm2.bias": some(8),
        "mlp.fc1.weight": some(12, 8), "mlp.fc1.bias": some(12), "mlp.fc2.weight": some(8, 12), "mlp.fc2.bias": some(8),
    }  # fmt: skip
    return {
        "cls_token": some(1, 1, 8), "pos_embed": some(1, 5, 8), "patch_embed.proj.weight": some(8, 3, 4, 4),
        "patch_embed.proj.bias": some(8), **{f"blocks.0.{name}": value for name, value in block.items()},
        "norm.weight": some(8), "norm.bias": some(8), "head.weight": some(3, 8), "head.bias": some(3),
    }  # fmt: skip


def _given() -> Any:
    from hwgen.importers import Normalize, Overrides

    return Overrides(heads=2, normalize=Normalize(mean=[1.0] * 3, std=[2.0] * 3), activation="gelu", pooling="token")


def _safetensors(folder: Path) -> Path:
    safetensors.numpy.save_file(_tensors(), folder / "model.safetensors")
    return folder / "model.safetensors"


def _npz(folder: Path) -> Path:
    np.savez(folder / "model.npz", **_tensors())  # type: ignore[arg-type]
    return folder / "model.npz"


def _torch(folder: Path, *, zipped: bool = True) -> Path:
    import torch

    state = {name: torch.tensor(value) for name, value in _tensors().items()}
    content = {"state_dict": state, "epoch": 3, "lr": np.float64(0.1)}
    torch.save(content, folder / "model.pth", _use_new_zipfile_serialization=zipped)
    return folder / "model.pth"


def _hub(folder: Path, name: str) -> Path:
    """A folder of the hub, its weights in two files."""
    tensors = _tensors()
    files = {"a.safetensors": list(tensors)[:9], "b.safetensors": list(tensors)[9:]}
    for file, names in files.items():
        safetensors.numpy.save_file({one: tensors[one] for one in names}, folder / file)
    places = {one: file for file, names in files.items() for one in names}
    contents = {
        "model.safetensors.index.json": {"metadata": {"total_size": 1}, "weight_map": places},
        "config.json": {
            "model_type": "vit", "hidden_size": 8, "num_attention_heads": 2, "layer_norm_eps": 1e-6,
            "hidden_act": "gelu",
            "image_size": 8, "patch_size": 4, "id2label": {"0": "a", "1": "b", "2": "c"},
        },
        "preprocessor_config.json": {
            "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3, "size": {"height": 8, "width": 8}, "resample": 3, "do_resize": True,
            "do_center_crop": True, "crop_size": {"height": 8, "width": 8},
        },
    }  # fmt: skip
    if name == "timm.json":
        name = "config.json"
        contents[name] = {
            "architecture": "vit_tiny_patch16_224", "num_classes": 3, "num_features": 8, "global_pool": "token",
            "model_args": {"num_heads": 2, "act_layer": "gelu", "img_size": [8, 8]},
            "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 8, 8], "crop_pct": 0.9,
                               "interpolation": "bicubic", "crop_mode": "center"},
        }  # fmt: skip
    for file, content in contents.items():
        (folder / file).write_text(json.dumps(content))
    return folder / name


def _load(path: Path) -> object:
    from hwgen.importers import load

    return load(path, overrides=_given())


def _load_folder(path: Path) -> object:
    from hwgen.importers import load

    return load(path.parent)


def _quantize(folder: Path) -> Path:
    _safetensors(folder)
    path = folder / "quantize.yaml"
    path.write_text(
        "format: timm\ncheckpoint: model.safetensors\ncalibration: images.npz\nimages: 2\nheads: 2\n"
        "image_size: {height: 8, width: 8}\nnormalize: {mean: [1.0, 2.0, 3.0], std: [1.0, 1.0, 1.0]}\n"
        "layer_norm_eps: 1.0e-6\nactivation: gelu\npooling: token\ntasks: [{name: a, head: class_token}]\n"
        "resize: '8:bicubic'\noptions: {weight_bits: {'*': 4}}\n"
    )
    return path


def _read_quantize(path: Path) -> object:
    from hwgen.quantize.job import read_job

    return read_job(path)


def _onnx(folder: Path) -> Path:
    """As torch exports the network of `_tensors`."""
    from contextlib import redirect_stdout
    from warnings import catch_warnings, simplefilter

    import torch

    from tests.importers.timm_models import vit

    model = vit(img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, mlp_ratio=1.5, num_classes=3)
    with catch_warnings(), redirect_stdout(io.StringIO()):
        simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(1, 3, 8, 8),), folder / "model.onnx", dynamo=False, input_names=["image"])
    return folder / "model.onnx"


def _load_onnx(path: Path) -> object:
    from hwgen.importers import Normalize, Overrides, load

    return load(path, overrides=Overrides(normalize=Normalize(mean=[1.0] * 3, std=[2.0] * 3)))


IMAGE = description.Image(height=8, width=6, channels=3)


def _images(folder: Path, name: str, **options: Any) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    path = folder / name
    if name.endswith(".npz"):
        np.savez(path, images=pixels[None], labels=np.zeros(1, np.int64))
    elif name.endswith(".npy"):
        np.save(path, pixels[None])
    else:
        from PIL import Image

        Image.fromarray(pixels).resize((9, 9)).save(path, **options)
    return path


def _read_images(path: Path) -> object:
    from hwgen.network.images import load_images

    return load_images(path, IMAGE)


@cache
def _built(home: Path) -> Path:
    """A build, with hollow Verilog: it is not read here."""
    import pytest

    from hwgen.build import build
    from hwgen.rtl import emit
    from tests.hollow import hollow_verilog

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emit, "accelerator_verilog", hollow_verilog)
        config = _config(home)
        config.write_text("\n".join(line for line in config.read_text().splitlines() if not line.startswith("device")))
        build(config, home / "out")
    return home / "out"


def _build(folder: Path, name: str) -> Path:
    return _built(folder) / name


def _load_build(path: Path) -> object:
    from hwgen.build import load_build

    made = load_build(path.parent)
    return made.emission, made.home, made.params.as_dict(), made.images


def _driver(path: Path) -> object:
    """A model as the driver for Python reads it, without PYNQ."""
    home = path.parent / "driver" / "python" / "hwgen_driver"
    package = ModuleType("hwgen_driver")
    package.__path__ = [str(home)]
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "hwgen_driver"}
    sys.modules["hwgen_driver"] = package
    try:
        errors = importlib.import_module("hwgen_driver.errors")
        try:
            return importlib.import_module("hwgen_driver.model").Model(path.parent)
        except errors.DriverError as error:
            raise HwgenError(str(path), expected="what the driver reads", found=str(error)) from None
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "hwgen_driver"]:
            del sys.modules[name]
        sys.modules.update(before)


TARGETS: dict[str, Target] = {
    "config": Target(_config, spoil_yaml, _read_config, share=0.5),
    "model": Target(_model, spoil_yaml, lambda path: description.load(path)),
    "weights": Target(_weights, spoil_safetensors, lambda path: description.load(path.parent)),
    "space": Target(_space, spoil_yaml, _read_space),
    "quantize": Target(_quantize, spoil_yaml, _read_quantize),
    "safetensors": Target(_safetensors, spoil_safetensors, _load),
    "npz": Target(_npz, spoil_npz, _load),
    "torch": Target(_torch, spoil_torch, _load),
    "torch-old": Target(partial(_torch, zipped=False), spoil_torch, _load),
    "index": Target(partial(_hub, name="model.safetensors.index.json"), spoil_json, _load_folder),
    "transformers": Target(partial(_hub, name="config.json"), spoil_json, _load_folder),
    "preprocessor": Target(partial(_hub, name="preprocessor_config.json"), spoil_json, _load_folder),
    "timm": Target(partial(_hub, name="timm.json"), spoil_json, _load_folder),
    "onnx": Target(_onnx, spoil_onnx, _load_onnx, share=0.3),
    "png": Target(partial(_images, name="a.png"), spoil_png, _read_images),
    "jpeg": Target(partial(_images, name="a.jpg"), spoil_bytes, _read_images),
    "tiff": Target(partial(_images, name="a.tif"), spoil_bytes, _read_images),
    "webp": Target(partial(_images, name="a.webp", lossless=True), spoil_bytes, _read_images),
    "bmp": Target(partial(_images, name="a.bmp"), spoil_bytes, _read_images),
    "images-npz": Target(partial(_images, name="a.npz"), spoil_npz, _read_images),
    "images-npy": Target(partial(_images, name="a.npy"), spoil_npy, _read_images),
    "manifest": Target(partial(_build, name="manifest.json"), spoil_json, _load_build, share=0.5),
    "driver-manifest": Target(partial(_build, name="manifest.json"), spoil_json, _driver),
    "memory-map": Target(partial(_build, name="memory_map.json"), spoil_json, _driver),
}


def prepared(name: str, home: Path) -> tuple[Path, bytes]:
    """The file to spoil in a folder below `home`, and its bytes."""
    folder = home / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    path = TARGETS[name].make(folder)
    data = path.read_bytes()
    # Modules are imported and caches filled before memory is measured; and the file is valid.
    found = outcome(TARGETS[name].read, path, TARGETS[name].allowed)
    if found is not None:
        raise Fault(f"{name}: a valid file is refused:\n{found}")
    return path, data


def tried(name: str, path: Path, data: bytes) -> str | None:
    """What the reader says of these bytes. Raises Fault."""
    path.write_bytes(data)
    return outcome(TARGETS[name].read, path, TARGETS[name].allowed)


if sys.byteorder != "little":  # the headers made here are
    raise ImportError("little-endian machines only")
