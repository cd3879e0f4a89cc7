"""The fixed texts of hwgen, and how the ones with gaps are filled.

Tested by tests/common/test_templates.py and tests/driver/test_generate.py.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["environment", "templates"]


def templates() -> Path:
    """Directory of the templates: beside the package in a checkout, inside it in an installed wheel."""
    inside = Path(str(resources.files("hwgen"))) / "templates"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "templates"


@cache
def environment(folder: str) -> Environment:
    """Fills templates below `folder` of the directory. XML and HTML are escaped; an undefined name is an error."""
    return Environment(
        loader=FileSystemLoader(templates() / folder), undefined=StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
        autoescape=lambda name: bool(name) and str(name).endswith((".xml", ".html.j2")),
    )  # fmt: skip
