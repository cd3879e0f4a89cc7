"""Amaranth component → Verilog that means the same as Verilog-2005 and as SystemVerilog, under plain identifiers.

What Yosys writes is changed in two respects, both in its text:

* A process (`always @*`) runs when what it reads changes. Yosys makes it read a register that its declaration sets,
  which is a change in Verilog but none in SystemVerilog: there, declarations take effect before time 0, and a process
  over signals that never change never runs. An `initial` statement sets that register here; as its assignment is a
  non-blocking one, all processes wait for it already, in whatever order a simulator starts them.
* Escaped identifiers (`\\core.control `, `\\begin `, `\\data$12 `) need quoting in constraints and scripts, each tool's
  in its own way; they become plain ones.
"""

from __future__ import annotations

import os
import re

os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")

from amaranth.back import verilog
from amaranth.lib import wiring

__all__ = ["component_verilog", "plain_names", "started"]

#: The register that starts the processes of a module; escaped, so that `plain_names` finds it a name.
_TRIGGER = "\\time$zero "
_PROCESS = re.compile(r"(always @\* begin\s+if) \((\\\S+ |\w+)\) begin end")
_DECLARATION = re.compile(r"^  reg (\\\S+ |\w+) = 0;$", re.MULTILINE)
_ESCAPED = re.compile(r"\\(\S+) (?=\W)")


def component_verilog(component: wiring.Component, name: str) -> str:
    """Verilog of `component` as top module `name`, its submodules `name_...` (clock `clk`, synchronous reset `rst`)."""
    return plain_names(started(verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)))


def started(text: str) -> str:
    """With each module's trigger register set by an `initial` statement. Raises ValueError for a process without."""
    triggers = {match[2] for match in _PROCESS.finditer(text)}
    text, processes = _PROCESS.subn(lambda match: f"{match[1]} ({_TRIGGER}) begin end", text)
    if processes != text.count("always @*"):
        raise ValueError("Yosys wrote a process without a trigger: what starts it in SystemVerilog?")

    def declared(match: re.Match[str]) -> str:
        if match[1] not in triggers:
            return match[0]
        triggers.remove(match[1])
        return f"  reg {_TRIGGER};\n  initial {_TRIGGER} <= 1'h0;"

    text = _DECLARATION.sub(declared, text)
    if triggers:
        raise ValueError(f"no declaration of {', '.join(sorted(triggers))}")
    return text


def plain_names(text: str) -> str:
    """With every escaped identifier as a plain one that nothing else in the file is called, the same everywhere."""
    taken = set(re.findall(r"(?<![\\\w$.])[A-Za-z_]\w*", text))
    names: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        escaped = match[1]
        if escaped not in names:
            stem = re.sub(r"\W+", "_", escaped)
            if stem[0].isdigit():
                stem = f"_{stem}"
            elif stem == escaped:  # a word, and yet escaped: a keyword
                stem = f"{stem}_"
            name, number = stem, 1
            while name in taken:
                number += 1
                name = f"{stem}_{number}"
            taken.add(name)
            names[escaped] = name
        return names[escaped]

    return _ESCAPED.sub(plain, text)
