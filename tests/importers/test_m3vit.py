"""M3ViT's state dicts against a forward written from its public code; gates per task, kinds of gates, leftovers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.importers import Imported, Overrides, TaskChoice, load
from hwgen.importers.common import ImageSize
from tests.importers.moe_models import COLUMNS, EXPERTS, PATCH, ROWS, State, state_dict, tokens
from tests.importers.timm_models import MEAN, STD

SIZE = ImageSize(height=ROWS * PATCH, width=COLUMNS * PATCH)
GIVEN = Overrides(heads=4, top_k=2, image_size=SIZE)


def saved(state: State, directory: Path) -> Path:
    path = directory / "model.npz"
    np.savez(path, **state)
    return path


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, SIZE.height, SIZE.width, 3), dtype=np.uint8)


def assert_same(imported: Imported, state: State, top_k: int, gate: str) -> None:
    many = len(imported.model.tasks) > 1
    found = {}
    for number, task in enumerate(imported.model.tasks):
        normalised = (images() / 255 - MEAN) / STD
        wanted = tokens(state, normalised, imported.model.heads, top_k, gate, number if many else None)
        found[task.name] = imported.network(np.float64).run(images(), task.name)
        assert np.abs(found[task.name] - wanted).max() < 1e-5 * np.abs(wanted).max()
    if many:
        first, second, *_ = found.values()
        assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize("gates", [1, 2, 3])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_output(tmp_path: Path, gates: int, noisy: bool, top_k: int) -> None:
    """A gate with noise weights takes its softmax over the chosen experts, one without over all."""
    state = state_dict(gates=gates, noisy=noisy)
    imported = load(saved(state, tmp_path), overrides=GIVEN.model_copy(update={"top_k": top_k}))
    assert imported.source == "m3vit"
    assert [task.name for task in imported.model.tasks] == (
        ["tokens"] if gates == 1 else [f"task{i}" for i in range(gates)]
    )
    assert imported.model.layers[1].mlp.gate == ("topk_softmax" if noisy else "softmax_topk")
    assert imported.model.layers[1].mlp.experts == EXPERTS
    assert_same(imported, state, top_k, "noisy" if noisy else "vmoe")


def test_training_checkpoint(tmp_path: Path) -> None:
    """As saved in training: backbone and decoders, auxiliary tensors of the gates; tasks named by the user."""
    state = state_dict()
    whole = {f"module.backbone.{name}": value for name, value in state.items()}
    whole["module.backbone.blocks.1.mlp.gate.0.w_gate_aux"] = np.zeros((1,), np.float32)
    whole["module.backbone.blocks.1.mlp.gate.0.head.weight"] = np.zeros((1,), np.float32)
    whole["module.decoders.semseg.norm.weight"] = np.zeros((1,), np.float32)
    whole["module.decoders.depth.syncbn_fc_0.num_batches_tracked"] = np.zeros((), np.int64)
    whole["module.tam_model0.layers0.0.weight"] = np.zeros((1,), np.float32)
    named = GIVEN.model_copy(update={"tasks": [TaskChoice(name="semseg"), TaskChoice(name="depth")]})
    imported = load(saved(whole, tmp_path), overrides=named)
    assert [task.name for task in imported.model.tasks] == ["semseg", "depth"]
    assert imported.notes[0] == "3 tensors of the decoders (semseg, depth) left to the host"
    assert_same(imported, state, 2, "vmoe")


def test_gate_can_be_said(tmp_path: Path) -> None:
    said = GIVEN.model_copy(update={"gate": "topk_softmax"})
    state = state_dict()
    assert_same(load(saved(state, tmp_path), overrides=said), state, 2, "noisy")


def message(path: Path, overrides: Overrides) -> str:
    with pytest.raises(HwgenError) as caught:
        load(path, overrides=overrides)
    return caught.value.text().replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("heads", "the number of attention heads of 128 channels, which the checkpoint does not tell"),
        ("top_k", "the number of experts, of 5, that a token uses, which the checkpoint does not tell"),
        ("image_size", "the size of 6 patches of 4x4, which the checkpoint does not tell"),
    ],
)
def test_what_the_checkpoint_does_not_tell_is_asked_for(tmp_path: Path, key: str, text: str) -> None:
    found = message(saved(state_dict(), tmp_path), GIVEN.model_copy(update={key: None}))
    assert found.startswith(f"FILE\n  expected: {text}\n  found:    no value given\n  mend:     give `--")


def test_wrong_tensors(tmp_path: Path) -> None:
    state = state_dict()
    gate = "blocks.1.mlp.gate.1.w_gate"
    assert message(saved(state | {gate: state[gate].T}, tmp_path), GIVEN) == (
        f"FILE: {gate}\n  expected: float [128, any]\n  found:    float32 [5, 128]"
    )
    shard = {name: value[:2] if ".experts." in name else value for name, value in state.items()}
    assert message(saved(shard, tmp_path), GIVEN) == (
        "FILE: blocks.1.mlp.experts.htoh4.weight\n  expected: float [5, 48, 128]\n  found:    float32 [2, 48, 128]"
    )
    shard = {name: value[:1] if ".experts." in name else value for name, value in state.items()}
    assert message(saved(shard, tmp_path), GIVEN) == (
        "FILE: blocks.1.mlp.experts.htoh4.weight\n  expected: 5 experts, as the gate chooses of\n"
        "  found:    1, as in the file of one process of 5\n"
        "  mend:     give the folder with the files of all processes, 0.pth, 1.pth, ..."
    )
    for lost in ("experts.htoh4.weight", "experts.h4toh.bias"):
        rest = {name: value for name, value in state.items() if name != f"blocks.1.mlp.{lost}"}
        assert message(saved(rest, tmp_path), GIVEN).startswith("FILE: blocks.1.mlp.")
        assert "fc2" not in message(saved(rest, tmp_path), GIVEN)
    conditioned = state | {"gate_task_represent.fc1.weight": np.zeros((2, 2), np.float32)}
    assert message(saved(conditioned, tmp_path), GIVEN) == (
        "FILE: gate_task_represent.fc1.weight\n  expected: a gate per task (multi_gate)\n"
        "  found:    a task-conditioned gate\n  mend:     only the multi-gate variant is supported"
    )
    assert "only tensors of M3ViT" in message(saved(state | {"norm.weight": np.ones(128, "f")}, tmp_path), GIVEN)
    assert "top_k\n  expected: at most experts = 5" in message(
        saved(state, tmp_path), GIVEN.model_copy(update={"top_k": 6})
    )
