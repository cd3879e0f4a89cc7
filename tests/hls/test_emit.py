"""What is emitted: every unit, rendered to the end, and as the tables of the machine say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hwgen import hls
from hwgen.common.templates import templates
from hwgen.hls import Depth, sources, write
from hwgen.machine import tables
from hwgen.machine.interfaces import weight_numbers
from hwgen.machine.isa import BYTES, FIELDS, Dest, Op, Source, read_mask
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import MAGIC, VERSION, Error, registers
from tests.paths import DOCS, ROOT

#: What a machine consists of, a file each.
UNITS = {
    "sequencer", "check", "engine", "weight_stream", "issue", "array", "drain", "postprocess", "activation", "softmax",
    "layernorm", "router", "mover", "data", "memories", "kernel",
}  # fmt: skip
HEADERS = {"buffers.h", "integers.h", "isa.h", "params.h", "pass.h", "stream.h", "tables.h", "trips.h", "types.h"}
#: Nothing of these is the default, or a power of two where it need not be.
ODD = [
    HwParams(
        t=2, c=4, k=1, weight_bus=64, data_bus=512, weight_ports=2, multiplier_bits=18, max_burst=16, x_depth=33,
        y_depth=7, h_depth=9, k_depth=5, v_depth=11, max_tokens=37, weight_depth=100, norm_depth=3, max_experts=5,
        max_topk=3,
    ),
    HwParams(
        t=32, c=8, k=16, weight_bus=512, data_bus=64, weight_ports=4, max_burst=256, x_depth=65536, y_depth=300,
        h_depth=301, k_depth=302, v_depth=303, max_tokens=4096, weight_depth=3, norm_depth=4096, max_experts=256,
        max_topk=16,
    ),
]  # fmt: skip
HASH = 0xFEDC_BA98_7654_3210


def ids(p: HwParams) -> str:
    return f"{p.t}x{p.c}x{p.k}"


def numbers(text: str, name: str) -> list[list[int]]:
    """The rows of the table `name` in braces."""
    body = text.split(f"{name}[")[1].split("= {", 1)[1].split("};")[0]
    return [[int(one, 0) for one in re.findall(r"\b(?:0x[0-9A-F]+|\d+)\b", row)] for row in body.splitlines() if row]


def test_every_unit_has_its_file() -> None:
    names = set(sources(HwParams()))
    assert names == {f"{unit}.{end}" for unit in UNITS for end in ("cpp", "h")} | HEADERS
    page = (DOCS / "hls.md").read_text("utf-8").split("## Which file is which")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)\.cpp`", page, re.M)) == UNITS
    assert {f"{name}.h" for name in re.findall(r"`(\w+)\.h`", page)} == HEADERS


@pytest.mark.parametrize("p", ODD, ids=ids)
def test_templates_are_filled(p: HwParams) -> None:
    home = templates() / hls.FOLDER / hls.SOURCES
    texts = sources(p)
    filled = {path.stem for path in home.glob("*.j2")}
    assert filled == {"isa.h", "kernel.cpp", "kernel.h", "params.h", "tables.h"}
    for name, text in texts.items():
        if name in filled:
            assert not re.search(r"\{[{%#]|[}%#]\}|None|True|False|undefined", text.replace("};", "")), name
        else:
            assert text == (home / name).read_text("utf-8")


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_registers(ports: int) -> None:
    """Every one is an argument of its width at its offset; a host's are values, results are references."""
    p = replace(HwParams(), weight_ports=ports)
    texts = sources(p, top="machine")
    known = {one.name: one for one in registers(p) if one.access != "protocol"}
    assert any(one.weight_port for one in known.values()) == (ports > 1)
    pragmas = [
        dict(word.split("=", 1) for word in line.split())
        for line in re.findall(r"^#pragma HLS interface (.+)$", texts["kernel.cpp"], re.M)
    ]
    of_mode = {mode: [one for one in pragmas if one["mode"] == mode] for mode in ("m_axi", "s_axilite", "ap_none")}
    assert sum(map(len, of_mode.values())) == len(pragmas)

    offsets = [(one["port"], int(one["offset"], 16)) for one in of_mode["s_axilite"] if one["port"] != "return"]
    assert sorted(offsets) == sorted((one.name, one.offset) for one in known.values())
    assert {one["bundle"] for one in of_mode["s_axilite"]} == {"control"}
    results = sorted(one.name for one in known.values() if one.access != "rw")
    assert sorted(one["port"] for one in of_mode["ap_none"]) == results

    masters = [f"gmem{number}" for number in (*weight_numbers(p), 1)]
    assert [one["port"] for one in of_mode["m_axi"]] == masters
    assert all(one["bundle"] == one["port"] and one["offset"] == "off" for one in of_mode["m_axi"])
    assert len({one["bundle"] for one in of_mode["m_axi"]}) == ports + 1
    for name in ("kernel.cpp", "kernel.h"):
        given = re.search(r"void machine\((.*?)\)\s*[{;]", texts[name], re.S)
        assert given
        found = " ".join(given[1].split()).split(", ")
        memories = [f"const hwgen::WeightBeat* {one}" for one in masters[:-1]] + ["hwgen::DataBeat* gmem1"]
        assert found[: len(memories)] == memories
        assert sorted(found[len(memories) :]) == sorted(
            f"hwgen::ap_uint<{one.bits}>{'' if one.access == 'rw' else '&'} {one.name}" for one in known.values()
        )
    pairs = re.findall(r"\{(0x[0-9A-F]+), &Registers::(\w+)\}", texts["kernel.h"])
    assert {name: int(offset, 16) for offset, name in pairs} == {one.name: one.offset for one in known.values()}
    for one in results:
        assert len(re.findall(rf"^    {one} = .+;$", texts["kernel.cpp"], re.M)) == 1, one


def test_masters_bursts_and_depths() -> None:
    """4 KiB at most; co-simulation gets the memory that it is told of."""
    text = sources(ODD[1], depth=Depth(weights=12, data=34))["kernel.cpp"]
    lines = dict(re.findall(r"mode=m_axi port=(\w+) (.+)", text))
    assert all(" depth=12 max_read_burst_length=256 " in lines[f"gmem{number}"] for number in (0, 2, 3, 4))
    assert " depth=34 max_read_burst_length=256 max_write_burst_length=256 " in lines["gmem1"]
    wide = sources(ODD[0])["kernel.cpp"]
    assert "port=gmem1 bundle=gmem1 offset=off depth=1048576 max_read_burst_length=16 max_write_" in wide
    assert "max_read_burst_length=64 " in sources(replace(ODD[0], max_burst=256))["kernel.cpp"].split("port=gmem1")[1]


@pytest.mark.parametrize("p", [HwParams(), HwParams(rms_norm=True, gated_mlp=True)], ids=["plain", "features"])
def test_instructions(p: HwParams) -> None:
    """Fields, what each opcode reads, and the names of numbers."""
    text = sources(p)["isa.h"]
    found = re.findall(r"ap_uint<(\d+)> (\w+)\(\) const \{ return word\[(\d+)\]\.range\((\d+), (\d+)\); \}", text)
    fields = [(name, int(word), int(low), int(high), int(bits)) for bits, name, word, high, low in found]
    assert fields == [(one.name, one.word, one.lsb, one.lsb + one.bits - 1, one.bits) for one in FIELDS]
    rows = numbers(text, "READ")
    assert [sum(word << 32 * n for n, word in enumerate(row)) for row in rows] == [read_mask(op, p) for op in Op]
    assert {len(row) for row in rows} == {BYTES // 4}
    assert list(Op) == list(range(1, len(Op) + 1))  # an opcode's row is at its number less one
    for kind, prefix in ((Op, ""), (Source, "FROM_"), (Dest, "TO_"), (Error, "")):
        body = re.search(rf"enum {kind.__name__} : std::uint8_t \{{(.*?)\}};", text, re.S)
        assert body
        values = {name: int(value) for name, value in re.findall(r"(\w+) = (\d+),", body[1])}
        assert values == {prefix + one.name: one.value for one in kind}


def test_tables() -> None:
    text = sources(HwParams())["tables.h"]
    for name in ("EXP", "GATE_EXP", "RSQRT"):
        assert [one for row in numbers(text, f" {name}") for one in row] == list(getattr(tables, name))


@pytest.mark.parametrize("p", ODD, ids=ids)
def test_parameters(tmp_path: Path, p: HwParams) -> None:
    """By the compiler: those of HwParams, and what both follow from by themselves."""
    expected = {
        "T": p.t, "C": p.c, "K": p.k, "W": p.word, "PARTS": p.word // p.c, "WEIGHT_PORTS": p.weight_ports,
        "PORT_BYTES": p.port_bits // 8, "WEIGHT_BYTES": p.weight_bus // 8, "DATA_BYTES": p.data_bus // 8,
        "X_DEPTH": p.x_depth, "Y_DEPTH": p.y_depth, "H_DEPTH": p.h_depth, "K_DEPTH": p.k_depth, "V_DEPTH": p.v_depth,
        "MAX_TOKENS": p.max_tokens, "ROW_BITS": p.row_bits, "KEY_WORDS": -(-p.max_tokens // p.word),
        "WEIGHT_DEPTH": p.weight_depth, "RING_DEPTH": p.ring_depth, "PARAM_WORDS": p.param_words,
        "PIECE_BYTES": p.piece_bytes, "NORM_DEPTH": p.norm_depth, "MAX_EXPERTS": p.max_experts,
        "MAX_TOPK": p.max_topk, "WEIGHT_ALIGN": p.weight_align, "MAX_BURST": p.max_burst,
        "ACTIVATION_ENTRIES": tables.ACTIVATION_ENTRIES, "PACKED": int(p.multiplier_bits == 27),
        "MAGIC": MAGIC, "VERSION": VERSION, "GATE_LANES": min(p.c, p.max_experts),
        # Of the RTL's: docs/architecture.md, "Buffers".
        "TABLE_WORDS": {3: 4, 4096: 4096}[p.norm_depth], "GATE_STRIDE": {5: 2, 256: 32}[p.max_experts],
        "QUEUE_STRIDE": {37: 64, 4096: 4096}[p.max_tokens],
    }  # fmt: skip
    for name, text in sources(p, HASH).items():
        (tmp_path / name).write_text(text)
    checks = "".join(f"static_assert(hwgen::{name} == {value});\n" for name, value in expected.items())
    (tmp_path / "checks.cpp").write_text(f'#include "params.h"\n{checks}')
    command = ["g++", "-std=c++17", "-fsyntax-only", "checks.cpp"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("p", ODD, ids=ids)
def test_constants_that_tell_a_driver_what_it_is(p: HwParams) -> None:
    text = sources(p, HASH)["kernel.cpp"]
    assert f"shape = 0x{p.t + (p.c << 8) + (p.k << 16):08X};" in text
    assert f"buses = 0x{p.port_bits + (p.weight_ports << 12) + (p.data_bus << 16):08X};" in text


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    """In another process, too; and beside the kernel's sources C-simulation's."""
    write(tmp_path, ODD[0], HASH, "machine", Depth())
    found = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    expected = {f"hls/src/{name}": text.encode() for name, text in sources(ODD[0], HASH, "machine").items()}
    assert found == expected | {"hls/csim/main.cpp": (templates() / "hls/csim/main.cpp").read_bytes()}
    code = f"from hwgen.hls import *; from hwgen.machine.params import HwParams; print(sources({ODD[0]}, {HASH}))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert said == {f"{sources(ODD[0], HASH)}\n"}
