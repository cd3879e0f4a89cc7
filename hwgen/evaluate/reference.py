"""Outputs that another implementation of a float network computed: is the import that network, and how far is the
integer model from it? A comparison with the import itself cannot show a wrong assumption; this one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.common.archive import names_in, read_npz
from hwgen.common.errors import HwgenError
from hwgen.evaluate.doubts import explain
from hwgen.evaluate.error import relative_rms, sqnr_db
from hwgen.importers import Imported
from hwgen.network.description import Model

#: The import's largest relative root mean square error against a reference.
LIMIT = 1e-3
#: An ONNX file is run on so many images.
ONNX_IMAGES = 16
PREFIX, SUFFIX = "outputs_", ".values"


@dataclass(frozen=True)
class Reference:
    """images: uint8 [B, H, W, C]; outputs: by task, float64 [B, rows, outputs]; onnx: computed from pixels that were
    normalised as in the import, so that says nothing on the normalisation."""

    where: str
    images: np.ndarray
    outputs: Mapping[str, np.ndarray]
    onnx: bool = False


@dataclass(frozen=True)
class Agreement:
    """With a reference, by task. errors: relative rms of the import, empty if there was none; sqnr: of the integer
    model in dB, empty if there was none."""

    reference: Reference
    errors: Mapping[str, float]
    sqnr: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"file": self.reference.where, "images": len(self.reference.images),
                "import_relative_rms": dict(self.errors), "integer_sqnr_db": dict(self.sqnr)}  # fmt: skip


def read_reference(path: Path, model: Model, images: Callable[[int], np.ndarray],
                   pixels: tuple[list[float], list[float]] | None) -> Reference:  # fmt: skip
    """Of a .npz with `outputs_TASK` (or `TASK.values`, as `hwgen run` writes them) for the first images, or for the
    `images` in it; or by running an .onnx of the network.

    `images(count)`: the first `count` images, or all if there are fewer; `pixels`: mean and std in pixel codes.
    """
    if path.suffix.lower() == ".onnx":
        if pixels is None:
            raise HwgenError(str(path), expected="a .npz of outputs, as a description does not tell the normalisation",
                             found="an ONNX file", mend="compare the float network with it: --float")  # fmt: skip
        seen = images(ONNX_IMAGES)
        return Reference(str(path), seen, _shaped(_run_onnx(path, model, seen, pixels), model, str(path)), onnx=True)
    arrays = _read_npz(path)
    found = {_task(name): array for name, array in arrays.items() if name != "images"}
    outputs = _shaped(found, model, str(path))
    count = len(next(iter(outputs.values())))
    seen = arrays["images"] if "images" in arrays else images(count)
    image = model.image
    shape = (image.height, image.width, image.channels)
    if seen.ndim == 3:
        seen = seen[..., None]
    if seen.dtype != np.uint8 or seen.shape[1:] != shape or len(seen) < count:
        raise HwgenError(str(path), "images", expected=f"uint8 {[count, *shape]}, an image for each output",
                         found=f"{seen.dtype.name} {list(seen.shape)}",
                         mend="give outputs of the first calibration images, or the images beside them")  # fmt: skip
    return Reference(str(path), seen[:count], outputs)


def check_import(imported: Imported, reference: Reference, progress: Callable[[str], None]) -> dict[str, float]:
    """Relative rms error of the float network by task. Beyond LIMIT: HwgenError, with the assumption to doubt."""
    network, errors = imported.network(), {}
    for task, wanted in reference.outputs.items():
        progress(f"comparing the import with {reference.where}: {task}")
        found = network.run(reference.images, task)
        errors[task] = relative_rms(found, wanted)
        if not errors[task] <= LIMIT:
            worst = int(np.argmax([relative_rms(*pair) for pair in zip(found, wanted, strict=True)]))
            one = slice(worst, worst + 1)
            mend = explain(imported, task, reference.images[one], wanted[one], LIMIT, not reference.onnx, progress)
            raise HwgenError(reference.where, f"outputs_{task}", mend=mend,
                             expected=f"the import's outputs within {LIMIT:g} of these (relative rms)",
                             found=f"{errors[task]:.3g} on {len(found)} image(s)")  # fmt: skip
    return errors


def integer_sqnr(values: Mapping[str, np.ndarray], reference: Reference) -> dict[str, float]:
    """SQNR in dB by task of integer outputs [B, rows, outputs] in real numbers, of the reference's images at least."""
    return {
        task: sqnr_db(values[task][: len(wanted)], wanted)
        for task, wanted in reference.outputs.items()
        if task in values
    }


def _task(name: str) -> str:
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else name.removesuffix(SUFFIX)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    expected = "a .npz with arrays `outputs_TASK`, or an .onnx file"
    arrays = read_npz(
        path, expected, lambda name: name == "images" or name.startswith(PREFIX) or name.endswith(SUFFIX)
    )  # fmt: skip
    if not arrays.keys() - {"images"}:
        raise HwgenError(str(path), expected="arrays `outputs_TASK`, one per task of the network",
                         found=", ".join(names_in(path)) or "nothing")  # fmt: skip
    return arrays


def _shaped(found: Mapping[str, np.ndarray], model: Model, where: str) -> dict[str, np.ndarray]:
    """The outputs of the model's tasks as float64 [B, rows, outputs]; HwgenError if they do not fit."""
    names = [task.name for task in model.tasks]
    first = next(iter(found.values()))
    count = len(first) if first.ndim else 0
    shaped = {}
    for name, array in found.items():
        if name not in names:
            raise HwgenError(where, f"{PREFIX}{name}", expected="a task of the network", found=repr(name),
                             mend=f"its tasks are {', '.join(names)}")  # fmt: skip
        shape = (count, *model.output_shape(model.tasks[names.index(name)]))
        if array.dtype.kind != "f" or not count or len(array) != count or array.size != np.prod(shape):
            raise HwgenError(where, f"{PREFIX}{name}", expected=f"floats {list(shape)}",
                             found=f"{array.dtype.name} {list(array.shape)}")  # fmt: skip
        shaped[name] = array.reshape(shape).astype(np.float64)
        if not np.isfinite(shaped[name]).all() or not shaped[name].any():
            raise HwgenError(where, f"{PREFIX}{name}", expected="finite numbers, not all zero", found="others")
    return shaped


def _run_onnx(path: Path, model: Model, images: np.ndarray,
              pixels: tuple[list[float], list[float]]) -> dict[str, np.ndarray]:  # fmt: skip
    """Outputs by task of a graph that takes normalised float32 pixels [B, C, H, W]: its outputs in order."""
    try:
        import onnxruntime
    except ImportError:
        raise HwgenError(str(path), expected="onnxruntime, to run this file", found="no such module",
                         mend="pip install 'hwgen[onnx]', or give the outputs as .npz") from None  # fmt: skip
    mean, std = (np.array(values) for values in pixels)
    given = ((images - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        size = session.get_inputs()[0].shape[0]
        step = size if isinstance(size, int) and size > 0 else len(given)
        # A fixed batch is filled up with the last image.
        padded = np.concatenate([given, np.repeat(given[-1:], -len(given) % step, 0)])
        runs = [session.run(None, {session.get_inputs()[0].name: padded[start : start + step]})
                for start in range(0, len(padded), step)]  # fmt: skip
    except Exception as error:  # onnxruntime's own kinds
        size = ", ".join(map(str, given.shape[1:]))
        raise HwgenError(str(path), expected=f"an ONNX network of float32 pixels [batch, {size}]",
                         found=(str(error) or type(error).__name__).splitlines()[0]) from None  # fmt: skip
    outputs = [np.concatenate(parts)[: len(given)] for parts in zip(*runs, strict=True)]
    if len(outputs) != len(model.tasks):
        raise HwgenError(str(path), expected=f"{len(model.tasks)} output(s), one per task", found=str(len(outputs)),
                         mend="give the tasks' outputs as .npz")  # fmt: skip
    return {task.name: output for task, output in zip(model.tasks, outputs, strict=True)}
