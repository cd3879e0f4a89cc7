"""Amaranth component → Verilog text, with the hand-written leaves it instantiates."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring

os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")

__all__ = ["leaf_verilog", "to_verilog"]


def templates() -> Path:
    """Directory of the templates: beside the package in a checkout, inside it in an installed wheel."""
    inside = Path(str(resources.files("hwgen"))) / "templates"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "templates"


def leaf_verilog() -> str:
    """The hand-written Verilog modules."""
    return (templates() / "rtl" / "hwgen_ram.v").read_text()


def to_verilog(component: wiring.Component, name: str) -> str:
    """Verilog of `component` as top module `name` (clock `clk`, synchronous reset `rst`)."""
    return verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True) + "\n" + leaf_verilog()
