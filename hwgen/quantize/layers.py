"""The linear layers of a structure, and where a checkpoint has their weights."""

from __future__ import annotations

from dataclasses import replace

from hwgen.network.description import Model, MoeMlp, expected_tensors
from hwgen.network.floatmodel import FloatModel, GivenWeights


def linear_layers(model: Model) -> dict[str, int]:
    """Number of weights of each linear layer by its name in the description."""
    specs = expected_tensors(model)
    return {name.removesuffix(".weight"): spec.shape[0] * spec.shape[1]
            for name, spec in specs.items() if name.endswith(".weight")}  # fmt: skip


def checkpoint_rows(model: Model) -> dict[str, tuple[str, slice]]:
    """Linear layer -> checkpoint prefix (of `.w` and `.b`, for a gate the whole name) and the rows it has there."""
    whole, width = slice(None), model.attn_dim
    found = {"embed": ("embed", whole)}
    for index, layer in enumerate(model.layers):
        name, source = f"layers.{index}", f"l{index}"
        for number, part in enumerate("qkv"):
            found[f"{name}.attn.{part}"] = f"{source}.qkv", slice(number * width, (number + 1) * width)
        found[f"{name}.attn.proj"] = f"{source}.proj", whole
        if not isinstance(layer.mlp, MoeMlp):
            parts = ("fc1", *["up"] * layer.mlp.gated, "fc2")
            found |= {f"{name}.mlp.{part}": (f"{source}.{part}", whole) for part in parts}
            continue
        for number, task in enumerate(model.tasks):
            found[f"{name}.moe.gate.{task.name}"] = f"{source}.gate{number}", whole
        for expert in range(layer.mlp.experts):
            for part in ("fc1", "fc2"):
                found[f"{name}.moe.experts.{expert}.{part}"] = f"{source}.e{expert}.{part}", whole
    for number, task in enumerate(model.tasks):
        if task.mlp is not None:
            name, source = f"tasks.{task.name}.map", f"map{number}"
            for part, rows in (("k", slice(width)), ("v", slice(width, 2 * width))):
                found[f"{name}.{part}"] = f"{source}.kv", rows
            found[f"{name}.proj"] = f"{source}.proj", whole
            found |= {f"{name}.mlp.{part}": (f"{source}.{part}", whole) for part in ("fc1", "fc2")}
    heads = [number for number, task in enumerate(model.tasks) if task.outputs is not None]
    found |= {f"tasks.{model.tasks[number].name}.head": (f"head{number}", whole) for number in heads}
    return found


def given_layers(network: FloatModel) -> dict[str, GivenWeights]:
    """Linear layer -> the scales that its integer weights had in the checkpoint, of those that had any."""
    return {name: replace(network.given[source], scales=network.given[source].scales[rows])
            for name, (source, rows) in checkpoint_rows(network.model).items() if source in network.given}  # fmt: skip
