"""Reading and writing the project's YAML files: strict pydantic models, every problem a HwgenError naming the key.

Tested by tests/network/description/test_structure.py and tests/network/description/test_files.py.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hwgen.common.errors import HwgenError


class Read(BaseModel):
    """Some keys of a file that has more."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Strict(BaseModel):
    """No unknown keys, no conversions ("3" is not 3), no changes after checking."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Checked = TypeVar("Checked", bound=BaseModel)


def validate(type_: type[Checked], data: object, where: str) -> Checked:
    """`data` (parsed YAML) as a checked model; `where` names the file in messages."""
    if not isinstance(data, dict):
        raise HwgenError(where, expected="a mapping of keys to values", found=_show(data), mend="see docs/")
    try:
        return type_.model_validate(data)
    except ValidationError as error:
        raise _translate(error, data, where, type_) from None


#: What was expected, by pydantic's name of the problem; in braces the problem's own values.
_EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "greater_than": "a number greater than {gt:g}",
    "too_short": "a list of at least {min_length}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "text matching {pattern}",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _translate(error: ValidationError, data: object, where: str, type_: type[BaseModel]) -> HwgenError:
    """The first of pydantic's complaints as a HwgenError; unknown keys come first, they explain missing ones."""
    problem = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    kind, context = problem["type"], problem.get("ctx", {})
    path = _key_path(problem["loc"], data)
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(path[-1], _known_keys(type_), 1, 0.6)
        return HwgenError(where, ".".join(path), expected="no such key here", found=f"unknown key `{path[-1]}`",
                          mend=f"did you mean `{close[0]}`?" if close else "remove it")
    if kind in ("missing", "union_tag_not_found"):
        path += ["kind"] if kind == "union_tag_not_found" else []
        return HwgenError(where, ".".join(path), expected="a value", found="no such key", mend=f"add `{path[-1]}`")
    if kind == "union_tag_invalid":
        return HwgenError(where, ".".join([*path, "kind"]), expected=context["expected_tags"].replace(", ", " or "),
                          found=repr(context["tag"]))
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else problem["msg"]
    return HwgenError(where, ".".join(path), expected=expected, found=_show(problem["input"]))


def _key_path(location: tuple[int | str, ...], data: object) -> list[str]:
    """The keys down to the problem. Pydantic puts the tag of a union into the location; the YAML has no such level."""
    path = []
    for number, part in enumerate(location):
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if inside or (number == len(location) - 1 and isinstance(data, dict)):
            path.append(str(part))
            data = data[part] if inside else None  # type: ignore[index]
    return path


def _known_keys(type_: type[BaseModel]) -> list[str]:
    """All key names of a model and the models inside it."""
    keys: dict[str, None] = {}
    schema = type_.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        keys.update(dict.fromkeys(part.get("properties", {})))
    return list(keys)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


#: Values that a file may stand for by its aliases: each may repeat all before it.
MAX_REPEATED = 100_000
#: Of lists and mappings in one another.
MAX_DEPTH = 50
#: Bits of the largest number.
NUMBER_BITS = 64


class _Loader(yaml.SafeLoader):
    """YAML without silently overwritten duplicate keys, numbers of any size, and few bytes that stand for a lot."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        self._check_depth()
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        self._check_depth()
        return super().add_indent(column)

    def _check_depth(self) -> None:
        """PyYAML looks through all open collections at each token."""
        if self.flow_level + len(self.indents) > MAX_DEPTH:
            problem = f"lists or mappings in one another, more than {MAX_DEPTH} deep"
            raise yaml.scanner.ScannerError(None, None, problem, self.get_mark())

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            self._count(node, {})
        return node

    def _count(self, node: yaml.Node, known: dict[int, int]) -> int:
        """Of the values that `node` stands for; the same node by aliases more than once."""
        if id(node) in known:
            if not known[id(node)]:
                raise yaml.constructor.ConstructorError(None, None, "an alias inside what it names", node.start_mark)
            return known[id(node)]
        known[id(node)] = 0
        inside = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for one in inside for part in (one if isinstance(one, tuple) else (one,))]
        before = len(known)
        count = 1 + sum(self._count(part, known) for part in parts)
        known[id(node)] = count
        if count > MAX_REPEATED and count > 2 * (len(known) - before + 1):
            problem = f"aliases that stand for more than {MAX_REPEATED} values"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return count

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """What PyYAML's constructors make of a value that its tag does not allow are errors of many kinds."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"no {kind} can be made of {_show(node.value)}: {error}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None
        if isinstance(value, int) and value.bit_length() > NUMBER_BITS:
            problem = f"a number of {value.bit_length()} bits"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():  # else PyYAML says so
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no text", key_node.start_mark)
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key `{key_node.value}` occurs twice",
                                                        key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> object:
    """Parse a YAML file; a missing or malformed file raises HwgenError."""
    try:
        return yaml.load(path.read_text("utf-8"), _Loader)
    except OSError as error:
        raise HwgenError(str(path), expected="a readable YAML file", found=error.strerror or str(error),
                         mend="check the path") from None
    except UnicodeDecodeError:
        raise HwgenError(str(path), expected="UTF-8 text", found="other bytes") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise HwgenError(str(path), place, expected="valid YAML", found=getattr(error, "problem", None) or str(error),
                         mend="correct the syntax there") from None


def dump_yaml(document: dict[str, Any]) -> str:
    """The document as text: keys in the order given, mappings and lists of scalars on one line."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Mappings and lists of scalars on one line, as in docs/description.md; everything else in blocks."""

    def represent_mapping(  # type: ignore[override]
        self, tag: str, mapping: dict[str, Any], flow_style: bool | None = None
    ) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        scalars = all(isinstance(value, (str, int, bool)) for value in mapping.values())
        node.flow_style = bool(mapping) and scalars
        return node

    def represent_sequence(  # type: ignore[override]
        self, tag: str, sequence: list[Any], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = all(isinstance(value, (str, int, bool)) for value in sequence)
        return node
