"""Vitis HLS's pragmas, options and kinds of values (UG1399): the ones that kernels may use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

#: What a value is: a check of its text.
Kind = Callable[[str], bool]


def one_of(*words: str) -> Kind:
    return lambda value: value in words


def name(value: str) -> bool:
    """A variable, a member of one, or an element."""
    return re.fullmatch(r"(this->)?[A-Za-z_]\w*(\.\w+|\[\w+\])*", value) is not None


def word(value: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*", value) is not None


def number(value: str) -> bool:
    """A count: digits, a constant, or an expression of them without spaces."""
    return re.fullmatch(r"[\w:+*/()-]+", value) is not None


def names_of(value: str) -> list[str]:
    """The variables or constants that a value takes from the program."""
    return [one.split("::")[-1] for one in re.findall(r"(?<![\w.])[A-Za-z_][\w:]*", value.removeprefix("this->"))]


def flag(value: str) -> bool:
    """An option without a value."""
    return value == ""


@dataclass(frozen=True)
class Pragma:
    """Options by name, those it needs, and where it may stand: `loop`, `function` or both."""

    options: dict[str, Kind]
    required: tuple[str, ...] = ()
    places: tuple[str, ...] = ("function", "loop")
    #: Flags of which exactly one is needed.
    either: tuple[str, ...] = ()


MEMORIES = ["ram_1p", "ram_1wnr", "ram_2p", "ram_s2p", "ram_t2p", "rom_1p", "rom_2p", "rom_np", "fifo"]
OPERATIONS = ["mul", "add", "sub", "mac", "addmul", "muladd", "mulsub"]
MODES = ["m_axi", "s_axilite", "axis", "ap_ctrl_hs", "ap_ctrl_chain", "ap_ctrl_none", "ap_none", "ap_stable", "ap_vld",
         "ap_ack", "ap_hs", "ap_ovld", "ap_memory", "ap_fifo", "bram"]  # fmt: skip
SHAPE = {"variable": name, "dim": number, "type": one_of("complete", "cyclic", "block"), "factor": number}
COUNTS = dict.fromkeys(("min", "max"), number)
OUTSTANDING = ["max_read_burst_length", "max_write_burst_length", "num_read_outstanding", "num_write_outstanding",
               "latency", "max_widen_bitwidth", "depth"]  # fmt: skip

PRAGMAS: dict[str, Pragma] = {
    "interface": Pragma(
        {"mode": one_of(*MODES), "port": name, "bundle": word, "offset": number,
         **dict.fromkeys(OUTSTANDING, number)},
        required=("mode", "port"), places=("function",),
    ),
    "top": Pragma({"name": word}, required=("name",), places=("function",)),
    "inline": Pragma({"off": flag, "recursive": flag}, places=("function",)),
    "function_instantiate": Pragma({"variable": name}, required=("variable",), places=("function",)),
    "dataflow": Pragma({"disable_start_propagation": flag}),
    "pipeline": Pragma({"II": number, "rewind": flag, "off": flag, "style": one_of("stp", "flp", "frp")}),
    "unroll": Pragma({"factor": number, "skip_exit_check": flag}, places=("loop",)),
    "loop_tripcount": Pragma({**COUNTS, "avg": number}, required=("max",), places=("loop",)),
    "loop_flatten": Pragma({"off": flag}, places=("loop",)),
    "latency": Pragma(COUNTS),
    "array_partition": Pragma(SHAPE, required=("variable", "type")),
    "array_reshape": Pragma(SHAPE, required=("variable", "type")),
    "aggregate": Pragma({"variable": name, "compact": one_of("auto", "bit", "byte", "none")}, required=("variable",)),
    "disaggregate": Pragma({"variable": name}, required=("variable",)),
    "bind_storage": Pragma(
        {"variable": name, "type": one_of(*MEMORIES), "impl": one_of("bram", "uram", "lutram", "srl", "auto"),
         "latency": number},
        required=("variable", "type"),
    ),
    "bind_op": Pragma(
        {"variable": name, "op": one_of(*OPERATIONS), "impl": one_of("dsp", "fabric"), "latency": number},
        required=("variable", "op"),
    ),
    "stream": Pragma(
        {"variable": name, "type": one_of("fifo", "pipo", "shared", "unsync"), "depth": number}, required=("variable",)
    ),
    "stable": Pragma({"variable": name}, required=("variable",)),
    "reset": Pragma({"variable": name, "off": flag}, required=("variable",)),
    "dependence": Pragma(
        {"variable": name, "type": one_of("inter", "intra"), "direction": one_of("RAW", "WAR", "WAW"),
         "distance": number, "dependent": one_of("true", "false")},
        required=("variable", "type", "dependent"),
    ),
    "allocation": Pragma(
        {"function": flag, "operation": flag, "instances": word, "limit": number},
        required=("instances", "limit"), either=("function", "operation"),
    ),
}  # fmt: skip


def check(family: str, text: str) -> tuple[str, dict[str, str], list[str]]:
    """Name, options and mistakes of `#pragma family text`."""
    spelling, *words = re.sub(r"\s*=\s*", "=", text).split() or [""]
    pragma = PRAGMAS.get(spelling) if family == "HLS" else None
    if pragma is None:
        return spelling, {}, [f"unknown pragma '{family} {spelling}'"]
    options: dict[str, str] = {}
    wrong = []
    for option in words:
        key, equals, value = option.partition("=")
        if key in options:
            wrong.append(f"{spelling}: option {key!r} twice")
        elif key not in pragma.options:
            wrong.append(f"{spelling}: unknown option {key!r}")
        elif (pragma.options[key] is flag) == bool(equals) or not pragma.options[key](value):
            wrong.append(f"{spelling}: {key} cannot be {value!r}")
        options[key] = value
    wrong += [f"{spelling}: needs {key}=" for key in pragma.required if key not in options]
    if pragma.either and sum(key in options for key in pragma.either) != 1:
        wrong.append(f"{spelling}: needs one of {', '.join(pragma.either)}")
    if pragma.options is SHAPE and ("factor" in options) == (options.get("type") == "complete"):
        wrong.append(f"{spelling}: needs factor= unless it is complete")
    return spelling, options, wrong
