"""Verilog text → its modules, identical ones once: Amaranth emits a module for every instance.

Made for what `hwgen.rtl.emit` writes, in which a word in front of ` NAME (` or `#(` that is a module's name is an
instance of it, and every identifier that is not plain is escaped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Module", "merge", "narrow", "parse"]

_NAME = r"(?:\\\S+|[A-Za-z_]\w*)"
_HEADER = re.compile(rf"^\s*module\s+({_NAME})", re.MULTILINE)
_INSTANCE = re.compile(rf"(?<![\w.\\$])({_NAME})\s+(#\s*\(|({_NAME})\s*\()")
#: Yosys numbers what it invents over all modules.
_NUMBERED = re.compile(r"\\?\$auto\$[^\s;]+")


@dataclass
class Module:
    """A module's text from behind the one before to its `endmodule`, and what it instantiates, a name per instance."""

    name: str
    text: str
    children: list[str] = field(default_factory=list)

    @property
    def generic(self) -> bool:
        """Whether it has parameters: a hand-written leaf."""
        return re.search(r"^\s*parameter\b", self.text, re.MULTILINE) is not None


def parse(verilog: str) -> dict[str, Module]:
    """Modules by name, as written: escaped names begin with a backslash."""
    found: dict[str, Module] = {}
    for text in re.findall(r".*?^\s*endmodule\b", verilog, re.MULTILINE | re.DOTALL):
        header = _HEADER.search(text)
        assert header is not None, text[:200]
        found[header[1]] = Module(header[1], text.strip("\n"))
    for module in found.values():
        module.children = [name for name, _ in _instances(module, found)]
    return found


def _instances(module: Module, known: dict[str, Module]) -> Iterator[tuple[str, re.Match[str]]]:
    for match in _INSTANCE.finditer(module.text):
        if match[1] in known and match[1] != module.name:
            yield match[1], match


def order(modules: dict[str, Module], top: str) -> list[str]:
    """Names of what `top` is made of, children in front of their parents."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in done:
            for child in modules[name].children:
                visit(child)
            done[name] = None

    visit(top)
    return list(done)
