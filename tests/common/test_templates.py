"""Templates: an undefined name is an error, XML is escaped and other texts are not."""

import pytest
from jinja2 import DictLoader, UndefinedError

from hwgen.common.templates import environment


def test_environment():
    texts = environment("flows").overlay(loader=DictLoader({"a.tcl": "{{ x }}\n", "a.xml": "{{ x }}\n"}))
    assert texts.get_template("a.tcl").render(x="<&") == "<&\n"
    assert texts.get_template("a.xml").render(x="<&") == "&lt;&amp;\n"
    with pytest.raises(UndefinedError, match="'x' is undefined"):
        texts.get_template("a.tcl").render(y=1)
