"""The files beside a checkpoint: `config.json` of timm or of transformers, and transformers'
`preprocessor_config.json`. Only what the importers ask for is read; the network itself is read off the tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.common.json_file import read_json
from hwgen.importers.beside_timm import read_timm
from hwgen.importers.beside_transformers import is_transformers, read_preprocessor, read_transformers
from hwgen.importers.stated import CONFIG, PREPROCESSOR, Stated


def stated(checkpoint: Path) -> Stated:
    """What the files in a checkpoint's folder, or in the folder that it is, state."""
    found = Stated(checkpoint if checkpoint.is_dir() else checkpoint.parent)
    config = _read(found.folder / CONFIG)
    if config is not None:
        where = str(found.folder / CONFIG)
        if "architecture" in config:
            read_timm(config, where, found)
        elif is_transformers(config):
            read_transformers(config, where, found)
        else:
            found.warnings.append(f"{CONFIG} is neither timm's nor transformers': nothing was taken from it")
    preprocessor = _read(found.folder / PREPROCESSOR)
    if preprocessor is not None:
        read_preprocessor(preprocessor, str(found.folder / PREPROCESSOR), found)
    return found


def _read(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None without such a file."""
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise HwgenError(str(path), expected="a mapping of keys to values", found=type(content).__name__,
                         mend="correct or remove it")  # fmt: skip
    return content
