"""Files that once were a fault: each is a small case of its kind, and what is said of it now."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz.binaries import _bomb, _chunk, _npy
from tests.fuzz.targets import prepared, tried

pytestmark = pytest.mark.filterwarnings("ignore")


def line(new: str) -> Callable[[bytes], bytes]:
    """A YAML file with another line of this key in the place of the first one."""
    key = new.split(":")[0]

    def change(data: bytes) -> bytes:
        lines = data.decode().splitlines()
        kept = [one for one in lines if not one.startswith(f"{key}:")]
        return "\n".join([new, *kept]).encode()

    return change


def keys(**new: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(json.loads(data) | new).encode()


def claiming(data: bytes) -> bytes:
    """300 bytes that are said to be an array of 2 GB, in its header and in the archive's directory."""
    head = _npy("(2147483520,)", "'|u1'")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", head)
    made, size = bytearray(file.getvalue()), len(head) + 2147483520
    at = made.index(b"PK\1\2")
    made[at + 24 : at + 28] = size.to_bytes(4, "little")
    return bytes(made)


def bzipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("images.npy", _npy("(400000000,)", "'|u1'")[:10] + bytes(10**6))
    return file.getvalue()


def png(width: int, height: int) -> Callable[[bytes], bytes]:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return lambda data: data[:8] + _chunk(b"IHDR", header) + _chunk(b"IDAT", _bomb(1000)) + _chunk(b"IEND", b"")


def long_chunk(data: bytes) -> bytes:
    at = data.index(b"IDAT") - 4
    return data[:at] + struct.pack(">I", 0x70000000) + data[at + 4 :]


def long_pickle(data: bytes) -> bytes:
    """The numbers of an old PyTorch file's storage, and of a tensor in it."""
    return data.replace(b"M\x80\x01N", b"\x8a\x08" + struct.pack("<q", 1 << 40) + b"N", 1)


def wide_onnx(data: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40
    return bytes(model.SerializeToString())


CASES = [
    ("config", line("batch: 0x" + "f" * 9000), "36000 bits"),
    ("config", line("batch: 2001-99-99"), "no timestamp can be made of '2001-99-99'"),
    ("config", line('model: "a\\0b"'), "config.yaml: model\n  expected: the name of a file"),
    ("config", line("model: " + "x" * 300), "File name too long"),
    ("config", line("? [a]\n: 1"), "a key that is no text"),
    ("model", lambda data: data.replace(b"experts: 4", b"experts: 65535"), "at most 256"),
    ("space", line("batch: &a [*a]"), "an alias inside what it names"),
    ("quantize", line('checkpoint: "\\ud800"'), "expected: "),
    ("index", keys(weight_map={"a": "x" * 300}), "weight_map\n  expected: the name of a file"),
    ("index", keys(weight_map={"a": "a\0b"}), "embedded null byte"),
    ("index", lambda data: b"[" * 100_000, "too deep"),
    ("transformers", keys(model_type=["vit"]), "model_type\n  expected: text"),
    ("transformers", keys(image_size=[0, 8]), "image_size"),
    ("preprocessor", keys(rescale_factor=1e-300, image_mean=[1e300] * 3), "mean.0\n  expected: a finite number"),
    ("preprocessor", keys(size={"height": 1 << 40, "width": -1}, do_center_crop=False), "at most 65535"),
    ("manifest", keys(parameters={"t": None}), "manifest.json: parameters.t"),
    ("manifest", keys(batch=1 << 40), "batch\n  expected: at most 64"),
    ("manifest", keys(models=[{"name": "../../x"}]), "models.0.name\n  expected: text matching"),
    ("manifest", keys(rtl=3), "rtl\n  expected: a mapping"),
    ("manifest", keys(versions={}), "versions"),
    ("manifest", lambda data: data.replace(b'"weight_depth": ', b'"weight_depth": 1'), "build_hash\n  expected: 0x"),
    ("memory-map", lambda data: data.replace(b'"batch": 2', b'"batch": 1e999'), "cannot convert float infinity"),
    ("images-npz", claiming, "here of at most"), ("images-npz", bzipped, "stored or deflated"),
    ("png", png(13000, 13000), "a picture of at most 89,478,485 pixels"), ("png", long_chunk, ""),
    ("torch-old", long_pickle, "one of 1099511627776 values"),
    ("onnx", wide_onnx, "images of at most 67,108,864 values together"),
]  # fmt: skip


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, bytes]]:
    """The file of a target, made once."""
    home = tmp_path_factory.mktemp("kept")
    return cache(lambda name: prepared(name, home))


@pytest.mark.parametrize("name, change, said", CASES)
def test_what_is_said(name: str, change: Callable[[bytes], bytes], said: str, valid) -> None:
    path, data = valid(name)
    made = change(data)
    assert made != data
    text = tried(name, path, made)
    assert said in (text or ""), text


def test_bombs_are_small() -> None:
    """What they claim is not in them."""
    assert len(claiming(b"")) < 400 and len(bzipped(b"")) < 400
    assert zlib.decompress(_bomb(1000)) == bytes(1000) and np.dtype("u1").itemsize == 1
