"""A lint of HLS sources: what Vitis cannot synthesize, or would synthesize into something slow, found without Vitis."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from clang.cindex import CursorKind

from tests.hls.pragmas import PRAGMAS, check, names_of, number
from tests.hls.program import Directive, Function, Loop, Source, active, called, inside, key, pipelined

HEADER = re.compile(
    r"(?:const )?[\w:<>]+(?: [\w:<>]+)* (?P<name>\w+) = (?P<start>[^;]+); (?P=name) < [^;]+; (?P=name)(\+\+| \+= .+)"
)
PRAGMA = re.compile(r"\s*#\s*pragma\s+(?!once)(\w+)(.*)")


def find_directives(source: Source) -> None:
    """Pragmas are read from the text, as the compiler drops them, and given to the innermost loop around them."""
    for file, lines in source.text.items():
        for line, text in enumerate(lines, 1):
            if not (match := PRAGMA.match(text)):
                continue
            spelling, options, wrong = check(*match.groups())
            for one in wrong:
                source.report(file, line, one)
            owner = next((f for f in source.functions.values() if f.file == file and inside(f.cursor, line)), None)
            if owner is None:
                source.report(file, line, f"{spelling}: outside of any function")
                continue
            loops = [loop for loop in owner.loops if inside(loop.body, line)]
            directive = Directive(line, spelling, options, loops[-1] if loops else None)
            (loops[-1] if loops else owner).directives.append(directive)
            if not wrong:
                check_place(source, owner, directive)
                check_names(source, owner, directive)


def check_place(source: Source, owner: Function, directive: Directive) -> None:
    places = PRAGMAS[directive.name].places
    place = "loop" if directive.loop else "function"
    if place not in places:
        source.report(owner.file, directive.line, f"{directive.name}: belongs into a {places[0]}")
    if directive.loop and directive.name in ("pipeline", "dataflow", "unroll", "loop_tripcount", "loop_flatten"):
        statements = [one.extent.start.line for one in directive.loop.body.get_children()]
        if any(line < directive.line for line in statements):
            source.report(owner.file, directive.line, f"{directive.name}: not at the top of its loop")


def check_names(source: Source, owner: Function, directive: Directive) -> None:
    visible = owner.declared(directive.line) | source.globals
    for option, value in directive.options.items():
        kind = PRAGMAS[directive.name].options[option]
        literal = value in ("return", "slave", "direct", "off") and directive.name == "interface"
        if literal or (option not in ("variable", "port") and kind is not number):
            continue
        for name in names_of(value):
            if name not in visible:
                source.report(owner.file, directive.line, f"{directive.name}: there is no {name!r} for {option}")


def check_labels(source: Source, function: Function) -> None:
    """Vitis reports by label. That one is there twice is the compiler's to find."""
    for loop in function.loops:
        if not loop.label:
            source.report(function.file, loop.line, "loop without a label")
    for label in function.labels:
        if next(label.get_children()).kind != CursorKind.FOR_STMT:
            source.report(function.file, label.location.line, f"label {label.spelling!r} of no loop")


def check_shape(source: Source, function: Function, loop: Loop) -> None:
    start, end = loop.cursor.extent.start.offset, loop.body.extent.start.offset
    text = function.file.read_bytes()
    header = " ".join(text[start:end].decode().removeprefix("for").split())
    match = HEADER.fullmatch(header.removeprefix("(").removesuffix(")"))
    if not match:
        source.report(function.file, loop.line, "not of the shape for (T i = a; i < bound; i++ or i += c)")
        return
    name = match["name"]
    body = "\n".join(active(text[end : loop.body.extent.end.offset].decode()))
    if re.search(rf"(?<![\w.>]){name}\s*(([-+*/%&|^]|<<|>>)?=(?!=)|\+\+|--)|(\+\+|--)\s*{name}\b", body):
        source.report(function.file, loop.line, f"its body assigns {name!r}")


def check_speed(source: Source, function: Function, loop: Loop, sequential: set[str]) -> None:
    """A trip count, and a pipeline where the work is: in the innermost loop that stays a loop."""
    report = functools.partial(source.report, function.file, loop.line)
    if not loop.constant and not any(one.name == "loop_tripcount" for one in loop.directives):
        report("variable bound without loop_tripcount")
    around = function.pipelined or any(pipelined(one.directives) for one in loop.chain if one is not loop)
    if loop.unrolled or around:
        if not loop.constant:
            report("variable bound, but it is unrolled: by its pragma or by a pipeline around it")
        return
    busy = any(one is not loop and loop in one.chain and not one.unrolled for one in function.loops)
    calls = {key(one) for cursor in loop.body.walk_preorder() for one in called(cursor)}
    if pipelined(loop.directives):
        if not any(one.name == "pipeline" and one.options.get("II") == "1" for one in loop.directives):
            report("pipeline without II=1")
    elif not busy and not calls & sequential:
        report("innermost loop without pipeline II=1")


def closure(functions: dict[str, Function], start: Iterable[str]) -> set[str]:
    """The functions that call one of these, and these."""
    found = set(start)
    while more := {name for name, one in functions.items() if name not in found and one.calls & found}:
        found |= more
    return found


def check_recursion(source: Source, functions: dict[str, Function]) -> None:
    """functions: of all files, whose calls may lead back here."""
    for name, function in source.functions.items():
        reached, todo = set(), set(function.calls)
        while todo:
            reached |= todo
            todo = {more for one in todo if one in functions for more in functions[one].calls} - reached
        if name in reached:
            source.report(function.file, function.cursor.location.line, f"recursion of {function.cursor.spelling!r}")


def lint(directory: Path) -> list[str]:
    """`file:line: text` for every mistake in the directory's *.cpp and what they include of it for synthesis."""
    sources = [Source(path) for path in sorted(directory.resolve().glob("*.cpp"))]
    for source in sources:
        find_directives(source)
    functions = {name: one for source in sources for name, one in source.functions.items()}  # call each other
    loops = {name for name, one in functions.items()
             if not one.pipelined and any(not loop.unrolled for loop in one.loops)}  # fmt: skip
    sequential = closure(functions, loops)
    findings: set[tuple[Path, int, str]] = set()
    for source in sources:
        check_recursion(source, functions)
        for function in source.functions.values():
            check_labels(source, function)
            for loop in function.loops:
                check_shape(source, function, loop)
                check_speed(source, function, loop, sequential)
        findings |= source.findings
    return [f"{file.name}:{line}: {text}" for file, line, text in sorted(findings)]
