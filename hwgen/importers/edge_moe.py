"""The weight folder of Edge-MoE (Sarkar et al., ICCAD 2023): little-endian float32 files `NAME.float32.bin`.

Files have no shapes; weights are [out][in], the patch embedding [dim][channel][row][column]. Row 0 of `pos_embed` has
the class token added. Blocks with `lN_htoh4_*` have experts, with a gate [experts][dim] per task. There is no final
norm and no head: the tokens behind the last block are the output. Pixels are k/256 (`ap_ufixed<8, 0>`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.common import Draft, ImageSize, Imported, in_codes
from hwgen.importers.files import RAW_SUFFIX
from hwgen.importers.m3vit import moe
from hwgen.importers.source import ANY, Source

#: Of the accelerator's model.hpp and weights, where nothing else is given.
CHANNELS, HEAD_DIM, TOP_K, ROWS, COLUMNS = 3, 64, 2, 8, 16
#: Mean and standard deviation for pixels in 0..1.
NORMALIZE = ((0.0,) * CHANNELS, (256 / 255,) * CHANNELS)
#: The example's image and the reference outputs that lie in the same folder.
DATA = ("image", "l*_x_post_*")
#: Files of a block that has experts; any of them shows it, others may be lost.
EXPERTS = ("htoh4_*", "h4toh_*", "w_gate_*")


def import_edge_moe(source: Source, draft: Draft) -> Imported:
    """The network of an Edge-MoE weight folder; its tokens are every task's output."""
    for pattern in DATA:
        source.ignore(pattern)
    folder = _Folder(source, draft)
    folder.embedding()
    layers: list[dict[str, Any]] = []
    while source.names(f"l{len(layers)}_*") or not layers:
        layers.append({"mlp": folder.block(len(layers))})
    source.finish("Edge-MoE")
    if draft.overrides.normalize is None:
        draft.overrides = draft.overrides.model_copy(update={"normalize": in_codes(NORMALIZE)})
    patches = len(draft.tensors["pos"]) - 1
    if draft.overrides.image_size is None and patches == ROWS * COLUMNS:
        size = ImageSize(height=ROWS * draft.patch[0], width=COLUMNS * draft.patch[1])
        draft.overrides = draft.overrides.model_copy(update={"image_size": size})
        draft.notes.append(f"image {size.height}x{size.width}: {ROWS}x{COLUMNS} patches, as in the released model")
    names = [f"task{number}" for number in range(folder.gates)] or ["tokens"]
    return draft.finish(
        image=draft.image_size(patches),
        heads=draft.heads(draft.dim, HEAD_DIM),
        normalize=draft.normalize(CHANNELS),
        activation=draft.activation("gelu"),
        layers=layers,
        tasks=draft.tasks([{"name": name, "head": "none", "norm": False} for name in names]),
    )


class _Folder:
    """Shapes the flat files."""

    def __init__(self, source: Source, draft: Draft) -> None:
        self.source, self.draft = source, draft
        self.gates = 0

    def take(self, name: str, *shape: int) -> np.ndarray:
        """The numbers of a file in this shape, of which one size may be ANY."""
        flat = self.source.take(name, ANY)
        known = math.prod(size for size in shape if size != ANY)
        if flat.size % known or (ANY not in shape and flat.size != known):
            sizes = " x ".join("any" if size == ANY else str(size) for size in shape)
            raise HwgenError(self.source.where, name + RAW_SUFFIX, expected=f"{sizes} numbers", found=str(flat.size),
                             mend="is it another model's, or incomplete?")  # fmt: skip
        return flat.reshape(shape)

    def embedding(self) -> None:
        bias = self.take("patch_embed_bias", ANY)
        dim = len(bias)
        kernel = self.take("patch_embed_weight", dim, CHANNELS, ANY)
        side = math.isqrt(kernel.shape[2])
        if side * side != kernel.shape[2]:
            raise HwgenError(self.source.where, f"patch_embed_weight{RAW_SUFFIX}", found=f"{kernel.shape[2]} pixels",
                             expected=f"square patches of {CHANNELS} channels")  # fmt: skip
        self.draft.conv(kernel.reshape(dim, CHANNELS, side, side), bias)
        self.draft.tensors["pos"] = self.take("pos_embed", ANY, dim)
        self.draft.tensors["cls"] = np.zeros((1, dim), np.float32)

    def block(self, index: int) -> dict[str, Any]:
        """A block's tensors, and its MLP's entry in the description."""
        layer, dim, draft = f"l{index}", self.draft.dim, self.draft
        for part, norm in (("n1", "norm1"), ("n2", "norm2")):
            gamma, beta = self.take(f"{layer}_{norm}_weight", dim), self.take(f"{layer}_{norm}_bias", dim)
            draft.norm(f"{layer}.{part}", gamma, beta)
        self.linear("qkv", f"{layer}_qkv", index, 3 * dim, dim)
        self.linear("proj", f"{layer}_attn_proj", index, dim, dim)
        if any(self.source.names(f"{layer}_{sign}") for sign in EXPERTS):
            return self.experts(index)
        hidden = self.source.size(f"{layer}_fc1_bias", 0)
        self.linear("fc1", f"{layer}_fc1", index, hidden, dim)
        self.linear("fc2", f"{layer}_fc2", index, dim, hidden)
        return {"kind": "dense", "hidden": hidden}

    def linear(self, name: str, file: str, index: int, outputs: int, inputs: int) -> None:
        weight, bias = self.take(f"{file}_weight", outputs, inputs), self.take(f"{file}_bias", outputs)
        self.draft.linear(f"l{index}.{name}", weight, bias)

    def experts(self, index: int) -> dict[str, Any]:
        """Gates and experts of a block, and its entry in the description."""
        layer, dim, draft = f"l{index}", self.draft.dim, self.draft
        gates = 0
        while gates == 0 or f"{layer}_w_gate_T_task{gates}" in self.source:
            draft.tensors[f"{layer}.gate{gates}"] = self.take(f"{layer}_w_gate_T_task{gates}", ANY, dim)
            gates += 1
        experts = len(draft.tensors[f"{layer}.gate0"])
        self.gates = self.gates or gates
        first, second = self.take(f"{layer}_htoh4_bias", experts, ANY), self.take(f"{layer}_h4toh_bias", experts, dim)
        hidden = first.shape[1]
        up = self.take(f"{layer}_htoh4_weight", experts, hidden, dim)
        down = self.take(f"{layer}_h4toh_weight", experts, dim, hidden)
        for expert in range(experts):
            draft.linear(f"{layer}.e{expert}.fc1", up[expert], first[expert])
            draft.linear(f"{layer}.e{expert}.fc2", down[expert], second[expert])
        if draft.overrides.top_k is None:
            draft.overrides = draft.overrides.model_copy(update={"top_k": TOP_K})
            draft.notes.append(f"{TOP_K} experts per token: as in the released model; else give --top-k")
        return moe(draft, experts, hidden, "softmax_topk")
