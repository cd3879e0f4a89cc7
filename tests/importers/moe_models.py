"""A small M3ViT as a state dict with the names of its public code, as an Edge-MoE folder, and what it computes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from hwgen.network.floatmodel import gelu, softmax

State = dict[str, np.ndarray]

#: Blocks, width, hidden width, experts and their width, height and width of an image in patches.
DEPTH, DIM, HIDDEN, EXPERTS, EXPERT_HIDDEN, ROWS, COLUMNS, PATCH = 3, 128, 96, 5, 48, 2, 3, 4


def state_dict(seed: int = 0, gates: int = 2, noisy: bool = False) -> State:
    """Random weights; block 1 has experts. `gates`: of how many tasks; 1: one gate without number."""
    rng = np.random.default_rng(seed)
    state: State = {}

    def put(name: str, *shape: int, spread: float | None = None, mean: float = 0) -> None:
        spread = shape[-1] ** -0.5 if spread is None else spread
        state[name] = rng.normal(mean, spread, shape).astype(np.float32)

    def linear(name: str, *shape: int) -> None:
        put(f"{name}.weight", *shape)
        put(f"{name}.bias", *shape[:-1], spread=0.1)

    put("cls_token", 1, 1, DIM, spread=0.4)
    put("pos_embed", 1, 1 + ROWS * COLUMNS, DIM, spread=0.4)
    put("patch_embed.proj.weight", DIM, 3, PATCH, PATCH, spread=(3 * PATCH * PATCH) ** -0.5)
    put("patch_embed.proj.bias", DIM, spread=0.1)
    for index in range(DEPTH):
        block = f"blocks.{index}"
        for norm in ("norm1", "norm2"):
            put(f"{block}.{norm}.weight", DIM, spread=0.2, mean=1)
            put(f"{block}.{norm}.bias", DIM, spread=0.1)
        linear(f"{block}.attn.qkv", 3 * DIM, DIM)
        linear(f"{block}.attn.proj", DIM, DIM)
        if index % 2 == 0:
            linear(f"{block}.mlp.fc1", HIDDEN, DIM)
            linear(f"{block}.mlp.fc2", DIM, HIDDEN)
            continue
        linear(f"{block}.mlp.experts.htoh4", EXPERTS, EXPERT_HIDDEN, DIM)
        linear(f"{block}.mlp.experts.h4toh", EXPERTS, DIM, EXPERT_HIDDEN)
        for gate in range(gates):
            name = f"{block}.mlp.gate.{gate}" if gates > 1 else f"{block}.mlp.gate"
            put(f"{name}.w_gate", DIM, EXPERTS, spread=0.2)
            if noisy:
                put(f"{name}.w_noise", DIM, EXPERTS)
    return state


def tokens(state: State, pixels: np.ndarray, heads: int, top_k: int, gate: str, task: int | None) -> np.ndarray:
    """The backbone's output [B, N, DIM] for normalised pixels [B, H, W, 3], in double precision.

    `gate`: `noisy` (softmax over the chosen, `NoisyGate`) or `vmoe` (over all, `NoisyGate_VMoE`); both without noise.
    """
    state = {name: value.astype(np.float64) for name, value in state.items()}
    patches = pixels.reshape(len(pixels), ROWS, PATCH, COLUMNS, PATCH, 3)
    x = np.einsum("brycxk,dkyx->brcd", patches, state["patch_embed.proj.weight"]) + state["patch_embed.proj.bias"]
    x = x.reshape(len(pixels), -1, DIM)
    x = np.concatenate([np.repeat(state["cls_token"], len(x), 0), x], 1) + state["pos_embed"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(name: str, x: np.ndarray, expert: int | tuple[()] = ()) -> np.ndarray:
        return x @ state[f"{name}.weight"][expert].T + state[f"{name}.bias"][expert]

    for index in range(DEPTH):
        block = f"blocks.{index}"
        qkv = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x))
        q, k, v = qkv.reshape(*x.shape[:2], 3, heads, DIM // heads).transpose(2, 0, 3, 1, 4)
        context = softmax(q @ k.swapaxes(-1, -2) / math.sqrt(DIM // heads)) @ v
        x = x + linear(f"{block}.attn.proj", context.transpose(0, 2, 1, 3).reshape(x.shape))
        y = norm(f"{block}.norm2", x)
        if index % 2 == 0:
            x = x + linear(f"{block}.mlp.fc2", gelu(linear(f"{block}.mlp.fc1", y)))
            continue
        logits = y @ state[f"{block}.mlp.gate.w_gate" if task is None else f"{block}.mlp.gate.{task}.w_gate"]
        chosen = np.argsort(-logits, -1)[..., :top_k]
        scores = softmax(logits) if gate == "vmoe" else np.zeros_like(logits)
        if gate == "noisy":
            np.put_along_axis(scores, chosen, softmax(np.take_along_axis(logits, chosen, -1)), -1)
        for expert in range(EXPERTS):
            hidden = gelu(linear(f"{block}.mlp.experts.htoh4", y, expert))
            weight = scores[..., expert, None] * (chosen == expert).any(-1, keepdims=True)
            x = x + weight * linear(f"{block}.mlp.experts.h4toh", hidden, expert)
    return x


def edge_moe_folder(state: State, directory: Path) -> Path:
    """The same weights as flat float32 files; the class token goes into row 0 of the position embedding."""
    position = state["pos_embed"][0].copy()
    position[0] += state["cls_token"][0, 0]
    files = {"pos_embed": position}
    for name, value in state.items():
        name = name.replace("blocks.", "l").replace("patch_embed.proj", "patch_embed").replace(".attn.qkv", ".qkv")
        name = name.replace(".mlp.experts", "").replace(".mlp.gate.", ".w_gate_T_task").replace(".mlp", "")
        if name.endswith(".w_gate"):
            name, value = name.removesuffix(".w_gate"), value.T
        if name not in ("cls_token", "pos_embed"):
            files[name.replace(".", "_")] = value
    directory.mkdir(exist_ok=True)
    for name, value in files.items():
        np.ascontiguousarray(value, "<f4").tofile(directory / f"{name}.float32.bin")
    return directory
