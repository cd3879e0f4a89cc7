"""Texts for other tools from the templates under templates/flows.

Tested by tests/flows/test_pins.py and tests/flows/test_yosys.py.
"""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hwgen.rtl.emit import templates

__all__ = ["render"]


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(templates() / "flows"), undefined=StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True, autoescape=lambda name: bool(name) and str(name).endswith(".xml"),
    )  # fmt: skip


def render(template: str, **values: object) -> str:
    """The text of `template`, a path below templates/flows. XML is escaped; an undefined name is an error."""
    return _environment().get_template(template).render(**values)
