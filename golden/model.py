"""The whole model: what every bit of every intermediate tensor must be."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from golden.attention import Attention
from golden.embed import NormPre, embed, patchify
from golden.heads import Head
from golden.layernorm import Norm
from golden.linear import Linear
from golden.mlp import Mlp
from golden.moe import Moe
from golden.postnorm import PostNorm

if TYPE_CHECKING:
    from hwgen.network.description import Description

#: Images at a time: large enough for BLAS, small enough for the caches.
CHUNK = 32


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of one task for a batch of images.

    output:  int16 [B, rows, outputs], rows as in `golden.heads.Head`
    tensors: with `keep`, intermediate tensors by the names of `docs/description.md`, with a leading batch axis; the
             ragged `layers.i.expert.e.tokens` and `.hidden` are lists over the batch
    """

    output: NDArray[np.int16]
    tensors: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """`front` is "norm", what the first and the second operand come from; or "rescale", where norms come behind."""

    front: str
    first: Norm
    attention: Attention
    second: Norm
    mlp: Mlp | Moe

    @classmethod
    def load(cls, description: Description, i: int, shifts: tuple[int, int]) -> _Layer:
        """Layer i; `shifts`: what the residual stream is shifted by at its two additions."""
        model, tensors, name = description.model, description.tensors, f"layers.{i}"
        front, mlp, rms = "rescale" if model.post_norm else "norm", model.layers[i].mlp, model.rms_norm
        behind = [
            PostNorm.load(tensors, name, number, shift=shift, rms=rms) if model.post_norm else None
            for number, shift in enumerate(shifts, 1)
        ]
        return cls(
            front=front,
            first=Norm.load(tensors, f"{name}.{front}1", rms),
            attention=Attention.load(tensors, f"{name}.attn", model.heads, shifts[0], rms, behind[0]),
            second=Norm.load(tensors, f"{name}.{front}2", rms),
            mlp=Mlp.load(tensors, f"{name}.mlp", activation=mlp.activation, shift=shifts[1], behind=behind[1])
            if mlp.kind == "dense"
            else Moe.load(
                tensors,
                f"{name}.moe",
                tasks=[task.name for task in model.tasks],
                experts=mlp.experts,
                top_k=mlp.top_k,
                gate=mlp.gate,
                activation=mlp.activation,
            ),
        )

    def __call__(self, x: NDArray[np.int16], task: str) -> dict[str, Any]:
        """All tensors of the layer for residual x int16 [B, N, D]; `mlp` is the residual for the next one."""
        y = self.first(x)
        out: dict[str, Any] = {f"{self.front}1": y} | self.attention(x, y)
        y = out[f"{self.front}2"] = self.second(out["attn"])
        if isinstance(self.mlp, Moe):
            return out | self.mlp(out["attn"], y, task)
        return out | self.mlp.dense(out["attn"], y)


class Golden:
    """The integer model of a description, which must have passed `hwgen.network.description`'s checks."""

    def __init__(self, description: Description) -> None:
        model, tensors = description.model, description.tensors
        self.model = model
        self._embed = Linear.load(tensors, "embed")
        self._position = tensors["position"]
        self._norm_pre = NormPre.load(tensors, model.rms_norm) if model.norm_pre else None
        shifts = [before - after for before, after in pairwise(model.stream_bits)]
        self._layers = [
            _Layer.load(description, i, (shifts[2 * i], shifts[2 * i + 1])) for i in range(len(model.layers))
        ]
        self._heads = {
            task.name: Head.load(
                tensors,
                f"tasks.{task.name}",
                kind=task.head,
                norm=task.norm,
                prefix=model.prefix,
                heads=model.heads,
                activation=task.mlp.activation if task.mlp else "",
                rms=model.rms_norm,
            )
            for task in model.tasks
        }

    def run(self, images: NDArray[np.uint8], task: str, keep: bool = False, chunk: int = CHUNK) -> Result:
        """Run `task` on images uint8 [B, height, width, channels], `chunk` images at a time.

        Images do not influence each other: the result is the same for every `chunk` and batch.
        """
        image = self.model.image
        if images.dtype != np.uint8 or images.shape[1:] != (image.height, image.width, image.channels):
            expected = f"[B, {image.height}, {image.width}, {image.channels}]"
            raise ValueError(f"images must be uint8 {expected}, not {images.dtype} {list(images.shape)}")
        if task not in self._heads:
            raise ValueError(f"task must be one of {', '.join(self._heads)}, not {task!r}")
        if len(images) == 0:
            raise ValueError("images must be at least one, not 0")
        parts = []
        for start in range(0, len(images), chunk):
            tensors = self._forward(images[start : start + chunk], task)
            parts.append(tensors if keep else {f"{task}.output": tensors[f"{task}.output"]})
        joined = {name: _join([part[name] for part in parts]) for name in parts[0]}
        return Result(output=joined[f"{task}.output"], tensors=joined if keep else {})

    def _forward(self, images: NDArray[np.uint8], task: str) -> dict[str, Any]:
        model = self.model
        patches = patchify(images, model.patch.height, model.patch.width, model.prefix)
        x = embed(patches, self._embed, self._position, model.prefix)
        tensors: dict[str, Any] = {"patches": patches, "embed": x}
        if self._norm_pre:
            tensors |= self._norm_pre(x)
            x = tensors["stream"]
        for i, layer in enumerate(self._layers):
            out = layer(x, task)
            tensors |= {f"layers.{i}.{name}": tensor for name, tensor in out.items()}
            x = out["mlp"]
        return tensors | {f"{task}.{name}": tensor for name, tensor in self._heads[task](x).items()}


def _join(parts: list[Any]) -> Any:
    """One batch from the parts of the chunks: arrays along the batch axis, lists one after another."""
    if isinstance(parts[0], list):
        return [entry for part in parts for entry in part]
    return np.concatenate(parts)
