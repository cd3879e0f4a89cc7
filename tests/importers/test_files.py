"""Reading checkpoint files: all kinds of number formats and wrappers, and every way in which a file can be broken."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from hwgen.common.errors import HwgenError
from hwgen.importers import load
from hwgen.importers.files import read_tensors
from tests.importers.timm_models import told, vit


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(3, 4, generator=generator), "a.bias": torch.randn(3, generator=generator)}


def save(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in content.items()})
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pt", "pth", "bin", "pth.tar"])
def test_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    found = read_tensors(save(tmp_path / f"model.{suffix}", tensors()))
    assert set(found) == {"a.weight", "a.bias"}
    for name, tensor in tensors().items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    """A whole network in this type becomes float32; the values are those of the type."""
    state = {name: tensor.to(dtype) for name, tensor in vit().state_dict().items()}
    imported = load(save(tmp_path / f"model.{suffix}", state), overrides=told())
    assert {tensor.dtype for tensor in imported.tensors.values()} == {np.dtype(np.float32)}
    wanted = state["blocks.1.mlp.fc1.weight"].float().numpy()
    np.testing.assert_array_equal(imported.tensors["l1.fc1.w"], wanted)


WRAPPED: dict[str, Any] = {
    "model": lambda state: {"model": state, "epoch": 3},
    "state_dict": lambda state: {"state_dict": state, "arch": "vit"},
    "averaged": lambda state: {"state_dict": dict.fromkeys(state, torch.zeros(1)), "state_dict_ema": state},
    "DataParallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled": lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    "backbone": lambda state: {"model": {f"module.backbone.{name}": tensor for name, tensor in state.items()}},
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_wrappers(tmp_path: Path, wrapper: str) -> None:
    found = read_tensors(save(tmp_path / "model.pth", WRAPPED[wrapper](tensors())))
    np.testing.assert_array_equal(found["a.weight"], tensors()["a.weight"].numpy())
    assert set(found) == {"a.weight", "a.bias"}


def test_shards_of_experts(tmp_path: Path) -> None:
    """FastMoE saves a file per process: the experts of each, everything else in the first."""
    name = "blocks.1.mlp.experts.htoh4.weight"
    for rank in range(11):  # 10 comes after 9, not after 1
        shard = {name: torch.full((2, 3, 4), float(rank))} | ({"pos_embed": torch.ones(1, 5, 4)} if rank == 0 else {})
        torch.save(
            {"state_dict": {f"module.backbone.{key}": value for key, value in shard.items()}}, tmp_path / f"{rank}.pth"
        )
    found = read_tensors(tmp_path)
    assert found[name].shape == (22, 3, 4)
    assert found[name][::2, 0, 0].tolist() == list(range(11))
    assert found["pos_embed"].shape == (1, 5, 4)


def test_many_classes(tmp_path: Path) -> None:
    """A head of ImageNet-21k."""
    state = vit(num_classes=22000).state_dict()
    imported = load(save(tmp_path / "model.pth", state), overrides=told())
    assert imported.model.tasks[0].outputs == 22000
    np.testing.assert_array_equal(imported.tensors["head0.w"], state["head.weight"].numpy())


# --- errors


def message(path: Path) -> str:
    with pytest.raises(HwgenError) as caught:
        load(path)
    return caught.value.text().replace(str(path.parent), "DIR")


class Schedule:
    """Of a training library."""


class Command:
    """Unpickled by a reader that trusts the file, it runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.proof}",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    path = save(tmp_path / "code.pth", {"model": tensors(), "extra": Command(proof)})
    assert message(path) == (
        "DIR/code.pth\n  expected: tensors only: unpickling objects could run any code\n"
        f"  found:    the Python object {os.system.__module__}.system\n"
        "  mend:     if you trust the file, save its weights again with torch.save(model.state_dict(), path)"
    )
    np.savez(tmp_path / "code.npz", a=np.array([Command(proof)], object))
    assert message(tmp_path / "code.npz") == (
        "DIR/code.npz: a\n  expected: a whole NumPy .npz file: unpickling objects could run any code\n"
        "  found:    Python objects\n"
        "  mend:     if you trust the file, save it again with numpy.savez of plain arrays"
    )
    assert not proof.exists()


def test_objects_beside_the_weights(tmp_path: Path) -> None:
    """A whole model is code, and so is an optimizer's schedule."""
    path = save(tmp_path / "args.pth", {"model": tensors(), "schedule": Schedule()})
    assert f"found:    the Python object {__name__}.Schedule\n" in message(path)
    whole = save(tmp_path / "whole.pth", torch.nn.Linear(2, 2))
    assert "found:    the Python object torch.nn.modules.linear.Linear\n" in message(whole)


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pth"])
@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_truncated(tmp_path: Path, suffix: str, part: float) -> None:
    path = save(tmp_path / f"model.{suffix}", {"a": torch.randn(50, 50)})
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    kind = {"safetensors": "safetensors", "npz": "NumPy .npz", "pth": "PyTorch"}[suffix]
    text = message(path)
    assert text.startswith(f"DIR/model.{suffix}\n  expected: a whole {kind} file\n  found:    "), text
    assert text.endswith("\n  mend:     copy or download the file again"), text
    assert len(text.splitlines()) == 4, text


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pth"])
def test_something_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(b"no checkpoint at all, but some text")
    assert "expected: a whole " in message(path) or "expected: tensors only" in message(path)


def test_bytes_of_a_raw_folder(tmp_path: Path) -> None:
    file = tmp_path / "l0_qkv_weight.float32.bin"
    file.write_bytes(bytes(7))
    assert (
        message(tmp_path)
        .replace(str(tmp_path.parent), "DIR")
        .endswith(
            "l0_qkv_weight.float32.bin\n  expected: little-endian float32 numbers, 4 bytes each\n"
            "  found:    7 bytes\n  mend:     copy the file again, it is incomplete"
        )
    )


def test_no_checkpoint(tmp_path: Path) -> None:
    assert message(tmp_path / "lost.pth") == (
        "DIR/lost.pth\n  expected: a checkpoint\n  found:    no such file or folder\n  mend:     check the path"
    )
    (tmp_path / "model.txt").write_text("x")
    assert "found:    a file 'model.txt'" in message(tmp_path / "model.txt")
    (tmp_path / "empty").mkdir()
    assert "expected: files *.float32.bin (Edge-MoE), or 0.pth, 1.pth, ... (M3ViT)" in message(tmp_path / "empty")
    assert message(save(tmp_path / "none.pth", {})) == (
        "DIR/none.pth\n  expected: named tensors\n  found:    none in it\n"
        "  mend:     save them with torch.save(model.state_dict(), path)"
    )
    several = {"epoch": 3, "a": tensors(), "b": tensors(), "log": [1, 2], "lr": 0.1, "seed": 0, "name": "x", "best": 1}
    text = message(save(tmp_path / "several.pth", several))
    assert "found:    epoch (int), a (dict of 2), b (dict of 2), log (list of 2), lr (float), seed (int) and 2" in text
    assert "expected: a state dict, tensors by name\n  found:    list" in message(save(tmp_path / "list.pth", [1]))


def test_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "model.pth", tensors())
    monkeypatch.setitem(sys.modules, "torch", None)
    assert message(path) == (
        "DIR/model.pth\n  expected: PyTorch, to read its files\n  found:    no such module\n"
        "  mend:     pip install 'hwgen[torch]', or save the weights as .safetensors"
    )


def test_number_types_without_a_float32(tmp_path: Path) -> None:
    path = save(tmp_path / "model.safetensors", {"a": torch.zeros(3).to(torch.float8_e4m3fn)})
    assert message(path) == (
        "DIR/model.safetensors: a\n  expected: float64, float32, float16 or bfloat16\n  found:    F8_E4M3\n"
        "  mend:     convert the weights to float32"
    )
    path = save(tmp_path / "model.pth", {"a": torch.eye(3).to_sparse()})
    assert "DIR/model.pth: a\n  expected: a dense float tensor\n" in message(path)


def test_both_with_and_without_a_prefix(tmp_path: Path) -> None:
    path = save(tmp_path / "model.pth", {"x": torch.zeros(1), "backbone.x": torch.zeros(1)})
    assert message(path) == ("DIR/model.pth: backbone.x\n  expected: each name once\n  found:    `x` and `backbone.x`")


def test_unknown_names(tmp_path: Path) -> None:
    path = save(tmp_path / "model.pth", {name: torch.zeros(1) for name in "abcde"})
    assert message(path) == (
        "DIR/model.pth\n  expected: the tensor names of dino, dinov2, edge-moe, huggingface, hwgen, ibot, jax, "
        "lucidrains, m3vit, mae, mocov3, timm, torchvision\n"
        "  found:    a, b, c and 2 more\n"
        "  mend:     if it is one of these, its tensors were renamed: name the format with --format"
    )
    with pytest.raises(
        HwgenError, match=r"format\n  expected: one of auto, m3vit, mae, .*, timm, huggingface, .*\n  found:    'tim'"
    ):
        load(path, "tim")


# --- tensors that are not what the names promise


def changed(tmp_path: Path, change: Any) -> str:
    """The message for a ViT's state dict after `change` of it."""
    state = dict(vit().state_dict())
    change(state)
    return message(save(tmp_path / "model.safetensors", {name: value.contiguous() for name, value in state.items()}))


def test_renamed(tmp_path: Path) -> None:
    assert changed(tmp_path, lambda s: s.update({"blocks.1.mlp.fc_1.weight": s.pop("blocks.1.mlp.fc1.weight")})) == (
        "DIR/model.safetensors: blocks.1.mlp.fc1.weight\n  expected: float [512, 128]\n  found:    no such tensor\n"
        "  mend:     did you mean `blocks.1.mlp.fc_1.weight`?"
    )


def test_transposed(tmp_path: Path) -> None:
    name = "blocks.0.attn.qkv.weight"
    assert changed(tmp_path, lambda s: s.update({name: s[name].T})) == (
        f"DIR/model.safetensors: {name}\n  expected: float [384, 128]\n  found:    float32 [128, 384]\n"
        "  mend:     it looks transposed: weights are [out, in]"
    )


def test_not_a_number(tmp_path: Path) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        state["norm.weight"][7] = float("nan")

    assert changed(tmp_path, spoil) == (
        "DIR/model.safetensors: norm.weight\n  expected: finite float32 numbers\n  found:    nan at [7]\n"
        "  mend:     take an earlier checkpoint"
    )


def test_too_large_for_float32(tmp_path: Path) -> None:
    text = changed(tmp_path, lambda s: s.update({"norm.weight": torch.full((128,), 1e300, dtype=torch.float64)}))
    assert "norm.weight\n  expected: finite float32 numbers\n  found:    inf at [0]" in text


def test_wrong_number_type(tmp_path: Path) -> None:
    assert changed(tmp_path, lambda s: s.update({"head.weight": torch.ones(10, 128, dtype=torch.int8)})) == (
        "DIR/model.safetensors: head.weight\n  expected: float [any, 128]\n  found:    int8 [10, 128]"
    )


def test_missing_altogether(tmp_path: Path) -> None:
    text = changed(tmp_path, lambda s: [s.pop(name) for name in list(s) if name.startswith("blocks.")])
    assert text.startswith("DIR/model.safetensors: blocks.0.attn.proj.weight\n  expected: float [any, any]\n")
