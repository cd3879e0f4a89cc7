"""What all importers share: what is asked of the user, what they return, geometry, heads, normalisation.

Tested by tests/importers/test_timm.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict
from hwgen.importers.activation import SUPPORTED, check_activation
from hwgen.importers.positions import TIMM, Rule, resample
from hwgen.network.description import WEIGHTS_FILE, Count, HeadKind, Model, Name, parse_model
from hwgen.network.floatmodel import FloatModel, GivenWeights, check_checkpoint
from hwgen.network.resize import AS_A_WHOLE, Resize

if TYPE_CHECKING:
    from hwgen.importers.stated import Stated

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
GateKind = Literal["softmax_topk", "topk_softmax"]
Half = Literal["first", "last"]

#: Mean and standard deviation of ImageNet, for pixels in 0..1.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Of the networks timm took over from JAX ("augreg", the original ViT's), and of most of its others.
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
#: Formats without a config.json beside them.
WITHOUT_CONFIG = ("edge-moe", "hwgen")
#: Options of the command line that say the same as a key of `Overrides`.
OPTIONS = {"heads": "--heads", "normalize": "--mean and --std", "layer_norm_eps": "--layer-norm-eps",
           "activation": "--activation", "pooling": "--pooling", "activated": "--activated",
           "post_norm": "--post-norm"}  # fmt: skip
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
    activation: str | None = None
    pooling: str | None = None
    activated: Half | None = None
    post_norm: bool | None = None
    top_k: Count | None = None
    gate: GateKind | None = None
    tasks: Annotated[list[TaskChoice], Field(min_length=1)] | None = None
    resize: str | None = None


@dataclass(frozen=True)
class Imported:
    """A float network read from a checkpoint.

    `tensors` have the names and shapes of hwgen.network.floatmodel; `mean`, `std` are in pixel codes 0..255. `source`
    says what was read, `notes` what was read elsewhere or left out, `warnings` what was guessed or contradicts itself.
    `resize`: of pictures of another size, as the network was trained for. `given`: of layers with integer weights.
    """

    model: Model
    tensors: dict[str, np.ndarray]
    eps: float
    mean: list[float]
    std: list[float]
    activation: str
    source: str
    notes: list[str]
    warnings: list[str]
    resize: Resize = AS_A_WHOLE
    given: dict[str, GivenWeights] = field(default_factory=dict)

    def network(self, dtype: Any = np.float64) -> FloatModel:
        """For calibration in double precision, which keeps a machine's own rounding out of the ranges."""
        return FloatModel(self.model, self.tensors, eps=self.eps, mean=self.mean, std=self.std, dtype=dtype,
                          given=self.given)  # fmt: skip


@dataclass
class Draft:
    """A network under construction; the importers fill it, `finish` checks it.

    `overrides` have what the files `beside` the checkpoint state, where the user says nothing.
    """

    where: str
    source: str
    overrides: Overrides
    beside: Stated
    #: How positions are resampled.
    resampling: Rule = TIMM
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: What nobody tells, and the option that would; `finish` asks for all of it at once.
    missing: list[tuple[str, str]] = field(default_factory=list)
    #: Norms have no bias.
    rms_norm: bool = False
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

    def norm(self, name: str, gamma: np.ndarray, beta: np.ndarray | None) -> None:
        """LayerNorm of [dim], or without a bias RMSNorm."""
        self.tensors[f"{name}.g"] = gamma
        if beta is not None:
            self.tensors[f"{name}.b"] = beta

    def conv(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Patch embedding [dim, channel, row, column]; the hardware's patches are [row][column][channel]."""
        _, self.channels, *patch = weight.shape
        self.patch = (patch[0], patch[1])
        self.linear("embed", weight.transpose(0, 2, 3, 1).reshape(len(weight), -1), bias)

    def ask(self, option: str, what: str) -> HwgenError:
        """The error that asks for a command line option, and for all others that are missing; in YAML it is a key."""
        missing = [*self.missing, (option, what)]
        mend = "give " + ", ".join(f"`{option}`" for option, _ in missing)
        if self.source not in WITHOUT_CONFIG:
            mend += ", or put the network's config.json beside it"
        expected = "; ".join(what for _, what in missing) + ", which the checkpoint does not tell"
        return HwgenError(self.where, expected=expected, found="no value given", mend=mend)

    def assume(self, key: str, value: Any, why: str) -> None:
        """A value of `Overrides` that all networks of a kind have, where nobody states another; of the normalisation,
        which is the user's own when a network is trained on, with a warning."""
        if getattr(self.overrides, key) is not None or (key == "heads" and self.overrides.head_dim is not None):
            return
        self.overrides = self.overrides.model_copy(update={key: value})
        lines = self.warnings if key == "normalize" else self.notes
        lines.append(f"{key} {show(value)}: {why}; else give {OPTIONS[key]}")

    @property
    def asked_size(self) -> ImageSize | None:
        """Of the image, as the user says."""
        return None if "image_size" in self.beside.taken else self.overrides.image_size

    def positions(self, position: np.ndarray, prefix: int) -> np.ndarray:
        """Position embeddings [N, D], `prefix` of them of other tokens than patches, of the size that the user asks
        for."""
        asked, trained = self.asked_size, self.beside.values.get("image_size")
        patches = len(position) - prefix
        if asked is None:
            return position
        rows, columns = grid = self.grid(asked)
        if rows * columns == patches and trained in (None, asked):
            return position
        side = math.isqrt(patches)
        before = (side, side)
        if trained is not None and math.prod(self.grid(trained)) == patches:
            before = self.grid(trained)
        elif side * side != patches:
            raise HwgenError(self.where, "image_size", found=show(asked),
                             expected=f"a size of {patches} patches of {self.patch[0]}x{self.patch[1]}, as they make "
                             "no square that could be resampled")  # fmt: skip
        if before == grid:
            return position
        self.notes.append(f"positions of {before[0]}x{before[1]} patches resampled to {rows}x{columns}, "
                          + self.resampling.text())  # fmt: skip
        values = resample(position[prefix:].reshape(*before, -1), grid, self.resampling)
        return np.concatenate([position[:prefix], values.reshape(rows * columns, -1)])

    def grid(self, size: ImageSize) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.patch
        if size.height % rows or size.width % columns:
            raise HwgenError(self.where, "image_size", expected=f"a multiple of the patches, {rows}x{columns}",
                             found=show(size), mend=self.stated("image_size", "--image-size"))  # fmt: skip
        return size.height // rows, size.width // columns

    def stated(self, key: str, option: str) -> str:
        """How to mend a value that a file beside the checkpoint states; nothing for the user's own."""
        origin = self.beside.taken.get(key)
        return f"{origin} states it; if it is wrong give `{option}`" if origin else ""

    def image_size(self, patches: int) -> tuple[int, int]:
        """Height and width of the image; inferred if a square one has this number of patches."""
        rows, columns = self.patch
        given = self.overrides.image_size
        if given is not None:
            if given.height % rows or given.width % columns or math.prod(self.grid(given)) != patches:
                raise HwgenError(self.where, "image_size", found=f"{given.height}x{given.width}",
                                 expected=f"a size of {patches} patches of {rows}x{columns}",
                                 mend=self.stated("image_size", "--image-size"))  # fmt: skip
            return given.height, given.width
        side = math.isqrt(patches)
        if side * side != patches:
            raise self.ask("--image-size HEIGHTxWIDTH", f"the size of {patches} patches of {rows}x{columns}")
        self.notes.append(f"image {side * rows}x{side * columns}: taken to be square in its {patches} patches")
        return side * rows, side * columns

    def heads(self, width: int, constant: int | None = None, hint: str = "") -> tuple[int, int]:
        """Number and width of the attention heads whose q, k, v have `width` channels.

        `constant`: a head's width in all networks of this format; `hint`: for the question.
        """
        heads, head_dim = self.overrides.heads, self.overrides.head_dim
        if heads is None and head_dim is None:
            if constant is None or width % constant:
                self.missing.append(("--heads", f"the number of attention heads of {width} channels{hint}"))
                return 1, width
            self.notes.append(f"{width // constant} heads: taken to be {constant} wide; else give --heads")
            return width // constant, constant
        heads = heads or width // (head_dim or width)
        head_dim = head_dim or width // heads
        if heads * head_dim != width:
            raise HwgenError(self.where, "heads", expected=f"heads * head_dim = {width}", found=f"{heads} * {head_dim}",
                             mend=self.stated("heads", "--heads"))  # fmt: skip
        return heads, head_dim

    def normalize(self, channels: int, hint: str = "") -> Normalize:
        """In pixel codes; `hint`: for the question."""
        given = self.overrides.normalize
        if given is None:
            self.missing.append(("--mean and --std", f"the normalisation of {channels} channel(s){hint}"))
            return in_codes(((0.0,) * channels, (1.0,) * channels))
        for key, values in (("mean", given.mean), ("std", given.std)):
            if len(values) != channels:
                raise HwgenError(self.where, f"normalize.{key}", found=str(values),
                                 expected=f"{channels} number(s), one per image channel",
                                 mend=self.stated("normalize", "--mean and --std"))  # fmt: skip
        return given

    def activation(self, constant: str | None = None) -> str:
        """Of the MLPs; `constant`: in all networks of this format."""
        given = self.overrides.activation or constant
        if given is None:
            self.missing.append(("--activation gelu", "the activation of the MLPs (gelu is the exact one, by erf)"))
            return SUPPORTED[0]
        return check_activation(given, self.where, self.stated("activation", "--activation"))

    def activated_half(self) -> str:
        """Which half of a gated MLP's first layer, both in one, the activation takes."""
        option = "--activated first` or `--activated last"
        if self.overrides.activated is None and option not in dict(self.missing):
            what = "which half of the gated MLPs' first layer is activated (first: DINOv2's and timm's SwiGLUPacked)"
            self.missing.append((option, what))
        return self.overrides.activated or "first"

    def tasks(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The tasks of the checkpoint, renamed and with other kinds of heads as the user asks."""
        given = self.overrides.tasks
        if given is None:
            return found
        if len(given) != len(found):
            raise HwgenError(self.where, "tasks", expected=f"{len(found)} task(s), as the checkpoint has",
                             found=", ".join(task.name for task in given))  # fmt: skip
        return [task | choice.model_dump(exclude_none=True) for task, choice in zip(found, given, strict=True)]

    def finish(self, *, image: tuple[int, int], heads: tuple[int, int], normalize: Normalize,
               activation: str, layers: list[dict[str, Any]], tasks: list[dict[str, Any]]) -> Imported:  # fmt: skip
        """`image`: height and width; `heads`: number and width."""
        if self.missing:
            raise self.ask(*self.missing.pop())
        for one in (*layers, *(task for task in tasks if "mlp" in task)):
            one["mlp"]["activation"] = activation
        structure = {
            "format": "hwgen-model", "version": 2, "name": self._name(), "weights": WEIGHTS_FILE,
            "image": {"height": image[0], "width": image[1], "channels": self.channels},
            "patch": {"height": self.patch[0], "width": self.patch[1]},
            "dim": self.dim, "heads": heads[0], "head_dim": heads[1],
            **{key: name in self.tensors for key, name in (("class_token", "cls"), ("distillation_token", "dist"))},
            "register_tokens": len(self.tensors.get("reg", ())), "norm_pre": "pre.g" in self.tensors,
            "qk_norm": "l0.qn.g" in self.tensors, "rms_norm": "l0.n1.b" not in self.tensors,
            "post_norm": bool(self.overrides.post_norm),
            "residual_fraction_bits": 0, "layers": layers, "tasks": tasks,
        }  # fmt: skip
        model = parse_model(structure, self.where)
        check_checkpoint(model, self.tensors, self.where)
        eps = self.overrides.layer_norm_eps
        if eps is None:
            eps = EPS
            norm = "RMSNorm" if model.rms_norm else "LayerNorm"
            self.notes.append(f"{norm} epsilon {EPS:g}: as in most of these networks; else give --layer-norm-eps")
        return Imported(model, self.tensors, eps, normalize.mean, normalize.std, activation, self.source, self.notes,
                        self.warnings)  # fmt: skip

    def _name(self) -> str:
        """Of the model: as given, or the checkpoint's file name."""
        stem = Path(self.where).name.split(".")[0]
        return self.overrides.name or re.sub(r"\W+", "_", stem, flags=re.ASCII) or "model"


def in_codes(pair: tuple[Sequence[float], Sequence[float]]) -> Normalize:
    """Of mean and standard deviation for pixels in 0..1."""
    mean, std = ([255 * value for value in values] for values in pair)
    return Normalize(mean=mean, std=std)


def show(value: Any) -> str:
    """A value of `Overrides` as the command line takes it."""
    if isinstance(value, Normalize):
        mean, std = (",".join(f"{number / 255:.6g}" for number in numbers) for numbers in (value.mean, value.std))
        return f"mean {mean} std {std}"
    if isinstance(value, ImageSize):
        return f"{value.height}x{value.width}"
    return f"{value:g}" if isinstance(value, float) else str(value)
