"""Named tensors of a checkpoint file or folder. A checkpoint is untrusted input: no code in it is ever run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors

from hwgen.common.archive import read_npz
from hwgen.common.errors import HwgenError
from hwgen.importers.pytorch import Tensors, broken, read_torch
from hwgen.importers.wrappers import unwrap

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".tar", ".ckpt", ".pt2")
RAW_SUFFIX = ".float32.bin"
#: What FastMoE spreads over the files of its processes.
EXPERTS = re.compile(r"\.experts\.(htoh4|h4toh)\.")
_SAFETENSORS_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip


def read_tensors(path: Path, note: Callable[[str], None] = lambda text: None) -> Tensors:
    """The tensors of a .safetensors, .npz or PyTorch file, a folder of Edge-MoE, or one of FastMoE's shards.

    `note` is told which of several state dicts was taken.
    """
    if path.is_dir():
        return _read_folder(path, note)
    if not path.exists():
        raise HwgenError(str(path), expected="a checkpoint", found="no such file or folder", mend="check the path")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif suffix == ".npz":
        tensors = read_npz(path, "a whole NumPy .npz file")
    elif suffix in TORCH_SUFFIXES:
        tensors = read_torch(path, note)
    else:
        raise HwgenError(str(path), expected="a .safetensors, .npz, .pt, .pth or .onnx file, or a weight folder",
                         found=f"a file {path.name!r}", mend="rename it if it is one of these")  # fmt: skip
    if not tensors:
        raise HwgenError(str(path), expected="named tensors", found="none in it")
    return unwrap(tensors, str(path))


def _read_folder(path: Path, note: Callable[[str], None]) -> Tensors:
    raw = sorted(path.glob(f"*{RAW_SUFFIX}"))
    if raw:
        return {file.name.removesuffix(RAW_SUFFIX): _read_raw(file) for file in raw}
    shards = {int(file.stem): file for file in path.glob("*.pth") if file.stem.isdecimal()}
    if shards:
        return _read_shards(path, shards, note)
    raise HwgenError(str(path), expected=f"files *{RAW_SUFFIX} (Edge-MoE), or 0.pth, 1.pth, ... (M3ViT)",
                     found="a folder without them", mend="name the checkpoint file itself")  # fmt: skip


def _read_shards(path: Path, shards: dict[int, Path], note: Callable[[str], None]) -> Tensors:
    """A file per process of FastMoE's: everything in the first, in the others their experts alone."""
    lost = [f"{number}.pth" for number in range(max(shards) + 1) if number not in shards]
    if lost:
        raise HwgenError(str(path), lost[0], expected=f"a file of each process, 0.pth to {max(shards)}.pth",
                         found="no such file", mend="copy the whole folder")  # fmt: skip
    whole: Tensors = {}
    parts: dict[str, list[np.ndarray]] = {}
    for number in range(len(shards)):
        found = unwrap(read_torch(shards[number], note if number == 0 else lambda text: None), str(shards[number]))
        whole = whole or found
        for name in list(found):
            if EXPERTS.search(name):
                parts.setdefault(name, []).append(found.pop(name))
    for name, pieces in parts.items():
        if len(pieces) < len(shards):
            raise HwgenError(str(path), name, expected=f"experts in each of the {len(shards)} files",
                             found=f"in {len(pieces)}", mend="are these files of one checkpoint?")  # fmt: skip
        whole[name] = np.concatenate(pieces)
        pieces.clear()
    return whole


def _read_raw(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HwgenError(str(path), expected="a file that can be read", found=error.strerror or str(error)) from None
    if len(data) % 4 or not data:
        raise HwgenError(str(path), expected="little-endian float32 numbers, 4 bytes each", found=f"{len(data)} bytes",
                         mend="copy the file again, it is incomplete")  # fmt: skip
    return np.frombuffer(data, "<f4").astype(np.float32)


def _read_safetensors(path: Path) -> Tensors:
    try:
        with safetensors.safe_open(path, "np"):  # checks header and sizes
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            tensors = {}
            for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
                file.seek(8 + length + entry["data_offsets"][0])
                tensors[name] = _values(file, entry, path, name)
            return {name: tensors[name] for name in entries}
    except HwgenError:
        raise
    except Exception as error:  # safetensors raises its own class and others
        raise broken(path, "safetensors", error) from None


def _values(file: BinaryIO, entry: Mapping[str, Any], path: Path, name: str) -> np.ndarray:
    """The tensor that lies next in the file."""
    kind, size = entry["dtype"], entry["data_offsets"][1] - entry["data_offsets"][0]
    if kind == "BF16":  # the upper half of a float32
        wide = np.fromfile(file, "<u2", size // 2).astype(np.uint32)
        wide <<= 16
        flat = wide.view(np.float32)
    elif kind in _SAFETENSORS_TYPES:
        flat = np.fromfile(file, _SAFETENSORS_TYPES[kind], size // np.dtype(_SAFETENSORS_TYPES[kind]).itemsize)
    else:
        raise HwgenError(str(path), name, expected="float64, float32, float16 or bfloat16", found=kind,
                         mend="convert the weights to float32")  # fmt: skip
    return flat.reshape(entry["shape"])
