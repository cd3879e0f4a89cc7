"""Fill templates/driver for one build."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

from hwgen.common.templates import environment, templates
from hwgen.driver.faults import FIRST_HOST_CODE, Fault, faults
from hwgen.machine.emission import TOP, vlnv
from hwgen.machine.regmap import COUNTERS, MAGIC, REGISTERS, VERSION, c_header

__all__ = ["write_driver"]

SUFFIX = ".j2"
MAP = "memory_map.json"


def write_driver(build: Path, build_hash: int, top: str = TOP) -> None:
    """Write `build`/driver for the models whose memory maps, programs and weights lie in `build` already, and for the
    IP with the top module `top`."""
    source, target = templates() / "driver", build / "driver"
    filled = environment("driver")
    filled.filters |= {"json": json.dumps, "c_float": _c_float}
    facts = _facts(build, build_hash, top)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_dir() or "__pycache__" in name:
            continue
        written = target / name.removesuffix(SUFFIX)
        written.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(SUFFIX):
            written.write_text(filled.get_template(name).render(facts), "utf-8")
        else:
            shutil.copy(path, written)
    (target / "c" / "include" / "hwgen_regs.h").write_text(c_header(), "utf-8")


def _facts(build: Path, build_hash: int, top: str) -> dict[str, Any]:
    homes = [build, *sorted((build / "models").glob("*"))]
    return {
        "magic": MAGIC, "version": VERSION, "vlnv": vlnv(top), "build_hash": build_hash,
        "registers": REGISTERS, "counters": COUNTERS, "faults": [_fault(fault) for fault in faults()],
        "weight_bases": [one.name for one in REGISTERS if one.name.startswith("weights_base")],
        "models": [_model(build, home) for home in homes],
    }  # fmt: skip


def _fault(fault: Fault) -> dict[str, Any]:
    run = fault.code < FIRST_HOST_CODE
    kinds = ["RunError"] if run else ["DriverError"] + [fault.kind] * bool(fault.kind)
    return {
        "code": fault.code, "name": fault.name, "run": run,
        "meaning": fault.meaning, "advice": fault.advice, "python": fault.python,
        "base": ", ".join(kinds), "c": f"HWGEN_{'RUN_' * run}{fault.name}",
    }  # fmt: skip


def _model(build: Path, home: Path) -> dict[str, Any]:
    """The memory map, and of each file what tells it from others."""
    known = json.loads((home / MAP).read_text("utf-8"))

    def file(name: str) -> dict[str, Any]:
        data = (home / name).read_bytes()
        path = (home / name).relative_to(build).as_posix()
        return {"name": path, "bytes": len(data), "crc": zlib.crc32(data)}

    weights = known["weights"]
    height, width, channels = known["input"]["shape"]
    return {
        "name": known["model"], "batch": known["batch"], "shape": (height, width, channels), "tasks": known["tasks"],
        "image_bytes": height * width * channels, "input": known["input"], "program": file(known["program"]["file"]),
        "weights": [file(part["file"]) for part in weights.get("ports", [weights])],
        "clear_entry": known.get("clear", {}).get("entry"),
    }  # fmt: skip


def _c_float(value: float) -> str:
    """A literal with all digits that a float keeps."""
    return f"{value:.9e}f"
