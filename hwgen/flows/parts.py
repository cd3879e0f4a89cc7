"""A design in parts that are synthesized apart, each once: identical modules, and large ones without their large parts.

Optimization stops at the border of a part. In return the time grows with the design and no longer with its square, the
parts of a design that did not change are kept, and the figures are there for each of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from hwgen.flows.modules import Module, Modules, merge, narrow, order, parse, stub

__all__ = ["Part", "partition"]

#: Characters of Verilog, submodules included, from which a module is a part of its own; from which it is one if it
#: has several instances.
LARGE, REPEATED = 25_000, 4_000


@dataclass(frozen=True)
class Part:
    """A module with all submodules that are no parts; black boxes of those that are."""

    name: str
    verilog: str


def partition(verilog: str, top: str, always: Collection[str] = ()) -> list[Part]:
    """The parts of a design, children in front of their parents; the last one is `top`.

    always: what the modules' names end with that are parts whatever their size.
    """
    modules = merge(narrow(parse(verilog)), top)
    names = order(modules, top)
    cut = _cut(modules, names, set(always))
    return [_part(modules, name, cut) for name in names if name in cut]


def _cut(modules: Modules, names: list[str], always: set[str]) -> set[str]:
    """Names of modules that are parts."""
    instances: Counter[str] = Counter({names[-1]: 1})
    for name in reversed(names):
        for child in modules[name].children:
            instances[child] += instances[name]
    cut = {names[-1]}
    weight: dict[str, int] = {}
    for name in names:
        module = modules[name]
        weight[name] = len(module.text) + sum(weight[child] for child in module.children if child not in cut)
        large = weight[name] >= (LARGE if instances[name] == 1 else REPEATED)
        if not module.generic and (large or re.split(r"[._]", name)[-1] in always):
            cut.add(name)
    return cut


def _part(modules: Modules, name: str, cut: set[str]) -> Part:
    inside: dict[str, Module] = {}
    outside: dict[str, Module] = {}

    def visit(name: str) -> None:
        for child in modules[name].children:
            (outside if child in cut else inside)[child] = modules[child]
            if child not in cut:
                visit(child)

    visit(name)
    texts = [module.text for module in (modules[name], *inside.values())] + [stub(one) for one in outside.values()]
    return Part(name, "\n".join(texts) + "\n")
