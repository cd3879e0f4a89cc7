"""Seeded random descriptions: small, awkward shapes, weights as in `hwgen.quantize.synthetic`. The same seed gives the
same network for ever: tests choose seeds for what their networks are.

Tested by tests/test_random_model.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwgen.machine.tables import ACTIVATIONS
from hwgen.network.description import DenseMlp, Description, Model, check, expected_tensors, parse_model
from hwgen.network.description.structure import MAX_WINDOWS
from hwgen.quantize.synthetic import RandomWeights, synthetic_images

__all__ = ["EXTRAS_FROM", "random_description", "random_images", "window_tensors", "with_windows"]

random_images = synthetic_images

#: Smaller seeds draw the same networks as ever: tests choose them for what they are.
EXTRAS_FROM = 100


def random_description(
    seed: int, *, gain: float = 1.0, narrow: float | None = None, windows: np.ndarray | None = None, **overrides: Any
) -> Description:
    """A random, valid description; the same arguments always give the same one.

    `overrides` fix keys of `model.yaml` (`dim=24`, `layers=[{"mlp": {...}}]`, `tasks=[...]`, `image={...}`); the rest
    is drawn, with seeds from EXTRAS_FROM on also what few networks have. `gain` multiplies every target spread: above 4
    most tensors saturate, near 0 most are zero.
    windows: of the hidden channels, for layers that say there are more than one; None: they are drawn.
    narrow: share of the linear layers with weights of four bits; None: in half of the models some or all.
    """
    rng = np.random.default_rng(seed)
    extras = _extras(seed) | overrides
    structure = _structure(rng, extras)
    if seed >= EXTRAS_FROM and "layers" not in overrides:
        gates = np.random.default_rng((seed, 7))
        for layer in structure["layers"]:
            if layer["mlp"]["kind"] == "dense":
                layer["mlp"]["gated"] = bool(gates.random() < 0.4)
    model = parse_model(structure, f"random_description({seed})")
    bits = np.random.default_rng((seed, 4))  # others than the weights' own
    share = float(bits.choice([0, 0, 0.5, 1])) if narrow is None else narrow
    names = [name.removesuffix(".weight") for name in expected_tensors(model) if name.endswith(".weight")]
    if "weight_bits" not in overrides:
        model = model.model_copy(update={"weight_bits": {name: 4 for name in names if bits.random() < share}})
    tensors = RandomWeights(rng, model, gain).tensors
    drawn = np.random.default_rng((seed, 6))
    if "layers" not in overrides:
        model = with_windows(model, drawn)
    for index, layer in enumerate(model.layers):
        if layer.mlp.kind == "dense" and layer.mlp.windows > 1:
            tensors |= window_tensors(f"layers.{index}.mlp.activation", tensors, layer.mlp, drawn, windows)
    description = Description(model, tensors)
    check(description)
    return description


def with_windows(model: Model, rng: np.random.Generator) -> Model:
    """Up to four windows of the hidden channels in half of the dense layers."""
    layers = list(model.layers)
    for index, layer in enumerate(layers):
        if layer.mlp.kind == "dense" and rng.random() < 0.5 and not layer.mlp.gated:
            mlp = layer.mlp.model_copy(update={"windows": int(rng.integers(2, MAX_WINDOWS + 1))})
            layers[index] = layer.model_copy(update={"mlp": mlp})
    return model.model_copy(update={"layers": layers})


def window_tensors(
    name: str, tensors: dict[str, np.ndarray], mlp: DenseMlp, rng: np.random.Generator, windows: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Windows of a layer's channels, and steps half as large, so that some reach beyond the first one."""
    count = 1 + rng.integers(0, mlp.windows, mlp.hidden) * (rng.random(mlp.hidden) < 0.3)
    count[rng.integers(mlp.hidden)] = mlp.windows
    shift = np.maximum(tensors[f"{name}.shift"].astype(int) - 1, 0).astype(np.uint8)
    return {f"{name}.windows": (count if windows is None else windows).astype(np.uint8), f"{name}.shift": shift}


def _extras(seed: int) -> dict[str, Any]:
    """Keys of `model.yaml` that only some networks have, from random numbers of their own."""
    if seed < EXTRAS_FROM:
        return {}
    rng = np.random.default_rng((seed, 5))
    pooled = {"name": "pooled", "head": "map", "norm": bool(rng.random() < 0.7),
              "mlp": {"kind": "dense", "hidden": int(rng.integers(6, 60)),
                      "activation": str(rng.choice(list(ACTIVATIONS)))},
              **({"outputs": int(rng.integers(2, 70))} if rng.random() < 0.6 else {})}  # fmt: skip
    return {"register_tokens": int(rng.choice([0, 0, 1, 4, 9])), "norm_pre": bool(rng.random() < 0.4),
            "qk_norm": bool(rng.random() < 0.4), **({"pooled": pooled} if rng.random() < 0.5 else {}),
            "rms_norm": bool(rng.random() < 0.3), "post_norm": bool(rng.random() < 0.3)}  # fmt: skip


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
    distillation = ["distillation_token"] * (2 * overrides.get("distillation_token", False))
    for name in ("digit", "segment", "depth")[: draw(1, 3)]:
        head = str(rng.choice(["mean", "every_token", "none"] + ["class_token"] * (2 * class_token) + distillation))
        tasks.append({"name": name, "head": head, "norm": bool(rng.random() < 0.6)})
        if head != "none":
            tasks[-1]["outputs"] = draw(2, 19)
    pooled = overrides.get("pooled")
    if pooled is not None:
        tasks[-1] = pooled
    overrides = {key: value for key, value in overrides.items() if key != "pooled"}
    structure: dict[str, Any] = {
        "format": "hwgen-model", "version": 2, "name": "random", "weights": "weights.safetensors",
        "image": image, "patch": patch, "dim": draw(5, 40), "heads": draw(1, 3), "head_dim": draw(5, 24),
        "class_token": class_token, "residual_fraction_bits": draw(7, 10),
        "layers": [{"mlp": _mlp(rng, overrides.get("post_norm", False))} for _ in range(draw(1, 3))],
        "tasks": tasks, "scales": {"pixels": 1 / 255},
    }  # fmt: skip
    structure |= overrides
    if "residual_fraction_bits" not in overrides:
        structure["residual_fraction_bits"] = _stream_bits(rng, structure["layers"])
    return structure


def _stream_bits(rng: np.random.Generator, layers: list[dict[str, Any]]) -> list[int]:
    """Fraction bits that fall by 0 to 3 where they may, in half of the models nowhere."""
    bits = [int(rng.integers(8, 13))]
    falls = rng.choice([0, 0, 1, 2, 3], 2 * len(layers)) * int(rng.integers(2))
    for place, fall in enumerate(falls):
        may = place % 2 == 0 or layers[place // 2]["mlp"]["kind"] == "dense"
        bits.append(max(6, bits[-1] - int(fall)) if may else bits[-1])
    return bits


def _mlp(rng: np.random.Generator, dense: bool) -> dict[str, Any]:
    hidden = int(rng.integers(6, 60))
    if rng.random() < 0.4 or dense:
        return {"kind": "dense", "hidden": hidden, "activation": str(rng.choice(list(ACTIVATIONS)))}
    experts = int(rng.integers(2, 10))
    top_k = min(int(rng.integers(1, 4)), experts)
    return {"kind": "moe", "experts": experts, "hidden": hidden, "top_k": top_k,
            "gate": str(rng.choice(["softmax_topk", "topk_softmax"])),
            "activation": str(rng.choice(list(ACTIVATIONS)))}  # fmt: skip
