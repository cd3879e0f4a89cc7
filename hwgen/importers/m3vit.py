"""M3ViT (Liang et al., NeurIPS 2022): a ViT of FastMoE experts in every other block, with a gate per task.

The names are those of the public training code: `blocks.N.mlp.experts.htoh4` and `.h4toh` with weights
[experts, out, in], `blocks.N.mlp.gate.T.w_gate` [dim, experts] (one task-independent gate: `.gate.w_gate`). The
backbone ends without a norm; norm and convolutions of the tasks' decoders are left to the host.
"""

from __future__ import annotations

from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.importers.common import IMAGENET, Draft, Imported, in_codes
from hwgen.importers.source import ANY, Source
from hwgen.importers.timm import attention, dense_mlp, embedding, finish

#: Tensors that serve training only: noise and auxiliary logits of the gates, their semantic regularizer.
TRAINING = ("blocks.*.mlp.gate.*w_noise*", "blocks.*.mlp.gate.*w_gate_aux", "blocks.*.mlp.gate.*head.*")


def import_m3vit(source: Source, draft: Draft) -> Imported:
    """The backbone of an M3ViT state dict; its tokens are every task's output."""
    for name in source.names("gate_task_represent.*"):
        raise HwgenError(source.where, name, expected="a gate per task (multi_gate)", found="a task-conditioned gate",
                         mend="only the multi-gate variant is supported")  # fmt: skip
    noisy = bool(source.names(TRAINING[0]))
    for pattern in TRAINING:
        source.ignore(pattern)
    decoders = list(dict.fromkeys(name.split(".")[1] for name in source.names("decoders.*")))
    left = source.ignore("decoders.*") + source.ignore("tam_model*")
    if left:
        draft.notes.append(f"{left} tensors of the decoders ({', '.join(decoders)}) left to the host")
    if source.ignore("dist_token"):
        draft.notes.append("dist_token left out: the network does not use it")
    prefix = embedding(source, draft)
    layers: list[dict[str, Any]] = []
    gates = 0
    while source.names(f"blocks.{len(layers)}.*") or not layers:
        index = len(layers)
        attention(source, draft, index)
        if any(source.names(f"blocks.{index}.mlp.{part}.*") for part in ("experts", "gate")):
            gates, mlp = _experts(source, draft, index, noisy)
            layers.append({"mlp": mlp})
        else:
            layers.append({"mlp": dense_mlp(source, draft, index)})
    names = [f"task{number}" for number in range(gates)] if gates > 1 else ["tokens"]
    tasks = draft.tasks([{"name": name, "head": "none", "norm": False} for name in names])
    if gates > 1 and draft.overrides.tasks is None:
        draft.notes.append("tasks in the order of their gates; name them with --tasks")
    source.finish("M3ViT")
    if draft.overrides.normalize is None and draft.channels == len(IMAGENET[0]):
        draft.overrides = draft.overrides.model_copy(update={"normalize": in_codes(IMAGENET)})
        draft.warnings.append(
            "normalisation taken to be ImageNet's, as in the public training code; else give --mean and --std"
        )
    return finish(draft, prefix, layers, tasks, draft.activation("gelu"))


def _experts(source: Source, draft: Draft, index: int, noisy: bool) -> tuple[int, dict[str, Any]]:
    """Gates and experts of a block: the number of gates, and the entry in the description."""
    mlp = f"blocks.{index}.mlp"
    many = f"{mlp}.gate.0.w_gate" in source
    gates = 0
    while gates == 0 or (many and f"{mlp}.gate.{gates}.w_gate" in source):
        gate = source.take(f"{mlp}.gate.{gates}.w_gate" if many else f"{mlp}.gate.w_gate", draft.dim, ANY)
        draft.tensors[f"l{index}.gate{gates}"] = gate.T.copy()
        gates += 1
    experts, hidden = gate.shape[1], source.size(f"{mlp}.experts.htoh4.weight", 1)
    there = source.size(f"{mlp}.experts.htoh4.weight", 0)
    if there < experts and experts % there == 0:
        raise HwgenError(source.where, f"{mlp}.experts.htoh4.weight",
                         expected=f"{experts} experts, as the gate chooses of",
                         found=f"{there}, as in the file of one process of {experts // there}",
                         mend="give the folder with the files of all processes, 0.pth, 1.pth, ...")  # fmt: skip
    weights = (
        source.take(f"{mlp}.experts.htoh4.weight", experts, hidden, draft.dim),
        source.take(f"{mlp}.experts.htoh4.bias", experts, hidden),
        source.take(f"{mlp}.experts.h4toh.weight", experts, draft.dim, hidden),
        source.take(f"{mlp}.experts.h4toh.bias", experts, draft.dim),
    )
    for expert, (w1, b1, w2, b2) in enumerate(zip(*weights, strict=True)):
        draft.linear(f"l{index}.e{expert}.fc1", w1, b1)
        draft.linear(f"l{index}.e{expert}.fc2", w2, b2)
    return gates, moe(draft, experts, hidden, "topk_softmax" if noisy else "softmax_topk")


def moe(draft: Draft, experts: int, hidden: int, gate: str) -> dict[str, Any]:
    """Entry of a mixture of experts in the description; `gate`: the kind where none is given."""
    if draft.overrides.top_k is None:
        raise draft.ask("--top-k", f"the number of experts, of {experts}, that a token uses")
    return {"kind": "moe", "experts": experts, "hidden": hidden, "top_k": draft.overrides.top_k,
            "gate": draft.overrides.gate or gate}  # fmt: skip
