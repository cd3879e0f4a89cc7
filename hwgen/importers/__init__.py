"""Importers: a float checkpoint of a known kind becomes a checked float network (docs/importing.md).

Tested by tests/importers/test_files.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hwgen.common.errors import HwgenError
from hwgen.importers.beside import Stated, stated
from hwgen.importers.common import WITH_CONFIG, Draft, ImageSize, Imported, Normalize, Overrides, TaskChoice
from hwgen.importers.edge_moe import import_edge_moe
from hwgen.importers.files import read_tensors
from hwgen.importers.hwgen import import_hwgen
from hwgen.importers.m3vit import import_m3vit
from hwgen.importers.onnx import load_onnx
from hwgen.importers.resize import stated_resize
from hwgen.importers.source import Source
from hwgen.importers.timm import import_timm
from hwgen.importers.wrappers import find_network
from hwgen.network.resize import parse_resize

__all__ = ["FORMATS", "ImageSize", "Imported", "Normalize", "Overrides", "TaskChoice", "load"]

_IMPORTERS: dict[str, Callable[[Source, Draft], Imported]] = {
    "timm": import_timm,
    "m3vit": import_m3vit,
    "edge-moe": import_edge_moe,
    "hwgen": import_hwgen,
}
FORMATS = ("auto", *_IMPORTERS, "onnx")
#: Names by which a format is known, the most special first.
_SIGNS = {
    "m3vit": "blocks.*.mlp.experts.h*",
    "timm": "patch_embed.proj.weight",
    "edge-moe": "l0_qkv_weight",
    "hwgen": "l0.qkv.w",
}


def load(path: Path | str, format: str = "auto", overrides: Overrides | None = None) -> Imported:
    """The float network of a checkpoint file or folder; `overrides` are what it does not tell or what is otherwise.

    Everything wrong with the file, its tensors or the overrides raises HwgenError.
    """
    path, overrides = Path(path), overrides or Overrides()
    if format not in FORMATS:
        raise HwgenError(str(path), "format", expected=f"one of {', '.join(FORMATS)}", found=repr(format))
    return _with_resize(_load(path, format, overrides), path, overrides)


def _load(path: Path, format: str, overrides: Overrides) -> Imported:
    if format == "onnx" or path.suffix.lower() == ".onnx":
        return load_onnx(path, overrides)
    read: list[str] = []
    source = Source(find_network(read_tensors(path, read.append), _SIGNS.values(), str(path), read.append), str(path))
    if format == "auto":
        format = _detect(source)
    if overrides.pooling is not None and format != "timm":
        raise HwgenError(str(path), "pooling", expected="no such setting: the format fixes what its heads read",
                         found=repr(overrides.pooling), mend="leave it out")  # fmt: skip
    beside = stated(path) if format in WITH_CONFIG else Stated(path.parent)
    filled, notes, warnings = beside.fill(overrides)
    return _IMPORTERS[format](source, Draft(str(path), format, filled, beside, notes=read + notes, warnings=warnings))


def _with_resize(imported: Imported, path: Path, overrides: Overrides) -> Imported:
    """With the resize that is given, else that of the files beside the checkpoint."""
    image = imported.model.image
    if overrides.resize is not None:
        resize = parse_resize(overrides.resize, str(path), "resize", image.height, image.width)
        return replace(imported, resize=resize)
    found = stated_resize(path, image) if imported.source in WITH_CONFIG else None
    if found is None:
        return imported
    note = f"resize {found[0]}: stated by {found[1]}, for pictures of another size"
    return replace(imported, resize=found[0], notes=[*imported.notes, note])


def _detect(source: Source) -> str:
    for format, sign in _SIGNS.items():
        if source.names(sign):
            return format
    names = source.names()
    raise HwgenError(source.where, expected="the tensor names of " + ", ".join(sorted(_IMPORTERS)),
                     found=", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
                     mend="if it is one of these, its tensors were renamed: name the format with --format")  # fmt: skip
