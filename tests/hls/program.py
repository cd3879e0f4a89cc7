"""HLS sources as the lint sees them: functions, loops and pragmas, and whatever has no hardware at all."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clang import cindex
from clang.cindex import Cursor, CursorKind, Type, TypeKind

from hwgen.common.templates import templates

STUBS = Path(__file__).parent / "stubs"
#: Stand-ins of Xilinx's headers: not for synthesis, nor are they made to be.
SIMULATION = ("integers.h", "stream.h")
FUNCTIONS = {CursorKind.FUNCTION_DECL, CursorKind.CXX_METHOD, CursorKind.FUNCTION_TEMPLATE, CursorKind.CONSTRUCTOR,
             CursorKind.DESTRUCTOR, CursorKind.CONVERSION_FUNCTION}  # fmt: skip
VARIABLES = {CursorKind.VAR_DECL, CursorKind.PARM_DECL, CursorKind.FIELD_DECL}
#: Statements and declarations that have no hardware.
FORBIDDEN = {
    CursorKind.FLOATING_LITERAL: "floating point", CursorKind.CXX_NEW_EXPR: "new", CursorKind.CXX_DELETE_EXPR: "delete",
    CursorKind.CXX_TRY_STMT: "try", CursorKind.CXX_THROW_EXPR: "throw", CursorKind.GOTO_STMT: "goto",
    CursorKind.INDIRECT_GOTO_STMT: "goto", CursorKind.WHILE_STMT: "while", CursorKind.DO_STMT: "do",
    CursorKind.CXX_FOR_RANGE_STMT: "range-based for",
}  # fmt: skip
ALLOCATORS = {"malloc", "calloc", "realloc", "free"}
FLOATS = re.compile(r"\b(float|double|half|_Float16|__fp16)\b")
CONTAINERS = re.compile(
    r"\bstd::(?:__\w+::)?(vector|deque|list|forward_list|(?:unordered_)?(?:multi)?(?:map|set)|queue|priority_queue|stack"
    r"|function|shared_ptr|unique_ptr|basic_\w+|optional|variant|any)\b"
)


@dataclass(eq=False)
class Directive:
    """A pragma and the loop that it stands in."""

    line: int
    name: str
    options: dict[str, str]
    loop: Loop | None = None


@dataclass(eq=False)
class Loop:
    cursor: Cursor
    label: str
    outer: Loop | None
    directives: list[Directive] = field(default_factory=list)

    @property
    def line(self) -> int:
        return self.cursor.location.line

    @property
    def body(self) -> Cursor:
        return list(self.cursor.get_children())[-1]

    @property
    def unrolled(self) -> bool:
        return any(one.name == "unroll" and "factor" not in one.options for one in self.directives)

    @property
    def chain(self) -> Iterator[Loop]:
        """This loop and those around it."""
        one: Loop | None = self
        while one:
            yield one
            one = one.outer

    @functools.cached_property
    def constant(self) -> bool:
        """All of the header but the loop variable is known to the compiler."""
        *header, _ = self.cursor.get_children()
        return all(constant(part, self.cursor) for part in header)


@dataclass(eq=False)
class Function:
    cursor: Cursor
    file: Path
    loops: list[Loop] = field(default_factory=list)
    labels: list[Cursor] = field(default_factory=list)
    directives: list[Directive] = field(default_factory=list)
    #: Keys of the functions that it calls.
    calls: set[str] = field(default_factory=set)

    @property
    def pipelined(self) -> bool:
        return pipelined(self.directives)

    def declared(self, line: int) -> set[str]:
        """Parameters, locals above the line, and members."""
        inside = {one.spelling for one in self.cursor.walk_preorder()
                  if one.spelling and one.kind in VARIABLES | {CursorKind.TEMPLATE_NON_TYPE_PARAMETER}
                  and one.location.line <= line}  # fmt: skip
        return inside | {one.spelling for one in self.cursor.semantic_parent.get_children() if one.spelling}


def pipelined(directives: Iterable[Directive]) -> bool:
    return any(one.name == "pipeline" and "off" not in one.options for one in directives)


def inside(cursor: Cursor, line: int) -> bool:
    return cursor.extent.start.line <= line <= cursor.extent.end.line


def constant(part: Cursor, loop: Cursor | None = None) -> bool:
    """An expression without variables but the loop's own; a type's name or a call of a constexpr function is none."""
    for one in part.walk_preorder():
        if one.kind == CursorKind.MEMBER_REF_EXPR:
            # In a template a name of its argument's, `Sizes::TERMS`, is one too.
            if one.referenced is not None or {".", "->"} & {token.spelling for token in one.get_tokens()}:
                return False
        if one.kind != CursorKind.DECL_REF_EXPR or one.referenced is None:
            continue
        seen = one.referenced
        if seen.kind == CursorKind.PARM_DECL or (seen.kind == CursorKind.VAR_DECL and not known(seen, loop)):
            return False
        if seen.kind in FUNCTIONS and "constexpr" not in [t.spelling for t in seen.get_tokens()]:
            return False
    return True


def known(variable: Cursor, loop: Cursor | None) -> bool:
    if loop and loop.extent.start.offset <= variable.extent.start.offset <= loop.extent.end.offset:
        return True
    values = [one for one in variable.get_children() if one.kind.is_expression()]
    return variable.type.get_canonical().is_const_qualified() and bool(values) and all(map(constant, values))


class Source:
    """The findings of one translation unit, in the files of its directory."""

    def __init__(self, path: Path) -> None:
        self.findings: set[tuple[Path, int, str]] = set()
        self.directory = path.parent
        flags = ["-xc++", "-std=c++17", "-D__SYNTHESIS__", f"-I{STUBS}", f"-I{templates() / 'hls/src'}",
                 f"-isystem{gcc_headers()}"]  # fmt: skip
        self.unit = cindex.Index.create().parse(str(path), flags)
        for one in self.unit.diagnostics:
            if one.severity >= cindex.Diagnostic.Error:
                self.report(Path(str(one.location.file)), one.location.line, f"does not parse: {one.spelling}")
        self.functions: dict[str, Function] = {}
        self.globals: set[str] = set()
        for cursor in self.unit.cursor.get_children():
            if cursor.location.file and self.own(Path(cursor.location.file.name)):
                self.collect(cursor)
        self.text = {path: active(path.read_text())}
        for one in self.unit.get_includes():
            file, includer = Path(one.include.name), Path(one.source.name)
            if self.own(file):
                self.text[file] = active(file.read_text())
            elif file.name in SIMULATION and self.own(includer):
                self.report(includer, one.location.line, f"{file.name} is for simulation only")

    def report(self, file: Path, line: int, text: str) -> None:
        self.findings.add((file, line, text))

    def own(self, file: Path) -> bool:
        return file.parent == self.directory and file.name not in SIMULATION

    def collect(self, cursor: Cursor) -> None:
        """The functions and names of a declaration outside of functions; what it is made of is looked at too."""
        if cursor.kind in FUNCTIONS and cursor.is_definition():
            function = Function(cursor, Path(cursor.location.file.name))
            self.functions[key(cursor)] = function
            self.visit(cursor, function, None, "")
            return
        self.look(cursor)
        self.globals.add(cursor.spelling)
        for child in cursor.get_children():
            self.collect(child)

    def visit(self, cursor: Cursor, function: Function, outer: Loop | None, label: str) -> None:
        self.look(cursor)
        if cursor.kind == CursorKind.FOR_STMT:
            outer = Loop(cursor, label, outer)
            function.loops.append(outer)
        if cursor.kind == CursorKind.LABEL_STMT:
            function.labels.append(cursor)
        function.calls |= {key(one) for one in called(cursor)}
        for child in cursor.get_children():
            self.visit(child, function, outer, cursor.spelling if cursor.kind == CursorKind.LABEL_STMT else "")

    def look(self, cursor: Cursor) -> None:
        """What may not be there at all."""
        if cursor.location.file is None:
            return
        file, line, kind = Path(cursor.location.file.name), cursor.location.line, cursor.kind
        spelling = cursor.type.get_canonical().spelling
        if kind in FUNCTIONS:
            spelling = cursor.result_type.get_canonical().spelling
            if cursor.is_virtual_method():
                self.report(file, line, "virtual")
        if kind in FORBIDDEN:
            self.report(file, line, FORBIDDEN[kind])
        if FLOATS.search(spelling):
            self.report(file, line, "floating point")
        if found := CONTAINERS.search(spelling):
            self.report(file, line, f"std::{found[1]}")
        if kind in VARIABLES and is_callable(cursor.type):
            self.report(file, line, "function pointer")
        if kind == CursorKind.CALL_EXPR and cursor.spelling in ALLOCATORS:
            self.report(file, line, cursor.spelling)


def is_callable(of: Type) -> bool:
    """A function behind pointers, references and arrays."""
    of = of.get_canonical()
    while of.kind in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE, TypeKind.RVALUEREFERENCE, TypeKind.CONSTANTARRAY):
        of = of.element_type if of.kind == TypeKind.CONSTANTARRAY else of.get_pointee()
    return of.kind in (TypeKind.FUNCTIONPROTO, TypeKind.MEMBERPOINTER)


def key(cursor: Cursor) -> str:
    template = cindex.conf.lib.clang_getSpecializedCursorTemplate(cursor)
    return (template if template and template.kind in FUNCTIONS else cursor).canonical.get_usr()


def called(cursor: Cursor) -> Iterator[Cursor]:
    """The functions that an expression names; in a template, whatever its overloaded name may mean."""
    if cursor.kind in (CursorKind.DECL_REF_EXPR, CursorKind.CALL_EXPR, CursorKind.MEMBER_REF_EXPR):
        if cursor.referenced is not None and cursor.referenced.kind in FUNCTIONS:
            yield cursor.referenced
    if cursor.kind == CursorKind.OVERLOADED_DECL_REF:
        for number in range(cindex.conf.lib.clang_getNumOverloadedDecls(cursor)):
            yield cindex.conf.lib.clang_getOverloadedDecl(cursor, number)


@functools.cache
def gcc_headers() -> str:
    """The compiler's own headers, which the wheel of libclang does not have."""
    return subprocess.check_output(["g++", "-print-file-name=include"], text=True).strip()


def active(text: str) -> list[str]:
    """The lines without comments, and without what is for simulation only."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    out, stack = [], []
    for line in re.sub(r"//.*", "", text).split("\n"):
        words = line.replace("#", "# ").split()[:3]
        if words[:1] == ["#"] and words[1:2] and words[1].startswith("if"):
            mine = {"ifdef": True, "ifndef": False}.get(words[1]) if words[2:] == ["__SYNTHESIS__"] else None
            stack.append(mine)
        elif words[:2] == ["#", "else"]:
            stack[-1] = None if stack[-1] is None else not stack[-1]
        elif words[:2] == ["#", "endif"]:
            stack.pop()
        out.append("" if False in stack else line)
    return out
