"""Verilog text → its modules, identical ones once: Amaranth emits a module for every instance.

Made for what `hwgen.rtl.emit` writes: a word in front of ` NAME (` or `#(` that is a module's name is an instance of
it, connections are `.port(nets)`, ports are declared behind the header, names that are not plain are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Module", "Modules", "merge", "narrow", "order", "parse", "ports", "stub"]

_NAME = r"(?:\\\S+|[A-Za-z_]\w*)"
_HEADER = re.compile(rf"^\s*module\s+({_NAME})", re.MULTILINE)
_INSTANCE = re.compile(rf"(?<![\w.\\$])({_NAME})\s+(?:#\s*\(|({_NAME})\s*\()")
_DECLARED = re.compile(rf"^\s*(input|output)\s+(?:wire\s+|reg\s+)?(?:\[(\d+):0\]\s*)?({_NAME})\s*;", re.MULTILINE)
#: Yosys numbers what it invents over all modules.
_INVENTED = re.compile(r"\\\$auto\$\S+")


@dataclass(frozen=True)
class Module:
    """A module, from behind the one before it to its `endmodule`; its instances: name, if that is plain, and module."""

    name: str
    text: str
    instances: tuple[tuple[str, str], ...] = field(default=())

    @property
    def children(self) -> list[str]:
        """Modules that it instantiates, one for each instance."""
        return [child for _, child in self.instances]

    @property
    def generic(self) -> bool:
        """Whether it has parameters: a hand-written leaf, the same module for different hardware."""
        return re.search(r"^\s*parameter\b", self.text, re.MULTILINE) is not None

    @property
    def head(self) -> str:
        """From `module` to the end of its list of ports."""
        start = _header(self.text).start()
        return self.text[start : self.text.index(");", start) + 2].lstrip()


Modules = Mapping[str, Module]


def parse(verilog: str) -> dict[str, Module]:
    """Modules by name, as written: escaped names begin with a backslash."""
    texts = [text.strip("\n") for text in re.findall(r".*?^\s*endmodule\b", verilog, re.MULTILINE | re.DOTALL)]
    return _linked({_header(text)[1]: text for text in texts})


def order(modules: Modules, top: str) -> list[str]:
    """Names of what `top` is made of, children in front of their parents."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in done:
            for child in modules[name].children:
                visit(child)
            done[name] = None

    visit(top)
    return list(done)


def narrow(modules: Modules) -> dict[str, Module]:
    """Inputs of which a module uses one slice become that slice: lanes that get a whole bus are then identical."""
    slices: dict[str, dict[str, tuple[int, int, int]]] = {}
    texts = {}
    for name, module in modules.items():
        texts[name] = module.text
        for port, high in [] if module.generic else _wide_inputs(module.text):
            used = _slice(module.text, port)
            if used is not None and used != (0, high):
                slices.setdefault(name, {})[port] = (high, *used)
                texts[name] = _narrowed(texts[name], port, *used)
    return _linked({name: _reconnected(text, slices, name) for name, text in texts.items()})


def merge(modules: Modules, top: str) -> dict[str, Module]:
    """What `top` is made of, without modules whose text is that of another one but for their names."""
    kept: dict[str, str] = {}  # canonical text → the first module of that text
    instead: dict[str, str] = {}
    texts = {}
    for name in order(modules, top):
        text = _renamed(modules[name], instead)
        canonical = _canonical(text, name)
        instead[name] = kept.setdefault(canonical, name)
        if instead[name] == name:
            texts[name] = text
    return _linked(texts)


def stub(module: Module) -> str:
    """A black box of the module's ports."""
    declared = "\n".join(match[0].strip("\n") for match in _DECLARED.finditer(module.text))
    return f"(* blackbox *)\n{module.head}\n{declared}\nendmodule\n"


def ports(module: Module) -> list[tuple[str, str, int]]:
    """input or output, name and bits of each, as declared."""
    return [(match[1], match[3], int(match[2] or 0) + 1) for match in _DECLARED.finditer(module.text)]


def _header(text: str) -> re.Match[str]:
    found = _HEADER.search(text)
    assert found is not None, text[:200]
    return found


def _linked(texts: Mapping[str, str]) -> dict[str, Module]:
    return {
        name: Module(name, text, tuple((match[2] or "", match[1]) for match in _instances(text, texts, name)))
        for name, text in texts.items()
    }


def _instances(text: str, known: Mapping[str, object], own: str) -> Iterator[re.Match[str]]:
    return (match for match in _INSTANCE.finditer(text) if match[1] in known and match[1] != own)


def _renamed(module: Module, instead: Mapping[str, str]) -> str:
    """The module with other submodules of the same text."""
    known = dict.fromkeys(module.children)
    parts, end = [], 0
    for match in _instances(module.text, known, module.name):
        parts += [module.text[end : match.start(1)], instead[match[1]]]
        end = match.end(1)
    return "".join(parts) + module.text[end:]


def _canonical(text: str, name: str) -> str:
    header = _header(text)
    text = text[header.start() : header.start(1)] + text[header.end(1) :]
    numbers: dict[str, int] = {}
    return _INVENTED.sub(lambda match: f"\\$auto${numbers.setdefault(match[0], len(numbers))}", text)


def _wide_inputs(text: str) -> Iterator[tuple[str, int]]:
    for match in _DECLARED.finditer(text):
        if match[1] == "input" and match[2]:
            yield match[3], int(match[2])


def _uses(port: str) -> re.Pattern[str]:
    """Places where the body reads a port; constant bounds of the slice, if it is one."""
    return re.compile(rf"(?<![\w.\\$]){re.escape(port)}(?![\w$])(?:\s*\[(\d+)(?::(\d+))?\])?")


def _body(text: str) -> int:
    """Where the list of ports ends."""
    return text.index(");", _header(text).start()) + 2


def _slice(text: str, port: str) -> tuple[int, int] | None:
    """Lowest and highest bit that are read; None: all, or computed ones, or none."""
    bits: list[int] = []
    start = _body(text)
    for line in text[start:].splitlines():
        if port not in line or re.match(r"\s*(input|wire)\b", line):
            continue
        for use in _uses(port).finditer(line):
            if use[1] is None:
                return None
            bits += [int(use[1]), int(use[2] or use[1])]
    return (min(bits), max(bits)) if bits else None


def _narrowed(text: str, port: str, low: int, high: int) -> str:
    """The module with that slice as its port."""
    start, width = _body(text), high - low

    def moved(use: re.Match[str]) -> str:
        if use[1] is None:  # its declaration
            return use[0]
        bounds = [int(bound) - low for bound in use.groups() if bound is not None]
        # a vector of one bit stays a vector
        return f"{port} [{':'.join(map(str, bounds))}]"

    lines = []
    for line in text[start:].split("\n"):
        if port not in line:
            pass
        elif re.match(rf"\s*(input|wire)\b[^;=]*(?<![\w.\\$]){re.escape(port)}\s*;", line):
            line = re.sub(r"\[\d+:0\]", f"[{width}:0]", line)
        else:
            line = _uses(port).sub(moved, line)
        lines.append(line)
    return text[:start] + "\n".join(lines)


def _reconnected(text: str, slices: Mapping[str, Mapping[str, tuple[int, int, int]]], own: str) -> str:
    """The module with slices at the ports of its instances that became narrow."""
    parts, end, number = [], 0, 0
    for match in _instances(text, slices, own):
        stop = text.index(");", match.end())
        inside, wires = text[match.start() : stop], []
        for port, (wide, low, high) in slices[match[1]].items():
            connection = re.compile(rf"\.{re.escape(port)}\s*\(([^()]*)\)")
            found = connection.search(inside)
            if found is None:
                continue
            wire, number = f"\\narrow${number} ", number + 1
            wires.append(f"wire [{wide}:0] {wire};\n  assign {wire}= {found[1]};\n  ")
            inside = f"{inside[: found.start(1)]}{wire}[{high}:{low}]{inside[found.end(1) :]}"
        parts += [text[end : match.start()], *wires, inside]
        end = stop
    return "".join(parts) + text[end:]
