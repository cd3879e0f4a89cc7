"""PyTorch files: tensors of a training checkpoint, read without running any code in it."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import datetime
import io
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.common.archive import FETCH, LFS, is_zip, sniff
from hwgen.common.errors import HwgenError

#: Keys under which training code stores a state dict: as timm does, averaged weights come first, then a teacher's.
NESTED = ("state_dict_ema", "model_ema", "ema_state_dict", "teacher", "state_dict", "model_state_dict", "model", "net",
          "network", "module", "backbone", "params")  # fmt: skip
#: Of these a note says that they were taken.
AVERAGED = NESTED[:4]
#: Files that PyTorch wrote for other purposes, by a file in their zip.
_EXPORTED = "torch.save(torch.export.load(path).state_dict, new_path)"
_OTHERS = (
    ("constants.pkl", "a TorchScript program",
     "torch.save(torch.jit.load(path, map_location='cpu').state_dict(), new_path)"),
    ("serialized_exported_program.json", "an exported program", _EXPORTED),
    ("models/model.json", "an exported program", _EXPORTED),
    (".data/extern_modules", "a torch.package", "torch.save(model.state_dict(), new_path)"),
)  # fmt: skip
#: How many of the keys that a file has are named.
SHOWN = 6

Tensors = dict[str, np.ndarray]


def read_torch(path: Path, note: Callable[[str], None] = lambda text: None) -> Tensors:
    """The state dict of a PyTorch file by its names in there."""
    try:
        import torch
    except ImportError:
        raise HwgenError(str(path), expected="PyTorch, to read its files", found="no such module",
                         mend="pip install 'hwgen[torch]', or save the weights as .safetensors") from None  # fmt: skip
    _check_kind(path)
    try:
        with warnings.catch_warnings(), _harmless():
            warnings.simplefilter("ignore")
            with contextlib.ExitStack() as opened:
                source = path if is_zip(path) else opened.enter_context(_Bounded(path))
                content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle.UnpicklingError, RuntimeError, EOFError and others
        code = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        if code:
            raise pickled(path, f"the Python object {code[1]}", "torch.save(model.state_dict(), path)") from None
        if isinstance(error, pickle.UnpicklingError):
            error = ValueError(sniff(path) if not is_zip(path) else "something else")
        raise broken(path, "PyTorch", error) from None
    state = _state_dict(content, path, note)
    del content
    tensors: Tensors = {}
    for name in list(state):
        value = state.pop(name) if isinstance(state, dict) else state[name]
        if isinstance(value, torch.Tensor):
            tensors[name] = _array(value, torch, path, name)
    return tensors


class _Bounded(io.BufferedReader):
    """A file that makes no room for more bytes than it has left, whatever length is asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or not 0 <= size <= left else size)


class _Inert:
    """In place of every Python object of a pickle whose storages are counted: it does nothing."""

    def __new__(cls, *_: object, **__: object) -> Any:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass

    extend = append


class _Sizes(pickle._Unpickler):  # type: ignore[name-defined]  # the one in C reserves what an index claims
    """Finds out how many numbers the largest storage or tensor of a pickle has, without making any."""

    largest = 0

    def find_class(self, module: str, name: str) -> Any:
        return self._tensor if name.startswith("_rebuild_tensor") else _Inert

    def _tensor(self, storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Any:
        """A storage is enlarged to what a tensor in it needs."""
        reach = sum((count - 1) * step for count, step in zip(size, stride, strict=True))
        self.largest = max(self.largest, offset + reach + 1)
        return _Inert()

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) > 4 and isinstance(pid[4], int):
            self.largest = max(self.largest, pid[4])
        return _Inert()


def _check_storages(path: Path) -> None:
    """HwgenError if a file of PyTorch's older kind has a tensor of more values than bytes: they would be made room for.

    Anything else that is wrong is for PyTorch to find.
    """
    size, largest = path.stat().st_size, 0
    with _Bounded(path) as file, contextlib.suppress(Exception):
        for _ in range(4):  # a number, a version, facts of the machine; then the content
            reader = _Sizes(file)
            try:
                reader.load()
            finally:
                largest = max(largest, reader.largest)
    if largest > size:
        raise HwgenError(str(path), expected=f"tensors of a file of {size} bytes", found=f"one of {largest} values",
                         mend="copy or download the file again")  # fmt: skip


def _array(value: Any, torch: Any, path: Path, name: str) -> np.ndarray:
    """Of a tensor whose values are all in the file."""
    if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_complex():
        raise HwgenError(str(path), name, expected="a dense float tensor",
                         found=f"{value.dtype}, {'no values' if value.is_meta else value.layout}")  # fmt: skip
    there = value.untyped_storage().nbytes()
    if value.numel() * value.element_size() > there:
        raise HwgenError(str(path), name, expected=f"a tensor of {value.numel()} values", found=f"{there} bytes",
                         mend="save it again, with `.contiguous()`")  # fmt: skip
    if value.dtype.is_floating_point and value.element_size() in (1, 2) and value.dtype != torch.float16:
        value = value.float()  # of these NumPy has none
    return np.asarray(value.detach().numpy())


def _check_kind(path: Path) -> None:
    """HwgenError if the file can be seen to be no checkpoint, or a compressed one: PyTorch does not compress."""
    if not is_zip(path):
        if sniff(path) == LFS:
            raise HwgenError(str(path), expected="a whole PyTorch file", found=LFS, mend=FETCH)
        _check_storages(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            size = sum(one.file_size for one in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise broken(path, "PyTorch", error) from None
    for sign, found, mend in _OTHERS:
        if any(name.endswith(f"/{sign}") or name == sign for name in names):
            raise HwgenError(str(path), expected="a state dict, tensors by name", found=f"{found}, which holds code",
                             mend=f"if you trust the file, save its weights with {mend}")  # fmt: skip
    if size > 2 * path.stat().st_size + (1 << 20):
        raise HwgenError(str(path), expected="a PyTorch file, which is not compressed",
                         found=f"{size} bytes in a file of {path.stat().st_size}", mend="save it again")  # fmt: skip


def _harmless() -> AbstractContextManager[None]:
    """Allows what trainers put beside weights and what cannot run code: numbers of NumPy, settings, paths."""
    import torch

    kinds: list[Any] = [argparse.Namespace, np.dtype, np.ndarray, codecs.encode, set, frozenset, list, dict, tuple,
                        int, float, str, bool, datetime.date, datetime.datetime, datetime.timedelta]  # fmt: skip
    kinds += {type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDSU"}
    scalar, rebuild = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    named: list[Any] = [(codecs.encode, "_codecs.encode")]
    for module in ("numpy.core", "numpy._core"):
        named += [(scalar, f"{module}.multiarray.scalar"), (rebuild, f"{module}.multiarray._reconstruct")]
    for module in ("pathlib", "pathlib._local"):  # as text: a path of another system can be written here, too
        named += [(_path, f"{module}.{name}") for name in ("PosixPath", "WindowsPath", "PurePosixPath")]
    return torch.serialization.safe_globals([*kinds, *named])


def _path(*parts: str) -> str:
    """In place of any path."""
    return str(pathlib.PurePosixPath(*parts))


def _state_dict(content: object, path: Path, note: Callable[[str], None]) -> Mapping[str, Any]:
    """The tensors by name inside what training code has saved."""
    import torch

    while isinstance(content, Mapping):
        inside = {key: value for key, value in content.items() if isinstance(value, Mapping)}
        key = next((key for key in NESTED if key in inside), None)
        if key is None and not any(isinstance(value, torch.Tensor) for value in content.values()):
            full = [key for key, value in inside.items()
                    if any(isinstance(one, torch.Tensor) for one in value.values())]  # fmt: skip
            key = full[0] if len(full) == 1 else None
            if key is not None:
                note(f"weights taken from the key `{key}`")
        elif key in AVERAGED:
            note(f"weights taken from the key `{key}`" + (
                ", not those beside them" if any(other in inside for other in NESTED[4:] + ("student",)) else ""
            ))  # fmt: skip
        if key is None:
            break
        content = inside[key]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise HwgenError(str(path), expected="a state dict, tensors by name", found=type(content).__name__,
                         mend="save it with torch.save(model.state_dict(), path)")  # fmt: skip
    if not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise HwgenError(str(path), expected="named tensors", found=_keys(content.items()),
                         mend="save them with torch.save(model.state_dict(), path)")  # fmt: skip
    return content


def _keys(items: Iterable[tuple[str, object]]) -> str:
    """The first keys of a file, with what is behind them."""
    shown = [f"{key} ({type(value).__name__}{f' of {len(value)}' if isinstance(value, dict | list) else ''})"
             for key, value in items]  # fmt: skip
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more if shown else "none in it"


def broken(path: Path, kind: str, error: Exception) -> HwgenError:
    """The error for a damaged file."""
    found = (str(error) or type(error).__name__).splitlines()[0]
    lost = sniff(path) == LFS
    return HwgenError(str(path), expected=f"a whole {kind} file", found=LFS if lost else found,
                      mend=FETCH if lost else "copy or download the file again")  # fmt: skip


def pickled(path: Path, found: str, mend: str) -> HwgenError:
    """The error for a file with other things than tensors and settings."""
    return HwgenError(str(path), expected="tensors only: unpickling objects could run any code", found=found,
                      mend=f"if you trust the file, save its weights again with {mend}")  # fmt: skip
