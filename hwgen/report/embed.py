"""Plots and library in a page; the page to a file.

Tested by tests/report/test_page.py and tests/explore/test_page.py.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.plotting import figure
from bokeh.resources import Resources
from markupsafe import Markup

import hwgen
from hwgen.common.errors import HwgenError
from hwgen.common.templates import environment
from hwgen.report.style import DARK

__all__ = ["embedded", "filled", "write_page"]


def embedded(name: str, plots: Sequence[figure]) -> tuple[Markup, list[str]]:
    """The plots in one document, as their time axes move together: JSON for a script, the id of each one's place."""
    document = Document(title=name)
    places = {}
    for number, one in enumerate(plots):
        document.add_root(one)
        places[one.id] = f"plot-{name}-{number}"
    # What BokehJS's `embed_items` takes.
    item = {"docid": name, "roots": places, "root_ids": list(places)}
    text = json.dumps(
        {"documents": {name: document.to_json(deferred=False)}, "items": [item]}, separators=(",", ":")
    )  # fmt: skip
    return Markup(text.replace("<", "\\u003c")), list(places.values())  # names could end the script, or begin another


def filled(template: str, **values: Any) -> str:
    """A page of templates/report with the library in it."""
    library = Resources(mode="inline", components=["bokeh"], minified=True)
    return environment("report").get_template(template).render(
        version=hwgen.__version__, dark=Markup(json.dumps(DARK)), bokeh=Markup("\n".join(library.js_raw)),
        bokeh_version=importlib.metadata.version("bokeh"), **values,
    )  # fmt: skip


def write_page(path: Path, text: str) -> None:
    """All of it or nothing. Raises HwgenError where `path` cannot be written."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, "utf-8")
        new.replace(path)
    except OSError as error:
        raise HwgenError(str(path), expected="a file that can be written", found=str(error.strerror)) from None
    finally:
        new.unlink(missing_ok=True)
