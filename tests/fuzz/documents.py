"""Spoilt YAML and JSON: a value, a key or the text itself is not what it was."""

from __future__ import annotations

import copy
import json
import math
from random import Random
from typing import Any

__all__ = ["spoil_json", "spoil_yaml", "spoilt"]

#: Of values.
ODD: tuple[Any, ...] = (
    None, True, False, "", 0, -1, 1, 3, 255, 256, 65535, 65536, 1 << 31, 1 << 63, 1 << 64, -(1 << 63), 10**40, 10**400,
    0.0, -0.0, 0.5, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan, "x" * 300, "x" * 5000, "\0", "a\0b", "..",
    "../../x", "/", "/dev/null", "/proc/self/mem", "~nobody-of-this-name/x", "é" * 200, "\ud800", "\n", "a\nb: c", "{{",
    "%s", "[bold]", "auto", "3000 KB", "9" * 30 + " MB", "9" * 5000 + " KB", "٣ KB", [], {}, [[]], [None], [0], ["a"],
    {"": 0}, {"a": {}}, [1, 2, 3], [0] * 1000,
)  # fmt: skip
#: Of YAML, in the place of a value.
TEXTS = (
    "0x" + "f" * 10000, "0b" + "1" * 100, "0o777", "9" * 4000, "9" * 5000, "1_000", "1:60:60", "190:20:30:15.5",
    "2001-12-14", "2001-99-99", "2001-12-14t21:59:43.10-05:00", "2001-12-14t99:99:99Z", ".inf", "-.inf", ".nan",
    "1.0e+400", "1e400", "~", "!!python/object/apply:os.system [x]", "!!binary aGVsbG8=", "!!binary '!'",
    "!!set {a, b}",
    "!!omap [a: 1]", "!!pairs [a: 1]", "!!int x", "!!float x", "!!bool x", "!!timestamp x", "!!null x", "!unknown x",
    "!!map [a]", "!!seq {a: 1}", "!!str {a: 1}", "&a [*a]", "&a {b: *a}", "*undefined", "{<<: 3}", "{<<: [3]}",
    "&a {<<: *a}", "{? [a] : 1}", "{? {a: 1} : 1}", "{1: 2, 1: 3}", "{1: 2, true: 3}", "{a: 1, 'a': 2}",
    "[" * 30 + "]" * 30, "[" * 3000 + "]" * 3000, "{a: " * 2000 + "}" * 2000, "- " * 1000, "'", '"\\ud800"', '"\\x00"',
    "|", ">", "? ", "@", "`", "%YAML 9.9\n---\n", "---\n...\n---", "\t", "# only a comment", '"' + "a" * 10000 + '"',
)  # fmt: skip


def _laughs(width: int, depth: int, merge: bool = False) -> str:
    """A few hundred bytes that stand for width ** depth values."""
    one = "{x: 1}" if merge else "[x]"
    lines = [f"a0: &a0 {one}"]
    for level in range(1, depth):
        names = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{names}]}}" if merge else f"[{names}]"))
    return "\n".join(lines)


def _paths(document: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here]
    items = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    for key, value in items:
        found += _paths(value, (*here, key))
    return found


def spoilt(dice: Random, document: Any) -> Any:
    """Of parsed YAML or JSON, with one to three things changed."""
    document = copy.deepcopy(document)
    for _ in range(dice.randint(1, 3)):
        path = dice.choice(_paths(document))
        if not path:
            if dice.randrange(20) == 0:
                return copy.deepcopy(dice.choice(ODD))
            continue
        *rest, last = path
        parent = document
        for key in rest:
            parent = parent[key]
        action = dice.randrange(8)
        if action < 4:
            parent[last] = _near(dice, parent[last]) if dice.randrange(2) else copy.deepcopy(dice.choice(ODD))
        elif action == 4:
            del parent[last]
        elif action == 5:
            parent[last] = [parent[last]] * dice.choice([1, 2, 100])
        elif isinstance(parent, dict):
            name = dice.choice(
                [str(last) + "x", str(last)[:-1], "", "x" * 3000, "__metadata__", "\0", "a.b", "é\ud800"]
            )
            parent[name] = parent.pop(last) if action == 6 else copy.deepcopy(parent[last])
        else:
            parent.insert(dice.randrange(len(parent) + 1), copy.deepcopy(dice.choice(ODD)))
    return document


def _near(dice: Random, value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return dice.choice([value - 1, value + 1, -value, 2 * value, value << 8, value << 32, value % 9 + 0.5, "1"])
    if isinstance(value, float):
        whole = int(value) if math.isfinite(value) else 0
        return dice.choice([-value, value * 1e300, value / 1e300, whole, str(value)])
    if isinstance(value, str):
        return dice.choice(
            [value + "x", value[:-1], value.upper(), value * 50, value + "\0", value + "/", "./" + value]
        )
    return copy.deepcopy(dice.choice(ODD))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=value is not None)


def _bytes(dice: Random, text: str) -> bytes:
    """In an encoding that is seldom the right one."""
    coding = dice.choice(["utf-8"] * 20 + ["utf-8-sig", "utf-16", "utf-32", "latin-1", "utf-7"])
    data = text.encode(coding, "replace" if coding == "latin-1" else "surrogatepass")
    return data + dice.choice([b""] * 10 + [b"\0", b"\xff", b"\x1a", b"\r\n\x85"])


def spoil_json(dice: Random, data: bytes) -> bytes:
    """Of the bytes of a JSON file."""
    if dice.randrange(8) == 0:
        return _bytes(dice, dice.choice([
            "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "9" * 5000, "[" * 500 + "]" * 500, "", "null", "NaN",
            '{"format": 1e999}', "{", '"\\ud800"', "[1,]", "-", '{"a": 1, "a": 2}',
        ]))  # fmt: skip
    return _bytes(dice, _text(spoilt(dice, json.loads(data))))


def spoil_yaml(dice: Random, data: bytes) -> bytes:
    """Of the bytes of a YAML file."""
    import yaml

    kind = dice.randrange(6)
    if kind == 0:
        text = data.decode()
        lines = text.splitlines()
        at = dice.randrange(len(lines))
        choice = dice.choice(TEXTS)
        key = lines[at].split(":")[0]
        lines[at] = dice.choice([f"{key}: {choice}", choice, lines[at] + choice, f"{choice}: 1", f"? {choice}\n: 1"])
        return _bytes(dice, "\n".join(lines))
    if kind == 1:
        laugh = _laughs(dice.choice([2, 9, 20]), dice.choice([3, 10, 30]), bool(dice.randrange(2)))
        key = dice.choice(["layers", "tasks", "models", "array", "x", "scales", "weight_bits"])
        name = laugh.splitlines()[-1].split(":")[0]
        text = data.decode()
        if dice.randrange(2):
            text = "\n".join(line for line in text.splitlines() if not line.startswith(key) and line[:1] not in " -")
        return _bytes(dice, f"{laugh}\n{text}\n{key}: *{name}\n")
    # JSON is YAML; what is not is written as YAML writes it.
    text = _text(spoilt(dice, yaml.safe_load(data)))
    text = text.replace("-Infinity", "-.inf").replace("Infinity", ".inf").replace("NaN", ".nan")
    if kind == 2:
        text = text.replace(" 1,", f" {dice.choice(TEXTS)},", 1)
    return _bytes(dice, text)
