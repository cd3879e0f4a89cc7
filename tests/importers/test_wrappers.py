"""The network inside a training module: what is put before its names is taken off, what is beside them left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hwgen.common.errors import HwgenError
from hwgen.importers import load
from hwgen.importers.wrappers import find_network, unwrap
from tests.importers.timm_models import told, vit

PREFIXES = ("net.", "vit.", "encoder.", "timm_model.", "model.net.", "0.", "module._orig_mod.backbone.", "ema.module.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrapped_networks(tmp_path: Path, prefix: str) -> None:
    state = vit().state_dict()
    torch.save({"state_dict": {prefix + name: value for name, value in state.items()}}, tmp_path / "x.ckpt")
    imported = load(tmp_path / "x.ckpt", overrides=told())
    np.testing.assert_array_equal(imported.tensors["l1.fc1.w"], state["blocks.1.mlp.fc1.weight"].numpy())
    assert not any("left out" in note for note in imported.notes)


def test_lightning(tmp_path: Path) -> None:
    """Metrics, losses and a profiler's counters beside the network are left out, and said."""
    state = {f"model.{name}": value for name, value in vit().state_dict().items()}
    beside = {
        "train_acc.total": torch.tensor(3), "criterion.weight": torch.ones(10),
        "val_metrics.MulticlassF1Score.tp": torch.ones(2),
        "auroc.preds": torch.ones(3), "model.blocks.0.attn.total_ops": torch.tensor(1.0),
        "loss_fn.weight": torch.ones(1),
    }  # fmt: skip
    content = {"state_dict": state | beside, "pytorch-lightning_version": "2.4.0", "hyper_parameters": {"lr": 1e-3},
               "callbacks": {}, "optimizer_states": [], "loops": {}}  # fmt: skip
    torch.save(content, tmp_path / "epoch=9-step=100.ckpt")
    imported = load(tmp_path / "epoch=9-step=100.ckpt", overrides=told())
    assert imported.notes[0] == "6 tensors of metrics and losses (auroc, criterion, loss_fn, model) left out"
    torch.save({"state_dict": state | {"adapter.weight": torch.ones(2)}}, tmp_path / "x.ckpt")
    with pytest.raises(HwgenError, match=r"adapter.weight\n  expected: only tensors of a plain Vision Transformer"):
        load(tmp_path / "x.ckpt", overrides=told())


def test_teacher_of_self_supervised_training(tmp_path: Path) -> None:
    """DINO's: a network and a projection head, for student and teacher."""
    state = {f"backbone.{name}": value for name, value in vit(num_classes=0).state_dict().items()}
    head = {"head.mlp.0.weight": torch.ones(4, 128), "head.last_layer.weight_v": torch.ones(4, 4)}
    torch.save({"student": dict.fromkeys(state, torch.zeros(1)), "teacher": state | head}, tmp_path / "dino.pth")
    imported = load(tmp_path / "dino.pth", overrides=told(pooling=None))
    assert imported.notes[:2] == [
        "weights taken from the key `teacher`, not those beside them",
        "the heads of the training left out (2 tensors)",
    ]
    assert imported.source == "dino"
    as_timm = load(tmp_path / "dino.pth", "timm", told(pooling=None))
    assert as_timm.notes[1] == "2 tensors of a projection head, as self-supervised training has it, left out"
    np.testing.assert_array_equal(imported.tensors["l1.fc1.w"], as_timm.tensors["l1.fc1.w"])


SIGNS = [("patch_embed.proj.weight",)]


def names(*prefixes: str) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": np.full(1, number) for number, prefix in enumerate(prefixes)
            for name in ("patch_embed.proj.weight", "norm.bias")}  # fmt: skip


def test_several_networks() -> None:
    """Averages are wanted; else it must be clear."""
    notes: list[str] = []
    found = find_network(names("student.", "teacher."), SIGNS, "FILE", notes.append)
    assert found == {"patch_embed.proj.weight": [1], "norm.bias": [1]}
    assert notes == ["the network `teacher` of 2 in the file; 2 tensors left out"]
    assert find_network(names("", "ema_model."), SIGNS, "FILE", notes.append)["norm.bias"] == [1]
    assert find_network(names("", "other."), SIGNS, "FILE", notes.append)["norm.bias"] == [0]
    with pytest.raises(HwgenError) as caught:
        find_network(names("left.", "right."), SIGNS, "FILE", notes.append)
    assert caught.value.text() == (
        "FILE\n  expected: one network\n  found:    2, under `left.`, `right.`\n"
        "  mend:     save the state dict of the one that is wanted"
    )


def test_signs_of_several_patterns() -> None:
    """All behind the same module; the first sign that is there counts, with nothing before it as well."""
    averaged = ("teacher.patch_embed.proj.weight",)
    pair = ("patch_embed.proj.weight", "mask_token")
    tensors = names("left.", "right.") | {"left.mask_token": np.ones(1)}
    found = find_network(tensors, [pair, *SIGNS], "FILE", print)
    assert found.keys() == {"patch_embed.proj.weight", "norm.bias", "mask_token"} | names("right.").keys()
    with pytest.raises(HwgenError, match=r"2, under `left\.`, `right\.`"):
        find_network(tensors, [("norm.bias", "cls_token"), *SIGNS, pair], "FILE", print)
    tensors = names("student.", "teacher.")
    assert find_network(tensors, [averaged, *SIGNS], "FILE", print).keys() == tensors.keys()


def test_signs_that_take_modules_themselves() -> None:
    """Of these names only that is taken off which all have, or by which networks differ."""
    signs = [("*embeddings.weight",)]
    one = {"vit.embeddings.weight": np.ones(1), "classifier.weight": np.ones(1)}
    wrapped = {f"net.model.{name}": tensor for name, tensor in one.items()}
    assert find_network(one, signs, "FILE", print).keys() == one.keys()
    assert find_network(wrapped | {"loss.weight": np.ones(1)}, signs, "FILE", print).keys() == one.keys()
    two = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in one.items()}
    assert find_network(two, signs, "FILE", print).keys() == one.keys()
    assert find_network({"a.embeddings.weight": np.ones(1)}, signs, "FILE", print).keys() == {"embeddings.weight"}


def test_other_names_stay() -> None:
    state = {"vit.embeddings.cls_token": np.ones(1), "classifier.weight": np.ones(1)}
    assert find_network(state, SIGNS, "FILE", print).keys() == state.keys()
    assert unwrap(state, "FILE").keys() == state.keys()
