"""The tensors of a quantized network: `expected_tensors` is the one table of names, shapes, types and ranges.

Loader, quantizer and the random generator of the tests are all checked against it.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.machine import tables
from hwgen.network.description.structure import DenseMlp, Model

MAX_EPS = 1 << 40


@dataclass(frozen=True)
class TensorSpec:
    """What a tensor of the description must look like; every value lies in lo..hi."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    lo: int
    hi: int


def table_arrays(model: Model) -> dict[str, np.ndarray]:
    """The tables as the tensors `tables.*` a description must carry: the hardware's, and those of its activations."""
    mlps = [*(layer.mlp for layer in model.layers), *(task.mlp for task in model.tasks if task.mlp)]
    kinds = sorted({mlp.activation for mlp in mlps})
    return {f"tables.{kind}": np.array(tables.ACTIVATIONS[kind], np.uint8) for kind in kinds} | {
        "tables.exp": np.array(tables.EXP, np.uint16),
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


def _mlp(
    name: str, dim: int, hidden: int, windows: int = 1, gated: bool = False
) -> Iterator[tuple[str, TensorSpec]]:
    yield from _linear(f"{name}.fc1", hidden, dim)
    if gated:
        yield from _linear(f"{name}.up", hidden, dim)
    yield from _scaling(f"{name}.activation", 31)
    yield f"{name}.activation.zero", _spec("int16", (1,), -255, 255)
    if windows > 1:
        yield f"{name}.activation.windows", _spec("uint8", (hidden,), 1, windows)
    yield from _linear(f"{name}.fc2", dim, hidden)


def _pool(name: str, dim: int, attn: int, hidden: int) -> Iterator[tuple[str, TensorSpec]]:
    yield f"{name}.q", _spec("int16", (attn,), -255, 255)
    yield from _linear(f"{name}.k", attn, dim, bias=False)
    yield from _linear(f"{name}.v", attn, dim)
    yield from _scaling(f"{name}.score")
    yield from _scaling(f"{name}.context")
    yield from _linear(f"{name}.proj", dim, attn)
    yield from _affine(f"{name}.norm", dim, eps=True)
    yield from _mlp(f"{name}.mlp", dim, hidden)


def _tensors(model: Model) -> Iterator[tuple[str, TensorSpec]]:
    dim, attn = model.dim, model.attn_dim
    yield from _linear("embed", dim, model.patch_size)
    yield "position", _spec("int16", (model.tokens, dim))
    if model.norm_pre:
        yield from _affine("norm_pre", dim, eps=True)
        yield from _linear("stream", dim, dim)
    for index, layer in enumerate(model.layers):
        name = f"layers.{index}"
        for number in (1, 2):
            yield from _affine(f"{name}.norm{number}", dim, eps=True)
            if model.post_norm:
                yield from _affine(f"{name}.rescale{number}", dim, eps=False)
                yield from _linear(f"{name}.stream{number}", dim, dim)
        yield from _linear(f"{name}.attn.q", attn, dim)
        yield from _linear(f"{name}.attn.k", attn, dim, bias=model.qk_norm)
        yield from _linear(f"{name}.attn.v", attn, dim)
        if model.qk_norm:
            yield from _affine(f"{name}.attn.q_norm", model.head_dim, eps=True)
            yield from _affine(f"{name}.attn.k_norm", model.head_dim, eps=True)
        yield from _scaling(f"{name}.attn.score")
        yield from _scaling(f"{name}.attn.context")
        yield from _linear(f"{name}.attn.proj", dim, attn)
        mlp = layer.mlp
        if isinstance(mlp, DenseMlp):
            yield from _mlp(f"{name}.mlp", dim, mlp.hidden, mlp.windows, mlp.gated)
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
        if task.mlp is not None:
            yield from _pool(f"{name}.map", dim, attn, task.mlp.hidden)
            if task.outputs is not None:
                yield from _affine(f"{name}.map.rescale", dim, eps=False)
        if task.outputs is not None:
            yield from _linear(f"{name}.head", task.outputs, dim)
    for table, values in table_arrays(model).items():
        yield table, _spec(values.dtype.name, values.shape)


def check_weight_bits(model: Model, where: str) -> None:
    """Every key of `weight_bits` is a linear layer of this structure."""
    layers = {name.removesuffix(".weight") for name, _ in _tensors(model) if name.endswith(".weight")}
    for name in sorted(model.weight_bits.keys() - layers):
        close = difflib.get_close_matches(name, layers, 1, 0.8)
        raise HwgenError(where, f"weight_bits.{name}", expected="the name of a linear layer", found=repr(name),
                         mend=f"did you mean `{close[0]}`?" if close else "remove it")


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
    for name, values in table_arrays(model).items():
        if not np.array_equal(tensors[name], values):
            index = int(np.flatnonzero(tensors[name] != values)[0])
            raise HwgenError(where, name, expected=f"the hardware's table: {values[index]} at index {index}",
                             found=str(tensors[name][index]), mend="store the tables of hwgen/machine/tables.py")


def _check_range(name: str, tensor: np.ndarray, spec: TensorSpec, where: str) -> None:
    lowest, highest = int(tensor.min()), int(tensor.max())
    if spec.lo <= lowest and highest <= spec.hi:
        return
    worst = lowest if lowest < spec.lo else highest
    index = [int(i) for i in np.argwhere(tensor == worst)[0]]
    zero = spec.lo == spec.hi == 0
    raise HwgenError(where, name, expected="zeros only" if zero else f"values in {spec.lo}..{spec.hi}",
                     found=f"{worst} at {index}", mend="drop the key's bias: it cancels in the softmax" if zero else "")
