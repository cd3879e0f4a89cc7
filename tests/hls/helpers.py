"""C-simulation of a machine, by the interface that system tests have for the RTL."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from hwgen.common.templates import templates
from hwgen.hls import sources
from hwgen.machine.params import HwParams
from sim.hls import HEADERS, CSimulation, build_hls

__all__ = ["c_simulation", "mutated", "vendor_integers"]


@lru_cache
def c_simulation(
    p: HwParams, *, sanitize: bool = False, vendor: bool = False, mutation: tuple[str, str, str] | None = None
) -> CSimulation:
    """vendor: with Xilinx's integers; mutation: file of the sources, its text, and another one in its place."""
    texts = mutated(p, mutation)
    home = templates()
    return build_hls(
        texts, (home / "hls" / "csim" / "main.cpp").read_text(),
        {name: (home / "harness" / name).read_text() for name in HEADERS}, ports=(p.port_bits // 8,) * p.weight_ports,
        sanitize=sanitize, integers=vendor_integers() if vendor else None,
    )  # fmt: skip


def mutated(p: HwParams, mutation: tuple[str, str, str] | None) -> dict[str, str]:
    texts = sources(p)
    if mutation is not None:
        file, old, new = mutation
        assert texts[file].count(old) == 1, f"{file} has {texts[file].count(old)} times: {old}"
        texts[file] = texts[file].replace(old, new)
    return texts


def vendor_integers() -> Path:
    """The directory of Xilinx's ap_int.h (Apache-2.0), which the wheel of hls4ml brings along."""
    spec = importlib.util.find_spec("hls4ml")
    assert spec is not None and spec.submodule_search_locations, "pip install 'hwgen[dev]'"
    return Path(spec.submodule_search_locations[0]) / "templates" / "vivado" / "ap_types"
