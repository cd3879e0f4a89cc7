"""Importers: a float checkpoint of a known kind becomes a checked float network (docs/importing.md).

Tested by tests/importers/test_files.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hwgen.common.errors import HwgenError
from hwgen.importers import huggingface, jax, lucidrains, torchvision
from hwgen.importers.beside import stated
from hwgen.importers.common import WITHOUT_CONFIG, Draft, ImageSize, Imported, Normalize, Overrides, TaskChoice
from hwgen.importers.edge_moe import import_edge_moe
from hwgen.importers.hub import read_checkpoint
from hwgen.importers.huggingface import import_huggingface
from hwgen.importers.hwgen import import_hwgen
from hwgen.importers.jax import import_jax
from hwgen.importers.lucidrains import import_lucidrains
from hwgen.importers.m3vit import import_m3vit
from hwgen.importers.official import REPOSITORIES
from hwgen.importers.onnx import load_onnx
from hwgen.importers.resize import stated_resize
from hwgen.importers.source import Source
from hwgen.importers.stated import Stated
from hwgen.importers.timm import import_timm
from hwgen.importers.torchvision import import_torchvision
from hwgen.importers.wrappers import find_network, without_projection
from hwgen.network.resize import parse_resize

__all__ = ["FORMATS", "ImageSize", "Imported", "Normalize", "Overrides", "TaskChoice", "load"]

#: A sign is one or more patterns of names, all of which a checkpoint must have; any of a format's signs will do.
_Format = tuple[Callable[[Source, Draft], Imported], tuple[tuple[str, ...], ...]]
#: The most special first, as `auto` takes the first whose sign is there.
_FORMATS: dict[str, _Format] = {
    "m3vit": (import_m3vit, (("blocks.*.mlp.experts.h*",),)),
    **{name: (repository.load, repository.signs) for name, repository in REPOSITORIES.items()},
    "timm": (import_timm, (("patch_embed.proj.weight",),)),
    "huggingface": (import_huggingface, huggingface.SIGNS),
    "torchvision": (import_torchvision, torchvision.SIGNS),
    "jax": (import_jax, jax.SIGNS),
    "lucidrains": (import_lucidrains, lucidrains.SIGNS),
    "edge-moe": (import_edge_moe, (("l0_qkv_weight",),)),
    "hwgen": (import_hwgen, (("l0.qkv.w",),)),
}
FORMATS = ("auto", *_FORMATS, "onnx")
#: Formats whose code fixes what the heads read.
_FIXED_POOLING = ("m3vit", "edge-moe", "hwgen")


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
    signs = [sign for _, own in _FORMATS.values() for sign in own]
    source = Source(find_network(read_checkpoint(path, read.append), signs, str(path), read.append), str(path))
    if format == "auto":
        format = _detect(source)
    if overrides.pooling is not None and format in _FIXED_POOLING:
        raise HwgenError(str(path), "pooling", expected="no such setting: the format fixes what its heads read",
                         found=repr(overrides.pooling), mend="leave it out")  # fmt: skip
    beside = Stated(path.parent) if format in WITHOUT_CONFIG else stated(path)
    filled, notes, warnings = beside.fill(overrides)
    read += without_projection(source) if format == "timm" else []
    notes = read + notes
    return _FORMATS[format][0](source, Draft(str(path), format, filled, beside, notes=notes, warnings=warnings))


def _with_resize(imported: Imported, path: Path, overrides: Overrides) -> Imported:
    """With the resize that is given, else that of the files beside the checkpoint."""
    image = imported.model.image
    if overrides.resize is not None:
        resize = parse_resize(overrides.resize, str(path), "resize", image.height, image.width)
        return replace(imported, resize=resize)
    found = None if imported.source in WITHOUT_CONFIG else stated_resize(path, image)
    if found is None:
        return imported
    note = f"resize {found[0]}: stated by {found[1]}, for pictures of another size"
    return replace(imported, resize=found[0], notes=[*imported.notes, note])


def _detect(source: Source) -> str:
    for format, (_, signs) in _FORMATS.items():
        if any(all(source.names(pattern) for pattern in sign) for sign in signs):
            return format
    names = source.names()
    raise HwgenError(source.where, expected="the tensor names of " + ", ".join(sorted(_FORMATS)),
                     found=", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
                     mend="if it is one of these, its tensors were renamed: name the format with --format")  # fmt: skip
