"""Float forward of a multi-task MoE ViT checkpoint, with taps for calibration.

Checkpoint layout (.npz; weights are [out, in]): `embed.w/.b`, `cls` and `dist` [1, D], `reg` [registers, D] (class,
distillation and register tokens, where there are any), `pos` [N, D], `pre.g/.b` with `norm_pre`; a layer: `lN.n1.g/.b`,
`lN.qkv.w/.b` (q, k, v stacked; a head is a contiguous slice), `lN.qn.g/.b` and `lN.kn.g/.b` [head_dim] with `qk_norm`,
`lN.proj.w/.b`, `lN.n2.g/.b`, then `lN.fc1`, `lN.fc2`, and `lN.up` if the MLP is gated; or `lN.eE.fc1`, `lN.eE.fc2` with
`lN.gateT` [experts, D] for task number T; `nf.g/.b` before heads with `norm: true`; `headT.w/.b`. With `head: map` task
T has `mapT.q` [A] (its constant query), `mapT.kv`, `mapT.proj`, `mapT.n`, `mapT.fc1`, `mapT.fc2`. With `rms_norm` no
norm has a `.b`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.network.description import DenseMlp, Layer, Model, MoeMlp

Tap = Callable[[str, np.ndarray], None]

#: Values of the widest tensor that are computed at a time.
CHUNK_VALUES = 1 << 22


def _unseen(name: str, value: np.ndarray) -> None:
    """The tap of a run without one."""


def expected_checkpoint(model: Model) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every float tensor of a checkpoint of this structure."""
    dim, attn = model.dim, model.attn_dim
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes.update({f"{name}.w": (outputs, inputs), f"{name}.b": (outputs,)})

    def norm(name: str, width: int = dim) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("g" if model.rms_norm else "gb")})

    linear("embed", dim, model.patch_size)
    shapes["pos"] = (model.tokens, dim)
    shapes.update({name: (rows, dim) for name, rows in prefix_tokens(model).items()})
    if model.norm_pre:
        norm("pre")
    for index, layer in enumerate(model.layers):
        name, mlp = f"l{index}", layer.mlp
        norm(f"{name}.n1")
        linear(f"{name}.qkv", 3 * attn, dim)
        for part in "qk" if model.qk_norm else "":
            norm(f"{name}.{part}n", model.head_dim)
        linear(f"{name}.proj", dim, attn)
        norm(f"{name}.n2")
        if isinstance(mlp, MoeMlp):
            shapes.update({f"{name}.gate{task}": (mlp.experts, dim) for task in range(len(model.tasks))})
        if isinstance(mlp, DenseMlp) and mlp.gated:
            linear(f"{name}.up", mlp.hidden, dim)
        for part in mlp_names(name, layer):
            linear(f"{part}.fc1", mlp.hidden, dim)
            linear(f"{part}.fc2", dim, mlp.hidden)
    if any(task.norm for task in model.tasks):
        norm("nf")
    for index, task in enumerate(model.tasks):
        if task.mlp is not None:
            name = f"map{index}"
            shapes[f"{name}.q"] = (attn,)
            linear(f"{name}.kv", 2 * attn, dim)
            linear(f"{name}.proj", dim, attn)
            norm(f"{name}.n")
            linear(f"{name}.fc1", task.mlp.hidden, dim)
            linear(f"{name}.fc2", dim, task.mlp.hidden)
        if task.outputs is not None:
            linear(f"head{index}", task.outputs, dim)
    return shapes


def prefix_tokens(model: Model) -> dict[str, int]:
    """Checkpoint names of the tokens in front of the patches, in order, and how many each has."""
    counts = {"cls": int(model.class_token), "dist": int(model.distillation_token), "reg": model.register_tokens}
    return {name: count for name, count in counts.items() if count}


def mlp_names(name: str, layer: Layer) -> list[str]:
    """Checkpoint prefixes of a layer's MLPs: its experts, or the layer itself."""
    return [f"{name}.e{e}" for e in range(layer.mlp.experts)] if isinstance(layer.mlp, MoeMlp) else [name]


def check_checkpoint(model: Model, tensors: Mapping[str, np.ndarray], where: str) -> None:
    """Raise HwgenError unless the checkpoint has exactly the finite float tensors of this structure."""
    shapes = expected_checkpoint(model)
    for name in sorted(tensors.keys() - shapes.keys()):
        raise HwgenError(where, name, expected=f"only the {len(shapes)} tensors of this structure",
                         found="an extra tensor", mend="remove it, or correct the structure")  # fmt: skip
    for name, shape in shapes.items():
        if name not in tensors:
            raise HwgenError(where, name, expected=f"float {list(shape)}", found="no such tensor")
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype.kind != "f":
            raise HwgenError(where, name, expected=f"float {list(shape)}",
                             found=f"{tensor.dtype.name} {list(tensor.shape)}")  # fmt: skip
        if not np.isfinite(tensor).all():
            raise HwgenError(where, name, expected="finite numbers", found="nan or infinity")


@dataclass(frozen=True)
class GivenWeights:
    """Weights that were integers before: scales [out], of which a row's weights are multiples, and bits, 4 or 8."""

    scales: np.ndarray
    bits: int


class FloatModel:
    """The float network of a structure.

    `mean`, `std` (one per image channel, in pixel codes 0..255) normalise pixels to (pixel - mean) / std; `eps` is
    the norms'. All arithmetic is in `dtype`. `given`: by checkpoint name (`l0.fc1`), which weights were integers.
    """

    def __init__(self, model: Model, tensors: Mapping[str, np.ndarray], *, eps: float, mean: list[float],
                 std: list[float], dtype: Any = np.float32,
                 given: Mapping[str, GivenWeights] | None = None) -> None:  # fmt: skip
        self.given = dict(given or {})
        self.model, self.eps, self.dtype = model, dtype(eps), dtype
        self.tensors = {name: tensor.astype(dtype, copy=False) for name, tensor in tensors.items()}
        if model.rms_norm:
            gains = [name for name in tensors if name.endswith(".g")]
            self.tensors |= {f"{name.removesuffix('g')}b": np.zeros_like(self.tensors[name]) for name in gains}
        self.mean, self.std = np.array(mean, dtype), np.array(std, dtype)

    def run(self, images: np.ndarray, task: str, tap: Tap | None = None) -> np.ndarray:
        """Outputs [B, rows, outputs] for images uint8 [B, H, W, C]; `tap(name, value)` sees every intermediate tensor.

        Names are those of docs/description.md; `pixels` are the patches, normalised, `layers.i.pre` and
        `layers.i.expert.e.pre` what the activation function takes. k is tapped without its bias, which the hardware
        drops; with `qk_norm`, without what its norm adds. `T.norm` holds only the tokens the head reads. A tensor of
        many images comes in several parts.
        """
        number = [t.name for t in self.model.tasks].index(task)
        seen = tap or _unseen
        return np.concatenate([self._forward(images[part], number, seen) for part in self.chunks(len(images))])

    def chunks(self, count: int) -> list[slice]:
        """Slices of `count` images, small enough for the caches and for memory."""
        widest = max([self.model.dim, *(layer.mlp.hidden for layer in self.model.layers)])
        size = int(np.clip(CHUNK_VALUES // (self.model.tokens * widest), 1, 100))
        return [slice(start, start + size) for start in range(0, count, size)]

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return np.asarray(x @ self.tensors[f"{name}.w"].T + self.tensors[f"{name}.b"])

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x if self.model.rms_norm else x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + self.eps)
        return np.asarray(centred / deviation * self.tensors[f"{name}.g"] + self.tensors[f"{name}.b"])

    def _forward(self, images: np.ndarray, task: int, tap: Tap) -> np.ndarray:
        x = self.embed(images, tap)
        for index in range(len(self.model.layers)):
            x = self.layer(index, x, task, tap)
        return self.head(task, x, tap)

    def embed(self, images: np.ndarray, tap: Tap = _unseen) -> np.ndarray:
        """The residual stream [B, N, D] in front of the first layer, of images uint8 [B, H, W, C]."""
        model = self.model
        patch, rows = model.patch, model.image.height // model.patch.height
        pixels = (images.astype(self.dtype) - self.mean) / self.std
        grid = pixels.reshape(len(images), rows, patch.height, -1, patch.width, model.image.channels)
        patches = grid.transpose(0, 1, 3, 2, 4, 5).reshape(len(images), model.patches, -1)
        tap("pixels", patches)
        x = self._linear("embed", patches)
        tokens = [np.broadcast_to(self.tensors[name], (len(images), count, model.dim))
                  for name, count in prefix_tokens(model).items()]  # fmt: skip
        x = np.concatenate([*tokens, x], 1) + self.tensors["pos"]
        tap("embed", x)
        if model.norm_pre:
            x = self._norm("pre", x)
            tap("norm_pre", x)
            tap("stream", x)
        return x

    def layer(self, index: int, x: np.ndarray, task: int, tap: Tap = _unseen) -> np.ndarray:
        """The residual stream [B, N, D] after a layer, of that before it; `task` is a number."""
        mlp = self.model.layers[index].mlp
        x = x + self._behind(index, 1, self._attention(index, self._in_front(index, 1, x, tap), tap), tap)
        tap(f"layers.{index}.attn", x)
        y = self._in_front(index, 2, x, tap)
        if isinstance(mlp, MoeMlp):
            x = x + self._moe(index, mlp, y.reshape(-1, self.model.dim), task, tap).reshape(x.shape)
        else:
            pre = self._linear(f"l{index}.fc1", y)
            tap(f"layers.{index}.pre", pre)
            hidden = ACTIVATIONS[mlp.activation](pre)
            if mlp.gated:
                up = self._linear(f"l{index}.up", y)
                tap(f"layers.{index}.up", up)
                hidden = hidden * up
            tap(f"layers.{index}.hidden", hidden)
            x = x + self._behind(index, 2, self._linear(f"l{index}.fc2", hidden), tap)
        tap(f"layers.{index}.mlp", x)
        return x

    def _in_front(self, index: int, number: int, x: np.ndarray, tap: Tap) -> np.ndarray:
        """What attention (number 1) or MLP (2) reads of the residual stream: its norm, or with `post_norm` itself."""
        y = x if self.model.post_norm else self._norm(f"l{index}.n{number}", x)
        tap(f"layers.{index}.{'rescale' if self.model.post_norm else 'norm'}{number}", y)
        return y

    def _behind(self, index: int, number: int, update: np.ndarray, tap: Tap) -> np.ndarray:
        """What is added to the residual stream of what attention or MLP makes: with `post_norm` its norm."""
        if not self.model.post_norm:
            return update
        tap(f"layers.{index}.{('proj', 'fc2')[number - 1]}", update)
        y = self._norm(f"l{index}.n{number}", update)
        tap(f"layers.{index}.norm{number}", y)
        return y

    def _attention(self, index: int, y: np.ndarray, tap: Tap) -> np.ndarray:
        """What attention makes of its operand [B, N, D]."""
        model, name = self.model, f"layers.{index}"
        parts = np.split(self._linear(f"l{index}.qkv", y), 3, axis=-1)
        shape = (*y.shape[:2], model.heads, model.head_dim)
        constant = self.tensors[f"l{index}.qkv.b"][model.attn_dim : 2 * model.attn_dim]
        if model.qk_norm:
            for number, part in enumerate("qk"):
                tap(f"{name}.{part}_proj", parts[number])
                normed = self._norm(f"l{index}.{part}n", parts[number].reshape(shape))
                parts[number] = normed.reshape(*y.shape[:2], model.attn_dim)
            constant = np.tile(self.tensors[f"l{index}.kn.b"], model.heads)
        parts[1] = parts[1] - constant
        for part, value in zip("qkv", parts, strict=True):
            tap(f"{name}.{part}", value)
        q, k, v = (part.reshape(shape).transpose(0, 2, 1, 3) for part in parts)
        context = softmax(q @ k.swapaxes(-1, -2) / self.dtype(np.sqrt(model.head_dim))) @ v
        context = context.transpose(0, 2, 1, 3).reshape(*y.shape[:2], model.attn_dim)
        tap(f"{name}.context", context)
        return self._linear(f"l{index}.proj", context)

    def _moe(self, index: int, mlp: MoeMlp, y: np.ndarray, task: int, tap: Tap) -> np.ndarray:
        """The experts' addition to the residual stream for rows y [rows, D]; ties go to the lower expert."""
        logits = y @ self.tensors[f"l{index}.gate{task}"].T
        winners = np.argsort(-logits, axis=-1, kind="stable")[:, : mlp.top_k]
        chosen = np.take_along_axis(logits, winners, -1)
        weights = softmax(chosen) if mlp.gate == "topk_softmax" else np.take_along_axis(softmax(logits), winners, -1)
        out = np.zeros_like(y)
        for expert in range(mlp.experts):
            rows, place = np.nonzero(winners == expert)
            if len(rows):
                pre = self._linear(f"l{index}.e{expert}.fc1", y[rows])
                tap(f"layers.{index}.expert.{expert}.pre", pre)
                hidden = ACTIVATIONS[mlp.activation](pre)
                tap(f"layers.{index}.expert.{expert}.hidden", hidden)
                out[rows] += weights[rows, place, None] * self._linear(f"l{index}.e{expert}.fc2", hidden)
        return out

    def head(self, number: int, x: np.ndarray, tap: Tap = _unseen) -> np.ndarray:
        """Outputs [B, rows, outputs] of a task, of the residual stream [B, N, D]."""
        task = self.model.tasks[number]
        if task.head == "class_token":
            x = x[:, :1]
        elif task.head == "distillation_token":
            x = x[:, 1:2]
        elif task.head not in ("none", "map"):
            x = x[:, self.model.prefix :]
        if task.head == "mean_norm":
            tap(f"{task.name}.rescale", x)
            x = x.mean(1, keepdims=True)
            tap(f"{task.name}.pool", x)
        if task.norm:
            x = self._norm("nf", x)
        tap(f"{task.name}.norm", x)
        if task.head == "mean":
            x = x.mean(1, keepdims=True)
            tap(f"{task.name}.mean", x)
        if task.mlp is not None:
            x = self._pool(number, task.mlp, x, tap)
        if task.outputs is not None:
            x = self._linear(f"head{number}", x)
        tap(f"{task.name}.output", x)
        return x


    def _pool(self, number: int, mlp: DenseMlp, y: np.ndarray, tap: Tap) -> np.ndarray:
        """Attention pooling of tokens y [B, N, D] to [B, 1, D]: a constant query on the patches, an MLP with a
        residual."""
        model, name, task = self.model, f"map{number}", self.model.tasks[number].name
        k, v = np.split(self._linear(f"{name}.kv", y), 2, axis=-1)
        k = k - self.tensors[f"{name}.kv.b"][: model.attn_dim]
        q = np.broadcast_to(self.tensors[f"{name}.q"], (len(y), 1, model.attn_dim))
        for part, value in zip("qkv", (q, k, v), strict=True):
            tap(f"{task}.{part}", value)
        shape = len(y), -1, model.heads, model.head_dim
        q, k, v = (one.reshape(shape).swapaxes(1, 2) for one in (q, k[:, model.prefix :], v[:, model.prefix :]))
        context = softmax(q @ k.swapaxes(-1, -2) / self.dtype(np.sqrt(model.head_dim))) @ v
        context = context.swapaxes(1, 2).reshape(len(y), 1, model.attn_dim)
        tap(f"{task}.context", context)
        x = self._linear(f"{name}.proj", context)
        tap(f"{task}.proj", x)
        y = self._norm(f"{name}.n", x)
        tap(f"{task}.map_norm", y)
        hidden = ACTIVATIONS[mlp.activation](self._linear(f"{name}.fc1", y))
        tap(f"{task}.hidden", hidden)
        x = x + self._linear(f"{name}.fc2", hidden)
        tap(f"{task}.mlp", x)
        return x


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def gelu(x: np.ndarray) -> np.ndarray:
    """x·Φ(x) with erf by Abramowitz and Stegun 7.1.26, within 1.5e-7."""
    z = np.abs(x) * x.dtype.type(np.sqrt(0.5))
    t = 1 / (1 + x.dtype.type(0.3275911) * z)
    tail = t * np.exp(-z * z)
    series = x.dtype.type(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + x.dtype.type(coefficient)
    erf = np.sign(x) * (1 - series * tail)
    return np.asarray(0.5 * x * (1 + erf))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """GELU by tanh (Hendrycks and Gimpel, 2016): x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    return np.asarray(x * _sigmoid(x.dtype.type(2 * np.sqrt(2 / np.pi)) * (x + x.dtype.type(0.044715) * x**3)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    tail = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, tail, 1) / (1 + tail))


#: By the name a description has for them.
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": lambda x: x * _sigmoid(x.dtype.type(1.702) * x),
    "silu": lambda x: x * _sigmoid(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "relu": lambda x: np.maximum(x, 0),
}
