"""Named tensors of a checkpoint file or folder. A checkpoint is untrusted input: no code in it is ever run."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors

from hwgen.common.errors import HwgenError

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".tar")
RAW_SUFFIX = ".float32.bin"
#: Keys under which training code stores a state dict; as timm does, averaged weights come first.
NESTED = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
#: What wrappers put before every name.
WRAPPERS = ("module.", "_orig_mod.", "model.")
BACKBONE = "backbone."
_SAFETENSORS_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip

Tensors = dict[str, np.ndarray]


def read_tensors(path: Path) -> Tensors:
    """The tensors of a .safetensors, .npz or PyTorch file, a folder of Edge-MoE, or one of FastMoE's shards."""
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise HwgenError(str(path), expected="a checkpoint", found="no such file or folder", mend="check the path")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif suffix == ".npz":
        tensors = _read_npz(path)
    elif suffix in TORCH_SUFFIXES:
        tensors = _read_torch(path)
    else:
        raise HwgenError(str(path), expected="a .safetensors, .npz, .pt, .pth or .onnx file, or a weight folder",
                         found=f"a file {path.name!r}", mend="rename it if it is one of these")  # fmt: skip
    if not tensors:
        raise HwgenError(str(path), expected="named tensors", found="none in it")
    return unwrap(tensors, str(path))


def unwrap(tensors: Mapping[str, np.ndarray], where: str) -> Tensors:
    """The tensors by their names in the model itself, without the prefixes of wrappers."""
    names = {name: name for name in tensors}
    for prefix in WRAPPERS * 2:  # a wrapper in a wrapper
        if all(name.startswith(prefix) for name in names.values()):
            names = {key: name.removeprefix(prefix) for key, name in names.items()}
    names = {key: name.removeprefix(BACKBONE) for key, name in names.items()}
    result: Tensors = {}
    for key, name in names.items():
        if name in result:
            raise HwgenError(where, key, expected="each name once", found=f"`{name}` and `{BACKBONE}{name}`")
        result[name] = tensors[key]
    return result


def _read_folder(path: Path) -> Tensors:
    raw = sorted(path.glob(f"*{RAW_SUFFIX}"))
    if raw:
        return {file.name.removesuffix(RAW_SUFFIX): _read_raw(file) for file in raw}
    shards = sorted((file for file in path.glob("*.pth") if file.stem.isdecimal()), key=lambda file: int(file.stem))
    if shards and [int(file.stem) for file in shards] == list(range(len(shards))):
        parts = [unwrap(_read_torch(file), str(file)) for file in shards]
        return parts[0] | {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
            if re.search(r"\.experts\.(htoh4|h4toh)\.", name) and all(name in part for part in parts)
        }
    raise HwgenError(str(path), expected=f"files *{RAW_SUFFIX} (Edge-MoE), or 0.pth, 1.pth, ... (M3ViT)",
                     found="a folder without them", mend="name the checkpoint file itself")  # fmt: skip


def _read_raw(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HwgenError(str(path), expected="a file that can be read", found=error.strerror or str(error)) from None
    if len(data) % 4 or not data:
        raise HwgenError(str(path), expected="little-endian float32 numbers, 4 bytes each", found=f"{len(data)} bytes",
                         mend="copy the file again, it is incomplete")  # fmt: skip
    return np.frombuffer(data, "<f4").astype(np.float32)


def _read_npz(path: Path) -> Tensors:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # NumPy and zipfile each raise several kinds for a broken archive
        if "allow_pickle" in str(error):
            raise _pickled(path, "Python objects", "numpy.savez of plain arrays") from None
        raise _broken(path, "NumPy .npz", error) from None


def _read_safetensors(path: Path) -> Tensors:
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except Exception as error:  # safetensors raises its own class and others
        raise _broken(path, "safetensors", error) from None
    tensors = {}
    for name, entry in entries:
        kind, data = entry["dtype"], entry["data"]
        if kind == "BF16":  # the upper half of a float32
            flat = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif kind in _SAFETENSORS_TYPES:
            flat = np.frombuffer(data, _SAFETENSORS_TYPES[kind])
        else:
            raise HwgenError(str(path), name, expected="float64, float32, float16 or bfloat16", found=kind,
                             mend="convert the weights to float32")  # fmt: skip
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def _read_torch(path: Path) -> Tensors:
    try:
        import torch
    except ImportError:
        raise HwgenError(str(path), expected="PyTorch, to read its files", found="no such module",
                         mend="pip install 'hwgen[torch]', or save the weights as .safetensors") from None  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle.UnpicklingError, RuntimeError, EOFError and others
        code = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        if code:
            raise _pickled(path, f"the Python object {code[1]}", "torch.save(model.state_dict(), path)") from None
        if isinstance(error, pickle.UnpicklingError):
            error = ValueError("something else")
        raise _broken(path, "PyTorch", error) from None
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise HwgenError(str(path), expected="a state dict, tensors by name", found=type(content).__name__,
                         mend="save it with torch.save(model.state_dict(), path)")  # fmt: skip
    tensors = {}
    for name, value in content.items():
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_quantized:
                raise HwgenError(str(path), name, expected="a dense float tensor",
                                 found=f"{value.dtype}, {value.layout}")  # fmt: skip
            tensors[name] = (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
    return tensors


def _broken(path: Path, kind: str, error: Exception) -> HwgenError:
    found = (str(error) or type(error).__name__).splitlines()[0]
    return HwgenError(str(path), expected=f"a whole {kind} file", found=found,
                      mend="copy or download the file again")  # fmt: skip


def _pickled(path: Path, found: str, mend: str) -> HwgenError:
    return HwgenError(str(path), expected="tensors only: unpickling objects could run any code", found=found,
                      mend=f"if you trust the file, save its weights again with {mend}")  # fmt: skip
