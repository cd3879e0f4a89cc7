"""Edge-MoE's weight folders: the same network as the M3ViT they were made from, on pixels k/256."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.importers import Overrides, load
from tests.importers.moe_models import edge_moe_folder, state_dict, tokens
from tests.importers.test_m3vit import SIZE, images

GIVEN = Overrides(image_size=SIZE)


def test_output(tmp_path: Path) -> None:
    state = state_dict()
    folder = edge_moe_folder(state, tmp_path / "weights")
    (folder / "image.float32.bin").write_bytes(bytes(12))
    (folder / "l2_x_post_mlp.float32.bin").write_bytes(bytes(12))
    imported = load(folder, overrides=GIVEN)
    assert (imported.source, imported.model.name, imported.eps) == ("edge-moe", "weights", 1e-6)
    assert imported.notes[:2] == [
        "2 experts per token: as in the released model; else give --top-k",
        "2 heads: taken to be 64 wide; else give --heads",
    ]
    for number, task in enumerate(imported.model.tasks):
        wanted = tokens(state, images() / 256, 2, 2, "vmoe", number)
        found = imported.network(np.float64).run(images(), task.name)
        assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert [task.name for task in imported.model.tasks] == ["task0", "task1"]
    assert [(task.head, task.norm) for task in imported.model.tasks] == [("none", False)] * 2


def test_released_image_size(tmp_path: Path) -> None:
    """128 patches are the released model's 128x256 image, not asked for."""
    state = state_dict()
    state["pos_embed"] = np.zeros((1, 129, 128), np.float32)
    imported = load(edge_moe_folder(state, tmp_path))
    assert (imported.model.image.height, imported.model.image.width) == (8 * 4, 16 * 4)
    assert "image 32x64: 8x16 patches, as in the released model" in imported.notes


def message(folder: Path) -> str:
    with pytest.raises(HwgenError) as caught:
        load(folder, "edge-moe", GIVEN)
    return caught.value.text().replace(str(folder), "DIR")


def test_broken_folders(tmp_path: Path) -> None:
    folder = edge_moe_folder(state_dict(), tmp_path)
    whole = {path: path.read_bytes() for path in folder.iterdir()}

    def broken(name: str, data: bytes | None) -> str:
        path = folder / f"{name}.float32.bin"
        path.unlink() if data is None else path.write_bytes(data)
        text = message(folder)
        path.write_bytes(whole.get(path, b""))
        return text

    qkv = whole[folder / "l0_qkv_weight.float32.bin"]
    assert broken("l0_qkv_weight", qkv[:-4]) == (
        "DIR: l0_qkv_weight.float32.bin\n  expected: 384 x 128 numbers\n  found:    49151\n"
        "  mend:     is it another model's, or incomplete?"
    )
    assert broken("l0_qkv_weight", None).startswith(
        "DIR: l0_qkv_weight\n  expected: float [any]\n  found:    no such tensor"
    )
    assert broken("l1_w_gate_T_task1", bytes(4 * 127)).startswith(
        "DIR: l1_w_gate_T_task1.float32.bin\n  expected: any x 128 numbers\n  found:    127\n"
    )
    assert broken("patch_embed_weight", bytes(4 * 128 * 3 * 15)) == (
        "DIR: patch_embed_weight.float32.bin\n  expected: square patches of 3 channels\n  found:    15 pixels"
    )
    assert "l0_norm1_bias\n  expected: finite float32 numbers\n  found:    nan at [0]" in broken(
        "l0_norm1_bias", np.full(128, np.nan, "<f4").tobytes()
    )
    assert broken("l9_fc1_bias", bytes(4)).startswith("DIR: l9_fc1_bias\n  expected: only tensors of Edge-MoE\n")


@pytest.mark.parametrize("lost", [["htoh4_weight", "h4toh_weight"], ["htoh4_weight", "htoh4_bias", "h4toh_weight"],
                                  ["htoh4_weight", "htoh4_bias", "h4toh_weight", "h4toh_bias"]])  # fmt: skip
def test_experts_that_were_not_copied(tmp_path: Path, lost: list[str]) -> None:
    """Whatever is left of them shows that the block has experts; another block's file is no misspelling of theirs."""
    folder = edge_moe_folder(state_dict(), tmp_path)
    for name in ("fc1_bias", "fc1_weight"):  # as of blocks 10, 12, ... of the released model
        (folder / f"l12_{name}.float32.bin").write_bytes(bytes(4))
    for name in lost:
        (folder / f"l1_{name}.float32.bin").unlink()
    first = next(name for name in ("htoh4_bias", "h4toh_bias", "htoh4_weight") if name in lost)
    assert message(folder).startswith(f"DIR: l1_{first}\n  expected: float [any]\n  found:    no such tensor")
    assert "l12" not in message(folder)


def test_a_tensor_of_another_block_is_no_misspelling(tmp_path: Path) -> None:
    folder = edge_moe_folder(state_dict(), tmp_path)
    (folder / "l2_fc1_bias.float32.bin").rename(folder / "l20_fc1_bias.float32.bin")
    assert message(folder) == "DIR: l2_fc1_bias\n  expected: float [any]\n  found:    no such tensor"
    (folder / "l20_fc1_bias.float32.bin").rename(folder / "l2_fc1.bias.float32.bin")
    assert "did you mean `l2_fc1.bias`?" in message(folder)
