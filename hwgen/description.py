"""The quantized description, `model.yaml` + `weights.safetensors`: structure, tensor table, loading, saving.

`docs/description.md` is the contract. `expected_tensors` is the one table of names, shapes, types and ranges; loader,
quantizer and the random generator of the tests are all checked against it.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import safetensors.numpy
from pydantic import Field

from hwgen import tables
from hwgen.errors import HwgenError
from hwgen.strict_yaml import Strict, dump_yaml, read_yaml, validate

MODEL_FILE = "model.yaml"
WEIGHTS_FILE = "weights.safetensors"
#: Largest `dim`: LayerNorm's V = D·Σx² − (Σx)² + eps must stay below 2^52 for any int16 x.
MAX_DIM = 2047
#: Largest number of inputs of a matrix product: |acc| <= Cin·255·128 must stay below 2^31.
MAX_INPUTS = 65535
#: Largest number of tokens: ⌊2^24 / Σp⌋ must not become zero.
MAX_TOKENS = 65535
MAX_EPS = 1 << 40

Count = Annotated[int, Field(ge=1, le=MAX_INPUTS)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
HeadKind = Literal["class_token", "distillation_token", "mean", "mean_norm", "every_token", "none"]


class Image(Strict):
    """Input raster, [row][column][channel] uint8."""

    height: Count
    width: Count
    channels: Count


class Patch(Strict):
    """Size of one patch in pixels."""

    height: Count
    width: Count


class DenseMlp(Strict):
    """fc2(gelu(fc1(y)))."""

    kind: Literal["dense"]
    hidden: Count


class MoeMlp(Strict):
    """Mixture of experts: the `top_k` experts the running task's gate picks."""

    kind: Literal["moe"]
    experts: Annotated[int, Field(ge=2, le=MAX_INPUTS)]
    hidden: Count
    top_k: Count
    gate: Literal["softmax_topk", "topk_softmax"]


class Layer(Strict):
    """One transformer block: attention and an MLP."""

    mlp: Annotated[DenseMlp | MoeMlp, Field(discriminator="kind")]


class Task(Strict):
    """One task: its head and whether a final LayerNorm precedes it. `outputs` is None for `head: none` only."""

    name: Name
    head: HeadKind
    outputs: Count | None = None
    norm: bool

    @property
    def rescale(self) -> bool:
        """Whether the residual stream is rescaled to int8 instead of normalized, or before it is."""
        return self.head == "mean_norm" or (not self.norm and self.head != "none")


class Model(Strict):
    """The whole of `model.yaml`."""

    format: Literal["hwgen-model"]
    version: Literal[1]
    name: Name
    weights: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    image: Image
    patch: Patch
    dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    heads: Count
    head_dim: Count
    class_token: bool
    #: Distilled DeiT's second token, behind the class token.
    distillation_token: bool = False
    residual_fraction_bits: Annotated[int, Field(ge=0, le=15)]
    layers: Annotated[list[Layer], Field(min_length=1)]
    tasks: Annotated[list[Task], Field(min_length=1)]
    #: Linear layers by name whose weights are packed two to a byte in DRAM; all others have eight bits.
    weight_bits: dict[str, Literal[4]] = {}
    scales: dict[str, Annotated[float, Field(gt=0)]] = {}

    @property
    def patches(self) -> int:
        """Number of patches of an image."""
        return (self.image.height // self.patch.height) * (self.image.width // self.patch.width)

    @property
    def prefix(self) -> int:
        """Number of tokens in front of the patches: class token and distillation token."""
        return int(self.class_token) + int(self.distillation_token)

    @property
    def tokens(self) -> int:
        """N: patches and the tokens in front of them."""
        return self.prefix + self.patches

    @property
    def patch_size(self) -> int:
        """P: values of one patch, [row][column][channel]."""
        return self.patch.height * self.patch.width * self.image.channels

    @property
    def attn_dim(self) -> int:
        """A: width of q, k, v and the context over all heads."""
        return self.heads * self.head_dim


@dataclass(frozen=True)
class TensorSpec:
    """What a tensor of the description must look like; every value lies in lo..hi."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    lo: int
    hi: int


@dataclass
class Description:
    """A checked model: structure, integer tensors by name, and the YAML file it came from (None if made in memory)."""

    model: Model
    tensors: dict[str, np.ndarray]
    path: Path | None = field(default=None, compare=False)


def table_arrays() -> dict[str, np.ndarray]:
    """The hardware's tables as the tensors `tables.*` every description must carry."""
    return {
        "tables.exp": np.array(tables.EXP, np.uint8),
        "tables.gelu": np.array(tables.GELU, np.uint8),
        "tables.rsqrt": np.array(tables.RSQRT, np.uint16),
        "tables.gate_exp": np.array(tables.GATE_EXP, np.uint16),
    }


def expected_tensors(model: Model) -> dict[str, TensorSpec]:
    """Name -> spec of every tensor a description of this structure has, no more and no fewer (docs/description.md)."""
    specs = dict(_tensors(model))
    for name, bits in model.weight_bits.items():
        limit = (1 << bits - 1) - 1
        specs[f"{name}.weight"] = dataclasses.replace(specs[f"{name}.weight"], lo=-limit, hi=limit)
    return specs


def _spec(dtype: str, shape: tuple[int, ...], lo: int | None = None, hi: int | None = None) -> TensorSpec:
    info = np.iinfo(dtype)
    return TensorSpec(shape, np.dtype(dtype), int(info.min) if lo is None else lo, int(info.max) if hi is None else hi)


def _linear(name: str, outputs: int, inputs: int, bias: bool = True) -> Iterator[tuple[str, TensorSpec]]:
    yield f"{name}.weight", _spec("int8", (outputs, inputs), -127, 127)
    yield f"{name}.bias", _spec("int32", (outputs,)) if bias else _spec("int32", (outputs,), 0, 0)
    yield f"{name}.mult", _spec("uint16", (outputs,))
    yield f"{name}.shift", _spec("uint8", (outputs,), 0, 47)


def _scaling(name: str, max_shift: int = 47) -> Iterator[tuple[str, TensorSpec]]:
    yield f"{name}.mult", _spec("uint16", (1,))
    yield f"{name}.shift", _spec("uint8", (1,), 0, max_shift)


def _affine(name: str, dim: int, eps: bool) -> Iterator[tuple[str, TensorSpec]]:
    yield f"{name}.gamma", _spec("int16", (dim,))
    yield f"{name}.beta", _spec("int32", (dim,))
    yield f"{name}.shift", _spec("uint8", (1,), 0, 31)
    if eps:
        yield f"{name}.eps", _spec("int64", (1,), 1, MAX_EPS)


def _mlp(name: str, dim: int, hidden: int) -> Iterator[tuple[str, TensorSpec]]:
    yield from _linear(f"{name}.fc1", hidden, dim)
    yield from _scaling(f"{name}.gelu", 31)
    yield f"{name}.gelu.zero", _spec("uint8", (1,))
    yield from _linear(f"{name}.fc2", dim, hidden)


def _tensors(model: Model) -> Iterator[tuple[str, TensorSpec]]:
    dim, attn = model.dim, model.attn_dim
    yield from _linear("embed", dim, model.patch_size)
    yield "position", _spec("int16", (model.tokens, dim))
    for index, layer in enumerate(model.layers):
        name = f"layers.{index}"
        yield from _affine(f"{name}.norm1", dim, eps=True)
        yield from _linear(f"{name}.attn.q", attn, dim)
        yield from _linear(f"{name}.attn.k", attn, dim, bias=False)
        yield from _linear(f"{name}.attn.v", attn, dim)
        yield from _scaling(f"{name}.attn.score")
        yield from _scaling(f"{name}.attn.context")
        yield from _linear(f"{name}.attn.proj", dim, attn)
        yield from _affine(f"{name}.norm2", dim, eps=True)
        mlp = layer.mlp
        if isinstance(mlp, DenseMlp):
            yield from _mlp(f"{name}.mlp", dim, mlp.hidden)
            continue
        for task in model.tasks:
            yield from _linear(f"{name}.moe.gate.{task.name}", mlp.experts, dim)
        for expert in range(mlp.experts):
            yield from _mlp(f"{name}.moe.experts.{expert}", dim, mlp.hidden)
    for task in model.tasks:
        name = f"tasks.{task.name}"
        if task.norm:
            yield from _affine(f"{name}.norm", dim, eps=True)
        if task.rescale:
            yield from _affine(f"{name}.rescale", dim, eps=False)
        if task.head in ("mean", "mean_norm"):
            yield from _scaling(f"{name}.mean")
        if task.head == "mean_norm":
            yield from _linear(f"{name}.pool", dim, dim)
        if task.outputs is not None:
            yield from _linear(f"{name}.head", task.outputs, dim)
    for table, values in table_arrays().items():
        yield table, _spec(values.dtype.name, values.shape)


def parse_model(data: object, where: str) -> Model:
    """The checked structure from parsed YAML; `where` names the file in messages."""
    model = validate(Model, data, where)
    _check_structure(model, where)
    return model


def _check_structure(model: Model, where: str) -> None:
    """The rules that need more than one key."""
    for size in ("height", "width"):
        image, patch = getattr(model.image, size), getattr(model.patch, size)
        if image % patch:
            raise HwgenError(where, f"patch.{size}", expected=f"a divisor of image.{size} = {image}", found=str(patch),
                             mend=f"choose a patch {size} that divides the image, or pad the image")
    for key, what, value, limit in (
        ("patch", "values per patch", model.patch_size, MAX_INPUTS),
        ("patch", "tokens", model.tokens, MAX_TOKENS),
        ("heads", "heads * head_dim", model.attn_dim, MAX_INPUTS),
    ):
        if value > limit:
            raise HwgenError(where, key, expected=f"at most {limit} {what}", found=str(value))
    for index, layer in enumerate(model.layers):
        mlp = layer.mlp
        if isinstance(mlp, MoeMlp) and mlp.top_k > mlp.experts:
            raise HwgenError(where, f"layers.{index}.mlp.top_k", expected=f"at most experts = {mlp.experts}",
                             found=str(mlp.top_k))
    if model.distillation_token and not model.class_token:
        raise HwgenError(where, "distillation_token", expected="false, or `class_token: true`",
                         found="true with `class_token: false`", mend="it is token 1, behind the class token")
    layers = {name.removesuffix(".weight") for name, _ in _tensors(model) if name.endswith(".weight")}
    for name in sorted(model.weight_bits.keys() - layers):
        close = difflib.get_close_matches(name, layers, 1, 0.8)
        raise HwgenError(where, f"weight_bits.{name}", expected="the name of a linear layer", found=repr(name),
                         mend=f"did you mean `{close[0]}`?" if close else "remove it")
    names: dict[str, int] = {}
    for index, task in enumerate(model.tasks):
        key = f"tasks.{index}"
        if task.name in names:
            raise HwgenError(where, f"{key}.name", expected="a name no other task has",
                             found=f"{task.name!r}, also the name of tasks.{names[task.name]}",
                             mend="rename one of them")
        names[task.name] = index
        if task.head in ("class_token", "distillation_token") and not getattr(model, task.head):
            raise HwgenError(where, f"{key}.head", mend="use mean, every_token or none",
                             expected=f"a head that needs no {task.head.replace('_', ' ')}, or `{task.head}: true`",
                             found=f"{task.head!r} with `{task.head}: false`")
        if task.head == "mean_norm" and not task.norm:
            raise HwgenError(where, f"{key}.norm", expected="true with `head: mean_norm`", found="false",
                             mend="use the head `mean` if nothing is to be normalized")
        if task.head == "none" and task.outputs is not None:
            raise HwgenError(where, f"{key}.outputs", expected="no `outputs` with `head: none`",
                             found=str(task.outputs), mend="remove `outputs` or choose another head")
        if task.head != "none" and task.outputs is None:
            raise HwgenError(where, f"{key}.outputs", expected=f"the number of outputs of the {task.head} head",
                             found="no such key", mend="add `outputs`")


def check_tensors(model: Model, tensors: Mapping[str, np.ndarray], where: str) -> None:
    """Compare all tensors with `expected_tensors` and the tables; `where` names the weights file in messages."""
    specs = expected_tensors(model)
    for name in sorted(tensors.keys() - specs.keys()):
        close = difflib.get_close_matches(name, specs.keys() - tensors.keys(), 1, 0.8)
        raise HwgenError(where, name, expected=f"only the {len(specs)} tensors of this structure",
                         found="an extra tensor",
                         mend=f"did you mean `{close[0]}`?" if close else "remove it, or correct the structure")
    for name, spec in specs.items():
        what = f"{spec.dtype.name} {list(spec.shape)}"
        if name not in tensors:
            raise HwgenError(where, name, expected=what, found="no such tensor", mend="export the model again")
        tensor = tensors[name]
        if tensor.dtype != spec.dtype or tensor.shape != spec.shape:
            raise HwgenError(where, name, expected=what, found=f"{tensor.dtype.name} {list(tensor.shape)}")
        _check_range(name, tensor, spec, where)
    for name, values in table_arrays().items():
        if not np.array_equal(tensors[name], values):
            index = int(np.flatnonzero(tensors[name] != values)[0])
            raise HwgenError(where, name, expected=f"the hardware's table: {values[index]} at index {index}",
                             found=str(tensors[name][index]), mend="store the tables of hwgen/tables.py")


def _check_range(name: str, tensor: np.ndarray, spec: TensorSpec, where: str) -> None:
    lowest, highest = int(tensor.min()), int(tensor.max())
    if spec.lo <= lowest and highest <= spec.hi:
        return
    worst = lowest if lowest < spec.lo else highest
    index = [int(i) for i in np.argwhere(tensor == worst)[0]]
    zero = spec.lo == spec.hi == 0
    raise HwgenError(where, name, expected="zeros only" if zero else f"values in {spec.lo}..{spec.hi}",
                     found=f"{worst} at {index}", mend="drop the key's bias: it cancels in the softmax" if zero else "")


def check(description: Description) -> None:
    """Check a description made in memory as `load` checks one from disk."""
    where = str(description.path) if description.path else "description"
    _check_structure(description.model, where)
    check_tensors(description.model, description.tensors, where)


def load(path: Path | str) -> Description:
    """Load and check a description; `path` is the YAML file or the directory holding `model.yaml`."""
    path = Path(path)
    path = path / MODEL_FILE if path.is_dir() else path
    model = parse_model(read_yaml(path), str(path))
    weights = path.parent / model.weights
    try:
        tensors = safetensors.numpy.load_file(weights)
    except OSError as error:
        raise HwgenError(str(weights), expected=f"the weights file named by `weights` in {path.name}",
                         found=error.strerror or str(error), mend="put it beside the YAML file") from None
    except Exception as error:  # safetensors raises its own class, KeyError for types NumPy lacks, and others
        raise HwgenError(str(weights), expected="a safetensors file of integer tensors", found=str(error),
                         mend="export the model again") from None
    check_tensors(model, tensors, str(weights))
    return Description(model, {name: tensors[name] for name in sorted(tensors)}, path)


def save(description: Description, directory: Path | str) -> Path:
    """Check and write `model.yaml` and the weights; the same description gives the same bytes. Returns the YAML."""
    check(description)
    directory = Path(directory)
    model = description.model
    document = model.model_dump(exclude_none=True)
    document["scales"] = {name: float(model.scales[name]) for name in sorted(model.scales)}
    for key in ("weight_bits", "distillation_token"):
        if not document[key]:
            del document[key]
    text = dump_yaml(document)
    arrays = {name: np.ascontiguousarray(description.tensors[name]) for name in sorted(description.tensors)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / MODEL_FILE).write_text(text, "utf-8")
        (directory / model.weights).write_bytes(safetensors.numpy.save(arrays))
    except OSError as error:
        raise HwgenError(str(directory), expected="a directory that can be written", found=error.strerror or str(error),
                         mend="choose another output directory") from None
    return directory / MODEL_FILE


