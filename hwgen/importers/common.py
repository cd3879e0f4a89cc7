"""What all importers share: what is asked of the user, what they return, geometry, heads, normalisation.

Tested by tests/importers/test_timm.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict
from hwgen.network.description import WEIGHTS_FILE, Count, HeadKind, Model, Name, parse_model
from hwgen.network.floatmodel import FloatModel, check_checkpoint

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
GateKind = Literal["softmax_topk", "topk_softmax"]

#: What timm and M3ViT normalise with by default, for pixels in 0..1: mean and standard deviation of ImageNet.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: LayerNorm's epsilon in timm, M3ViT and Edge-MoE.
EPS = 1e-6


class Normalize(Strict):
    """(pixel - mean) / std, one value per image channel, in pixel codes 0..255."""

    mean: list[Finite]
    std: list[Positive]


class ImageSize(Strict):
    """In pixels."""

    height: Count
    width: Count


class TaskChoice(Strict):
    """Name of a task and, where the checkpoint leaves it open, its kind of head."""

    name: Name
    head: HeadKind | None = None


class Overrides(Strict):
    """What a checkpoint does not tell, or what is otherwise than inferred; None: infer it."""

    name: Name | None = None
    heads: Count | None = None
    head_dim: Count | None = None
    image_size: ImageSize | None = None
    normalize: Normalize | None = None
    layer_norm_eps: Positive | None = None
    top_k: Count | None = None
    gate: GateKind | None = None
    tasks: Annotated[list[TaskChoice], Field(min_length=1)] | None = None


@dataclass(frozen=True)
class Imported:
    """A float network read from a checkpoint.

    `tensors` have the names and shapes of hwgen.network.floatmodel; `mean`, `std` are in pixel codes 0..255. `source`
    says what was read, `notes` what was assumed or left out.
    """

    model: Model
    tensors: dict[str, np.ndarray]
    eps: float
    mean: list[float]
    std: list[float]
    source: str
    notes: list[str]

    def network(self, dtype: Any = np.float64) -> FloatModel:
        """For calibration in double precision, which keeps a machine's own rounding out of the ranges."""
        return FloatModel(self.model, self.tensors, eps=self.eps, mean=self.mean, std=self.std, dtype=dtype)


@dataclass
class Draft:
    """A network under construction; the importers fill it, `finish` checks it."""

    where: str
    source: str
    overrides: Overrides
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    #: Height and width of a patch, channels of the image.
    patch: tuple[int, int] = (0, 0)
    channels: int = 0

    @property
    def dim(self) -> int:
        """Width of a token, once there is an embedding."""
        return len(self.tensors["embed.w"])

    def linear(self, name: str, weight: np.ndarray, bias: np.ndarray) -> None:
        """Weight [out, in], bias [out]."""
        self.tensors |= {f"{name}.w": weight, f"{name}.b": bias}

    def norm(self, name: str, gamma: np.ndarray, beta: np.ndarray) -> None:
        """LayerNorm of [dim]."""
        self.tensors |= {f"{name}.g": gamma, f"{name}.b": beta}

    def conv(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Patch embedding [dim, channel, row, column]; the hardware's patches are [row][column][channel]."""
        _, self.channels, *patch = weight.shape
        self.patch = (patch[0], patch[1])
        self.linear("embed", weight.transpose(0, 2, 3, 1).reshape(len(weight), -1), bias)

    def ask(self, option: str, what: str) -> HwgenError:
        """The error that asks for a command line option; in YAML it is a key."""
        return HwgenError(self.where, expected=f"{what}, which the checkpoint does not tell", found="no value given",
                          mend=f"give `{option}`")  # fmt: skip

    def image_size(self, patches: int) -> tuple[int, int]:
        """Height and width of the image; inferred if a square one has this number of patches."""
        rows, columns = self.patch
        given = self.overrides.image_size
        if given is not None:
            found = (given.height // rows) * (given.width // columns)
            if given.height % rows or given.width % columns or found != patches:
                raise HwgenError(self.where, "image_size", found=f"{given.height}x{given.width}",
                                 expected=f"a size of {patches} patches of {rows}x{columns}")  # fmt: skip
            return given.height, given.width
        side = math.isqrt(patches)
        if side * side != patches:
            raise self.ask("--image-size HEIGHTxWIDTH", f"the size of {patches} patches of {rows}x{columns}")
        self.notes.append(f"image {side * rows}x{side * columns}: taken to be square in its {patches} patches")
        return side * rows, side * columns

    def heads(self, width: int, guess: int | None = None) -> tuple[int, int]:
        """Number and width of the attention heads whose q, k, v have `width` channels; `guess`: a head's width."""
        heads, head_dim = self.overrides.heads, self.overrides.head_dim
        if heads is None and head_dim is None:
            if guess is None or width % guess:
                raise self.ask("--heads", f"the number of attention heads of {width} channels")
            self.notes.append(f"{width // guess} heads: taken to be {guess} wide; else give --heads")
            return width // guess, guess
        heads = heads or width // (head_dim or width)
        head_dim = head_dim or width // heads
        if heads * head_dim != width:
            raise HwgenError(self.where, "heads", expected=f"heads * head_dim = {width}", found=f"{heads} * {head_dim}")
        return heads, head_dim

    def normalize(self, channels: int, default: tuple[Sequence[float], Sequence[float]] | None) -> Normalize:
        """In pixel codes; `default`: mean and std for pixels in 0..1, of three channels."""
        given = self.overrides.normalize
        if given is None:
            if default is None or len(default[0]) != channels:
                raise self.ask("--mean and --std", f"the normalisation of {channels} channel(s)")
            self.notes.append(f"normalisation by default: mean {_show(default[0])}, std {_show(default[1])} of 0..1")
            return Normalize(mean=[255 * value for value in default[0]], std=[255 * value for value in default[1]])
        for key, values in (("mean", given.mean), ("std", given.std)):
            if len(values) != channels:
                raise HwgenError(self.where, f"normalize.{key}", found=str(values),
                                 expected=f"{channels} number(s), one per image channel")  # fmt: skip
        return given

    def tasks(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The tasks of the checkpoint, renamed and with other kinds of heads as the user asks."""
        given = self.overrides.tasks
        if given is None:
            return found
        if len(given) != len(found):
            raise HwgenError(self.where, "tasks", expected=f"{len(found)} task(s), as the checkpoint has",
                             found=", ".join(task.name for task in given))  # fmt: skip
        return [task | choice.model_dump(exclude_none=True) for task, choice in zip(found, given, strict=True)]

    def finish(self, *, prefix: int, image: tuple[int, int], heads: tuple[int, int], normalize: Normalize,
               layers: list[dict[str, Any]], tasks: list[dict[str, Any]]) -> Imported:  # fmt: skip
        """`prefix`: tokens in front of the patches; `image`: height and width; `heads`: number and width."""
        structure = {
            "format": "hwgen-model", "version": 1, "name": self._name(), "weights": WEIGHTS_FILE,
            "image": {"height": image[0], "width": image[1], "channels": self.channels},
            "patch": {"height": self.patch[0], "width": self.patch[1]},
            "dim": self.dim, "heads": heads[0], "head_dim": heads[1],
            "class_token": prefix > 0, **({"distillation_token": True} if prefix > 1 else {}),
            "residual_fraction_bits": 0, "layers": layers, "tasks": tasks,
        }  # fmt: skip
        model = parse_model(structure, self.where)
        check_checkpoint(model, self.tensors, self.where)
        eps = self.overrides.layer_norm_eps or EPS
        return Imported(model, self.tensors, eps, normalize.mean, normalize.std, self.source, self.notes)

    def _name(self) -> str:
        """Of the model: as given, or the checkpoint's file name."""
        stem = Path(self.where).name.split(".")[0]
        return self.overrides.name or re.sub(r"\W+", "_", stem, flags=re.ASCII) or "model"


def _show(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
