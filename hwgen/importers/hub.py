"""The weights in a folder as of a download of the Hugging Face hub, whole or in shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hwgen.common.beside import beside
from hwgen.common.errors import HwgenError
from hwgen.common.json_file import read_json
from hwgen.importers.files import Tensors, read_tensors

#: Files of weights, the preferred first; an index lists shards.
WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
    "pytorch_model.bin", "pytorch_model.bin.index.json", "open_clip_pytorch_model.bin",
)  # fmt: skip
INDEX = ".index.json"


def read_checkpoint(path: Path, note: Callable[[str], None] = lambda text: None) -> Tensors:
    """The tensors of a file, an index of shards, or a folder; `note` is told which of several state dicts was taken."""
    if path.is_dir():
        path = next((path / name for name in WEIGHTS if (path / name).is_file()), path)
    if path.name.endswith(INDEX) and path.is_file():
        return _read_shards(path, note)
    return read_tensors(path, note)


def _read_shards(index: Path, note: Callable[[str], None]) -> Tensors:
    expected, mend = "a JSON file that names each tensor's file", "download it again"
    content = read_json(index, expected, mend)
    try:
        names = list(dict.fromkeys(content["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name]
    except (KeyError, TypeError, AttributeError) as error:
        raise HwgenError(str(index), "weight_map", expected=expected, found=str(error) or type(error).__name__,
                         mend=mend) from None  # fmt: skip
    for name in outside:
        raise HwgenError(str(index), "weight_map", expected="files in the same folder", found=repr(name))
    tensors: Tensors = {}
    for name in names:
        tensors |= read_tensors(beside(index, "weight_map", name), note)
    return tensors
