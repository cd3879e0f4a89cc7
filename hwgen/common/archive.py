"""Files from elsewhere: what they are by their first bytes, and arrays of a .npz or .npy in which no code is run and
whose headers are believed only as far as their bytes go."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from hwgen.common.errors import HwgenError

__all__ = ["FETCH", "LFS", "is_zip", "names_in", "read_npy", "read_npz", "sniff"]

#: What git leaves in place of a large file that was not fetched.
LFS = "a git-LFS pointer, not the file itself"
FETCH = "git lfs pull, or download the file itself"
#: First bytes of files, the more special first.
_MAGIC = (
    (b"version https://git-lfs.github.com/spec/", LFS), (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x93NUMPY", "a single NumPy array (.npy)"), (b"\x89PNG", "a PNG picture"), (b"\xff\xd8\xff", "a JPEG picture"),
    (b"BM", "a BMP picture"), (b"GIF8", "a GIF picture"), (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"\x89HDF", "an HDF5 file (Keras)"), (b"\x1f\x8b", "a gzip file"), (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"), (b"%PDF", "a PDF"), (b"<!DOCTYPE", "a web page"), (b"<html", "a web page"),
)  # fmt: skip
#: Bytes that one byte of a deflated member can become at the most.
DEFLATED = 1032
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def sniff(path: Path) -> str:
    """What a file is, for a message."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        return error.strerror or str(error)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP picture"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if not head:
        return "an empty file"
    text = head[:16].decode("ascii", "replace")
    return f"a file that begins with {text!r}" if text.isprintable() else f"a file that begins with {head[:8].hex(' ')}"


def is_zip(path: Path) -> bool:
    """Whether it begins as a zip archive does, as .npz and PyTorch files are."""
    return sniff(path) == "a zip archive"


def read_npz(path: Path, expected: str, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """The arrays of a .npz whose names are `wanted`; others are not read. Anything wrong: HwgenError, `expected` one.

    No Python objects; arrays as large as their headers say, and together not larger than the machine's memory.
    """
    if not is_zip(path):
        found = sniff(path)
        mend = FETCH if found == LFS else "" if path.exists() else "check the path"
        raise HwgenError(str(path), expected=expected, found=found, mend=mend)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
            chosen = {name: one for name, one in members.items() if wanted(name)}
            _check_memory(path, expected, sum(one.file_size for one in chosen.values()))
            size = path.stat().st_size
            for name, one in chosen.items():
                _check_claim(path, name, expected, one, size)
            arrays = {}
            for name, one in chosen.items():
                with archive.open(one) as file:
                    _check_header(path, name, expected, file, one.file_size)
                with archive.open(one) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
            return arrays
    except HwgenError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib each raise several kinds for a broken archive
        raise _broken(path, expected, error) from None


def names_in(path: Path) -> list[str]:
    """Names of the arrays in a .npz that can be read."""
    with zipfile.ZipFile(path) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())


def read_npy(path: Path, expected: str) -> np.ndarray:
    """The array of a .npy file, as `read_npz` reads them."""
    try:
        size = path.stat().st_size
        _check_memory(path, expected, size)
        with path.open("rb") as file:
            _check_header(path, "", expected, file, size)
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except HwgenError:
        raise
    except Exception as error:  # NumPy and the operating system raise several kinds
        raise _broken(path, expected, error) from None


def _broken(path: Path, expected: str, error: Exception) -> HwgenError:
    found = (str(error) or type(error).__name__).splitlines()[0]
    return HwgenError(str(path), expected=expected, found=found, mend="copy or download the file again")


def _check_memory(path: Path, expected: str, size: int) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        limit = f"of at most the {memory / 1e9:.3g} GB of this machine's memory"
        raise HwgenError(str(path), expected=f"{expected}, {limit}", found=f"{size / 1e9:.3g} GB")


def _check_claim(path: Path, name: str, expected: str, member: zipfile.ZipInfo, size: int) -> None:
    """HwgenError if a member of an archive of this size cannot be as large as the archive's directory says."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise HwgenError(str(path), name, expected=f"{expected}: stored or deflated, as NumPy writes it",
                         found=f"compression method {member.compress_type}", mend="save it again with numpy.savez")
    most = DEFLATED if member.compress_type == zipfile.ZIP_DEFLATED else 1
    if member.compress_size > size or member.file_size > most * (member.compress_size + 1):
        room = most * min(member.compress_size, size)
        raise HwgenError(str(path), name, expected=f"{expected}, here of at most {room} bytes",
                         found=f"{member.file_size} bytes in its directory", mend="copy or download the file again")


def _check_header(path: Path, name: str, expected: str, file: IO[bytes], size: int) -> None:
    """HwgenError unless the array behind this header is plain numbers that fill the file of this size."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of .npy")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise HwgenError(str(path), name, expected=f"{expected}: unpickling objects could run any code",
                         found="Python objects", mend="if you trust the file, save it again with numpy.savez of plain "
                         "arrays")  # fmt: skip
    there = size - file.tell()
    if math.prod(shape) * dtype.itemsize != there:
        raise HwgenError(str(path), name, expected=f"{dtype.name} {list(shape)} as its header says",
                         found=f"{there} bytes", mend="copy or download the file again")  # fmt: skip
