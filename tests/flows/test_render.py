"""Templates: an undefined name is an error, XML is escaped and other texts are not."""

import pytest
from jinja2 import DictLoader, UndefinedError

from hwgen.flows import render as room
from hwgen.flows.render import render


@pytest.fixture(autouse=True)
def templates(monkeypatch):
    environment = room._environment().overlay(loader=DictLoader({"a.tcl": "{{ x }}\n", "a.xml": "{{ x }}\n"}))
    monkeypatch.setattr(room, "_environment", lambda: environment)


def test_render():
    assert render("a.tcl", x="<&") == "<&\n"
    assert render("a.xml", x="<&") == "&lt;&amp;\n"
    with pytest.raises(UndefinedError, match="'x' is undefined"):
        render("a.tcl", y=1)
