"""Texts for other tools from the templates under templates/flows.

Tested by tests/flows/test_pins.py and tests/flows/test_yosys.py.
"""

from __future__ import annotations

from hwgen.common.templates import environment

__all__ = ["render"]


def render(template: str, **values: object) -> str:
    """The text of `template`, a path below templates/flows."""
    return environment("flows").get_template(template).render(**values)
