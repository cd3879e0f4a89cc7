"""`manifest.json` of a build, as it is read: what of it is believed, and the hash that its parameters must have.

Tested by tests/test_build.py.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

import hwgen
from hwgen.common.errors import HwgenError
from hwgen.common.json_file import read_json
from hwgen.common.strict_yaml import Read, validate
from hwgen.config import MAX_BATCH, Rtl
from hwgen.machine.params import HwParams
from hwgen.network.description import Name

__all__ = ["FORMAT", "MANIFEST", "VERSION", "build_hash", "checked", "made_by", "read_manifest"]

MANIFEST = "manifest.json"
FORMAT, VERSION = "hwgen-build", 1


def build_hash(p: HwParams) -> int:
    """64 bits that identify the hardware: its parameters and the generator's version."""
    document = {"hwgen": hwgen.__version__, "parameters": p.as_dict()}
    text = json.dumps(document, indent=1, sort_keys=False, ensure_ascii=False) + "\n"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """None where there is none of hwgen."""
    try:
        manifest = read_json(directory / MANIFEST)
    except HwgenError:
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        return None
    return manifest


def _with_hwgen(versions: dict[str, str]) -> dict[str, str]:
    if "hwgen" not in versions:
        raise PydanticCustomError("versions", "a version of `hwgen`")
    return versions


class _Versions(Read):
    versions: Annotated[dict[str, str], AfterValidator(_with_hwgen)]


class _ModelEntry(Read):
    name: Name


class _Manifest(_Versions):
    """What is read of a manifest."""

    build_hash: Annotated[str, Field(pattern=r"^0x[0-9a-f]{16}$")]
    parameters: dict[str, bool | int]
    rtl: Rtl = Rtl()
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 1
    clear: bool = False
    models: Annotated[list[_ModelEntry], Field(min_length=1)]


def made_by(manifest: dict[str, Any], directory: Path) -> str:
    """The version of hwgen."""
    return validate(_Versions, manifest, str(directory / MANIFEST)).versions["hwgen"]


def checked(manifest: dict[str, Any], directory: Path) -> HwParams:
    """The parameters in a manifest of this version of hwgen; HwgenError unless all is as it must be, and they are those
    of its hash."""
    where = str(directory / MANIFEST)
    validate(_Manifest, manifest, where)
    mend = "build it again"
    try:
        params = HwParams(**manifest["parameters"])
    except TypeError as error:
        raise HwgenError(where, "parameters", expected="those of an accelerator", found=str(error), mend=mend) from None
    except HwgenError as error:
        raise HwgenError(where, f"parameters.{error.key}", expected=error.expected, found=error.found,
                         mend=mend) from None  # fmt: skip
    number = f"0x{build_hash(params):016x}"
    if number != manifest["build_hash"]:
        raise HwgenError(where, "build_hash", expected=f"{number}, that of `parameters`", found=manifest["build_hash"],
                         mend=mend)  # fmt: skip
    return params
