"""What bench/fidelity.json says, how it is measured, and (slow: fetches 90 MB) a row of it measured again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench import fidelity
from bench.fidelity import METHODS, RESULTS, complete, dinov2, measure_dinov2, sqnr
from hwgen.importers import ImageSize, Overrides, load
from hwgen.quantize.options import Options

ROWS = {(row["network"], row["method"]): row for row in json.loads(RESULTS.read_text())}


def test_every_method_has_its_rows() -> None:
    assert {method for network, method in ROWS if network == "dinov2_small"} == set(METHODS)
    assert [Options(**options).model_dump() for options in METHODS.values()]


def test_a_trained_network_keeps_its_quality() -> None:
    """What issue 12 asks of DINOv2-S on 16 unseen crops, and what is aimed at."""
    row = ROWS["dinov2_small", "default"]
    assert row["images"] == 16 and row["sqnr_db"] >= 31
    assert row["saliency_mad"] <= 0.004 and row["saliency_iou"] >= 0.99
    assert ROWS["edge_moe_released", "default"]["gate_agreement"] >= 0.9


def test_measures() -> None:
    wanted = np.array([[[3.0, 4.0]], [[1.0, 0.0]]])
    assert sqnr(wanted, wanted + 0.5) == pytest.approx([10 * np.log10(25 / 0.5), 10 * np.log10(1 / 0.5)])
    maps = np.array([[[0.9, 0.6], [0.1, 0.2]], [[0.1, 0.1], [0.1, 0.9]]])
    other = np.array([[[0.9, 0.4], [0.1, 0.2]], [[0.1, 0.1], [0.1, 0.9]]])
    assert dinov2().iou(maps, other) == 0.75
    assert dinov2().iou(0 * maps, 0 * maps) == 1


def test_missing_experts_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones each time, and as wide as the dense layer's; what is there stays."""
    monkeypatch.setattr(fidelity, "WORK", tmp_path / "build" / "dinov2")
    rng = np.random.default_rng(0)
    dim, hidden, experts, patches = 64, 96, 4, 128

    def write(name: str, *shape: int, spread: float = 0.1) -> None:
        rng.normal(0, spread, shape).astype("<f4").tofile(tmp_path / f"{name}.float32.bin")

    write("patch_embed_bias", dim)
    write("patch_embed_weight", dim, 3, 16, 16)
    write("pos_embed", patches + 1, dim)
    for layer in (0, 1):
        for norm in ("norm1", "norm2"):
            write(f"l{layer}_{norm}_weight", dim)
            write(f"l{layer}_{norm}_bias", dim)
        write(f"l{layer}_qkv_weight", 3 * dim, dim)
        write(f"l{layer}_qkv_bias", 3 * dim)
        write(f"l{layer}_attn_proj_weight", dim, dim)
        write(f"l{layer}_attn_proj_bias", dim)
    write("l0_fc1_weight", hidden, dim, spread=0.05)
    write("l0_fc1_bias", hidden)
    write("l0_fc2_weight", dim, hidden, spread=0.2)
    write("l0_fc2_bias", dim)
    write("l1_w_gate_T_task0", experts, dim)
    write("l1_htoh4_bias", experts, hidden)
    write("l1_h4toh_bias", experts, dim)
    whole = complete(tmp_path)
    first = (whole / "l1_htoh4_weight.float32.bin").read_bytes()
    imported = load(whole, "edge-moe", Overrides(image_size=ImageSize(height=128, width=256)))
    assert imported.tensors["l1.e0.fc1.w"].std() == pytest.approx(0.05, rel=0.1)
    assert imported.tensors["l1.e3.fc2.w"].std() == pytest.approx(0.2, rel=0.1)
    assert (complete(tmp_path) / "l1_htoh4_weight.float32.bin").read_bytes() == first


@pytest.mark.slow
def test_dinov2_again() -> None:
    pytest.importorskip("skimage", reason="needs the extra dinov2")
    (row,) = measure_dinov2(["default"], lambda text: None)
    assert row == ROWS["dinov2_small", "default"]
