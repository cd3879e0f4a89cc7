"""Seeded random descriptions: small, awkward shapes, activations with a realistic spread.

Multipliers come from the statistics of the random weights, so that int8 tensors have a standard deviation around 35,
scores spread over a few log2 units, GELU inputs stay within about ±4 and the residual stream grows mildly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwgen import tables
from hwgen.description import DenseMlp, Description, Model, check, parse_model, table_arrays
from hwgen.quantize.fixed import multiplier

#: Wanted standard deviations.
INT8, GELU_IN, OUTPUT = 35.0, 77.0, 2000.0
#: Statistics of `random_images`.
PIXEL_MEAN, PIXEL_STD = 120.0, 65.0


def random_description(seed: int, *, gain: float = 1.0, **overrides: Any) -> Description:
    """A random, valid description; the same arguments always give the same one.

    `overrides` fix keys of `model.yaml` (`dim=24`, `layers=[{"mlp": {...}}]`, `tasks=[...]`, `image={...}`); the rest
    is drawn. `gain` multiplies every target spread: above 4 most tensors saturate, near 0 most are zero.
    """
    rng = np.random.default_rng(seed)
    model = parse_model(_structure(rng, overrides), f"random_description({seed})")
    description = Description(model, _Weights(rng, model, gain).tensors)
    check(description)
    return description


def random_images(description: Description, n: int, seed: int) -> np.ndarray:
    """n images, uint8 [n, height, width, channels]: a gradient, noise, a few black and white pixels."""
    rng = np.random.default_rng((seed, 1))
    image = description.model.image
    shape = (n, image.height, image.width, image.channels)
    rows = np.linspace(-1, 1, image.height)[None, :, None, None]
    columns = np.linspace(-1, 1, image.width)[None, None, :, None]
    slope = rng.normal(0, 45, (2, n, 1, 1, image.channels))
    values = PIXEL_MEAN + slope[0] * rows + slope[1] * columns + rng.normal(0, 50, shape)
    extreme = rng.random(shape)
    values = np.where(extreme < 0.03, 0, np.where(extreme > 0.97, 255, values))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _structure(rng: np.random.Generator, overrides: dict[str, Any]) -> dict[str, Any]:
    """A random `model.yaml` with the overrides in place."""

    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    patch = {"height": draw(1, 4), "width": draw(1, 4)}
    if "image" in overrides and "patch" not in overrides:
        patch = {key: max(size for size in range(1, 5) if overrides["image"][key] % size == 0) for key in patch}
    patch = overrides.get("patch", patch)
    image = {"height": patch["height"] * draw(1, 4), "width": patch["width"] * draw(2, 5), "channels": draw(1, 3)}
    tasks = []
    class_token = overrides.get("class_token", bool(rng.random() < 0.6))
    for name in ("digit", "segment", "depth")[: draw(1, 3)]:
        head = str(rng.choice(["mean", "every_token", "none"] + ["class_token"] * (2 * class_token)))
        tasks.append({"name": name, "head": head, "norm": bool(rng.random() < 0.6)})
        if head != "none":
            tasks[-1]["outputs"] = draw(2, 19)
    structure: dict[str, Any] = {
        "format": "hwgen-model", "version": 1, "name": "random", "weights": "weights.safetensors",
        "image": image, "patch": patch, "dim": draw(5, 40), "heads": draw(1, 3), "head_dim": draw(5, 24),
        "class_token": class_token, "residual_fraction_bits": draw(7, 10),
        "layers": [{"mlp": _mlp(rng)} for _ in range(draw(1, 3))], "tasks": tasks, "scales": {"pixels": 1 / 255},
    }  # fmt: skip
    return structure | overrides


def _mlp(rng: np.random.Generator) -> dict[str, Any]:
    hidden = int(rng.integers(6, 60))
    if rng.random() < 0.4:
        return {"kind": "dense", "hidden": hidden}
    experts = int(rng.integers(2, 10))
    top_k = min(int(rng.integers(1, 4)), experts)
    return {"kind": "moe", "experts": experts, "hidden": hidden, "top_k": top_k,
            "gate": str(rng.choice(["softmax_topk", "topk_softmax"]))}  # fmt: skip


class _Weights:
    """Draws all tensors of a structure in the order of the computation, tracking the spread of the residual stream."""

    def __init__(self, rng: np.random.Generator, model: Model, gain: float) -> None:
        self.rng, self.model, self.gain = rng, model, gain
        self.tensors = table_arrays()
        dim, unit = model.dim, 2.0**model.residual_fraction_bits
        self.linear("embed", dim, model.patch_size, PIXEL_STD, 0.7 * unit, offset=PIXEL_MEAN)
        self.tensors["position"] = np.rint(rng.normal(0, 0.4 * unit, (model.tokens, dim))).astype(np.int16)
        self.variance = (0.7**2 + 0.4**2) * unit**2
        for index, layer in enumerate(model.layers):
            name = f"layers.{index}"
            self.norm(f"{name}.norm1")
            for part in "qkv":
                self.linear(f"{name}.attn.{part}", model.attn_dim, dim, INT8, INT8, bias=part != "k")
            spread = rng.uniform(1, 2.5) * 32  # log2 units, 5 fraction bits
            self.scaling(f"{name}.attn.score", spread / (np.sqrt(model.head_dim) * INT8**2))
            self.scaling(f"{name}.attn.context", rng.uniform(1, 2) / 256)  # 2^24 / 2^16 of the row factor remain
            self.linear(f"{name}.attn.proj", dim, model.attn_dim, 0.7 * INT8, self.grow(0.35 * unit))
            self.norm(f"{name}.norm2")
            if isinstance(layer.mlp, DenseMlp):
                self.mlp(f"{name}.mlp", layer.mlp.hidden, self.grow(0.35 * unit))
                continue
            for task in model.tasks:
                spread = rng.uniform(0.8, 2.5) * 65536  # log2 units, 16 fraction bits
                self.linear(f"{name}.moe.gate.{task.name}", layer.mlp.experts, dim, INT8, spread)
            self.grow(0.35 * unit)
            for expert in range(layer.mlp.experts):
                self.mlp(f"{name}.moe.experts.{expert}", layer.mlp.hidden, 0.7 * unit)
        for task in model.tasks:
            name = f"tasks.{task.name}"
            if task.norm:
                self.norm(f"{name}.norm")
            elif task.head != "none":
                self.affine(f"{name}.rescale", INT8 / np.sqrt(self.variance), 1.0)
            spread = INT8
            if task.head == "mean":
                self.scaling(f"{name}.mean", 2 / model.patches)
                spread = 2 * INT8 / np.sqrt(min(model.patches, 4))  # tokens of an image resemble each other
            if task.outputs is not None:
                self.linear(f"{name}.head", task.outputs, dim, spread, OUTPUT)

    def grow(self, spread: float) -> float:
        """Account for an update of this standard deviation to the residual stream."""
        self.variance += (self.gain * spread) ** 2
        return spread

    def scaling(self, name: str, ratio: float, max_shift: int = 47) -> None:
        """A scalar multiplier and shift."""
        mult, shift = multiplier(ratio * self.gain, max_shift)
        self.tensors |= {f"{name}.mult": mult, f"{name}.shift": shift}

    def linear(self, name: str, outputs: int, inputs: int, spread_in: float, spread_out: float, *, offset: float = 0,
               bias: bool = True) -> None:
        """A linear for inputs of this spread around `offset`, with outputs of `spread_out` around 0."""
        weight = np.clip(np.rint(self.rng.normal(0, 45, (outputs, inputs))), -127, 127)
        accumulator = np.maximum(np.linalg.norm(weight, axis=1), 1) * spread_in
        jitter = np.exp(self.rng.normal(0, 0.25, outputs))
        mult, shift = multiplier(spread_out * self.gain * jitter / accumulator)
        constant = self.rng.normal(0, 0.3, outputs) * accumulator if bias else 0
        self.tensors |= {
            f"{name}.weight": weight.astype(np.int8),
            f"{name}.bias": np.rint(constant - offset * weight.sum(1) if bias else np.zeros(outputs)).astype(np.int32),
            f"{name}.mult": mult,
            f"{name}.shift": shift,
        }

    def affine(self, name: str, factor: float, unit: float) -> None:
        """gamma, beta and shift: out ≈ factor·x·(1 ± 0.2) + 0.2·INT8, x in steps of `unit`."""
        gamma = factor * self.gain * unit * np.exp(self.rng.normal(0, 0.2, self.model.dim))
        gamma *= self.rng.choice([1, -1], self.model.dim, p=[0.9, 0.1])
        shift = int(np.clip(14 - np.frexp(np.abs(gamma).max())[1], 0, 22))
        beta = self.rng.normal(0, 0.2 * INT8, self.model.dim)
        self.tensors |= {
            f"{name}.gamma": np.clip(np.rint(gamma * 2**shift), -32768, 32767).astype(np.int16),
            f"{name}.beta": np.rint(beta * 2**shift).astype(np.int32),
            f"{name}.shift": np.array([shift], np.uint8),
        }

    def norm(self, name: str) -> None:
        """A LayerNorm; xhat has ten fraction bits."""
        self.affine(name, INT8, 2.0**-10)
        eps = self.rng.choice([1e-6, 1e-5]) * self.model.dim**2 * 4.0**self.model.residual_fraction_bits
        self.tensors[f"{name}.eps"] = np.array([max(1, round(eps))], np.int64)

    def mlp(self, name: str, hidden: int, spread_out: float) -> None:
        """fc1, GELU and fc2; the zero point is folded into fc2's bias."""
        self.linear(f"{name}.fc1", hidden, self.model.dim, INT8, GELU_IN)
        zero = int(self.rng.integers(5, 25))
        ratio = (255 - zero) / 1024 * self.rng.uniform(0.8, 1.2)  # real 4 is g = 1024
        mult, shift = multiplier(ratio, 31)
        self.tensors |= {f"{name}.gelu.mult": mult, f"{name}.gelu.shift": shift,
                         f"{name}.gelu.zero": np.array([zero], np.uint8)}  # fmt: skip
        steps = np.arange(-255, 256)
        activation = 4 * np.maximum(steps, 0) - np.array(tables.GELU)[np.abs(steps)]
        probability = np.exp(-0.5 * (steps / GELU_IN) ** 2)
        spread_in = np.sqrt(np.average((ratio * activation) ** 2, weights=probability))
        self.linear(f"{name}.fc2", self.model.dim, hidden, spread_in, spread_out, offset=zero)
