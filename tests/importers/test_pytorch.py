"""PyTorch files as trainers leave them: settings and numbers beside the weights are read, code is not."""

from __future__ import annotations

import argparse
import datetime
import io
import json
import pathlib
import time
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwgen.common.errors import HwgenError
from hwgen.importers.pytorch import read_torch

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3)}


def save(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


#: What is beside the weights.
BESIDE: dict[str, Any] = {
    "M3ViT's best_result": {"best_result": {"semseg": {"mIoU": np.float64(0.4)}, "depth": {"rmse": np.float32(0.6)},
                                            "multi_task_performance": np.float64(-3.2), "jaccards": np.ones(5)}},
    "DeiT's Namespace": {"args": argparse.Namespace(lr=1e-3, output_dir=pathlib.Path("/x/y"), data=None), "epoch": 9},
    "numbers of NumPy": {"n": [np.int64(3), np.bool_(True), np.float16(1), np.uint8(2), np.str_("x")],
                         "dtype": [np.dtype("int16"), np.dtype("<f8")]},
    "plain Python": {"set": {1, 2}, "day": datetime.date(2024, 1, 2), "torch": torch.float16, "size": torch.Size([3])},
    "optimizer": {"optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict()},
}  # fmt: skip


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_trainers_put_beside_the_weights(tmp_path: Path, beside: str, zipped: bool) -> None:
    path = save(tmp_path / "x.pth", {"state_dict": STATE, **BESIDE[beside]}, _use_new_zipfile_serialization=zipped)
    found = read_torch(path)
    assert found.keys() == STATE.keys()
    np.testing.assert_array_equal(found["a.weight"], STATE["a.weight"].numpy())


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_numbers_of_another_numpy(tmp_path: Path, module: str) -> None:
    """The module was renamed in NumPy 2."""
    data = io.BytesIO()
    torch.save({"model": STATE, "best": np.float64(1), "all": np.ones(2)}, data)
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(tmp_path / "x.pth", "w") as new:
        for one in old.namelist():
            content = old.read(one)
            if one.endswith("data.pkl"):
                content = content.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", module.encode())
            new.writestr(one, content)
    assert read_torch(tmp_path / "x.pth").keys() == STATE.keys()


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ({"model_state_dict": STATE}, None),
        ({"net": STATE, "acc": 91.0, "epoch": 3}, None),
        ({"checkpoint": {"state_dict": STATE}}, None),
        ({"model": {"state_dict": OrderedDict(STATE)}}, None),
        ({"student": {}, "teacher": STATE, "epoch": 1}, "weights taken from the key `teacher`, not those beside them"),
        ({"model": {"x": torch.ones(1)}, "model_ema": STATE},
         "weights taken from the key `model_ema`, not those beside them"),
        ({"weights": STATE, "log": {"loss": 1.0}}, "weights taken from the key `weights`"),
    ],
)  # fmt: skip
def test_nested(tmp_path: Path, content: Any, note: str | None) -> None:
    notes: list[str] = []
    if "checkpoint" in content:
        note = "weights taken from the key `checkpoint`"
        content = {"checkpoint": {"state_dict": STATE, "a": torch.ones(1)}}
    assert read_torch(save(tmp_path / "x.pth", content), notes.append).keys() == STATE.keys()
    assert notes == ([note] if note else [])


def message(path: Path) -> str:
    start = time.monotonic()
    with pytest.raises(HwgenError) as caught:
        read_torch(path)
    assert time.monotonic() - start < 3
    return caught.value.text().replace(str(path), "FILE")


def test_torchscript_and_exported_programs(tmp_path: Path) -> None:
    """They are whole files, only not of weights."""
    path = tmp_path / "x.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))
    assert message(path) == (
        "FILE\n  expected: a state dict, tensors by name\n  found:    a TorchScript program, which holds code\n"
        "  mend:     if you trust the file, save its weights with "
        "torch.save(torch.jit.load(path, map_location='cpu').state_dict(), new_path)"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", json.dumps({}))
    assert "found:    an exported program, which holds code\n" in message(path)


def test_hostile_files(tmp_path: Path) -> None:
    """Refused at once, without the memory they ask for."""
    path = save(tmp_path / "x.pth", {"a": torch.ones(1).expand(10**12)})
    assert message(path) == (
        "FILE: a\n  expected: a tensor of 1000000000000 values\n  found:    4 bytes\n"
        "  mend:     save it again, with `.contiguous()`"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(1 << 24))
    assert message(path).startswith("FILE\n  expected: a PyTorch file, which is not compressed\n  found:    16777216")
    data = io.BytesIO()
    torch.save({"a": torch.arange(77, dtype=torch.uint8)}, data, _use_new_zipfile_serialization=False)
    path.write_bytes(data.getvalue().replace(b"K\x4dN", b"\x8a\x06" + (10**13).to_bytes(6, "little") + b"N"))
    size = path.stat().st_size
    assert f"tensors of a file of {size} bytes\n  found:    one of 10000000000000 values" in message(path)
    save(path, {"a": torch.empty(10**12, device="meta")})
    assert "FILE: a\n  expected: a dense float tensor\n  found:    torch.float32, no values" in message(path)


def test_pointer_of_git(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert message(path) == (
        "FILE\n  expected: a whole PyTorch file\n  found:    a git-LFS pointer, not the file itself\n"
        "  mend:     git lfs pull, or download the file itself"
    )
