"""The register table is consistent, and what is derived from it says the same."""

import re
import shutil
import subprocess

import pytest

from hwgen.machine.params import HwParams
from hwgen.machine.regmap import (
    ADDRESS_BITS,
    BY_NAME,
    COUNTERS,
    ERRORS,
    MAGIC,
    MENDS,
    REGISTERS,
    Error,
    c_header,
    markdown,
    page,
    registers,
)
from tests.paths import DOCS


def test_each_has_its_place():
    """No word is of two registers, nor is the free one behind each that Vitis HLS wants; none but the protocol's share
    a pair of words."""
    used = set()
    for register in REGISTERS:
        own = range(register.offset, register.offset + 4 * register.words, 4)
        room = set(own) if register.access == "protocol" else {*own, own.stop}
        assert register.offset % (4 if register.access == "protocol" else 8 * register.words) == 0, register.name
        assert not room & used, register.name
        assert max(room) < 1 << ADDRESS_BITS
        used |= room
    assert len(BY_NAME) == len(REGISTERS)


def test_vitis_layout():
    assert [BY_NAME[name].offset for name in ("ctrl", "gie", "ier", "isr")] == [0, 4, 8, 12]
    places = {part.name: part.lsb for part in BY_NAME["ctrl"].parts}
    assert places == {"start": 0, "done": 1, "idle": 2, "ready": 3, "auto_restart": 7, "stop": 8}
    assert min(register.offset for register in REGISTERS if register.access == "rw") == 0x10


def test_parts_fit():
    for register in REGISTERS:
        taken = 0
        for part in register.parts:
            mask = ((1 << part.bits) - 1) << part.lsb
            assert not mask & taken and mask < 1 << register.bits
            taken |= mask


def test_counters():
    assert len(COUNTERS) == 21
    assert all(BY_NAME[name].access == "ro" and BY_NAME[name].bits == 48 for name in COUNTERS)


def test_what_a_driver_reads_first():
    """In all maps the magic number is here: an old driver finds it, but not its version."""
    assert BY_NAME["magic"].offset == 0x80


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_registers_of_weight_ports(ports):
    """Only those of ports that there are, and each port has its own."""
    names = {register.name for register in registers(HwParams(weight_ports=ports))}
    others = {register.name for register in REGISTERS} - names
    expected = {f"weights_base{port}" for port in range(ports, 4) if port}
    assert others == expected | {f"gmem{port + 1}_read_bytes" for port in range(ports, 4) if port}
    assert [BY_NAME[f"weights_base{port}"].offset for port in (1, 2, 3)] == [0xB0, 0xC0, 0xD0]
    assert [BY_NAME[f"gmem{number}_read_bytes"].offset for number in (2, 3, 4)] == [0x320, 0x330, 0x340]


def test_error_codes_are_documented():
    """What happened and what to do; drivers know the numbers."""
    assert list(ERRORS) == list(MENDS) == list(Error)
    assert all(MENDS[error] for error in Error if error)
    assert [error.value for error in Error] == [*range(15), *range(16, 23), *range(24, 27)]


def test_header_names_every_register():
    defines = dict(re.findall(r"^#define (\w+) (0x[0-9A-F]+|\d+)u?\b", c_header(), re.M))
    for register in REGISTERS:
        name = f"HWGEN_REG_{register.name.upper()}"
        if register.words == 1:
            assert int(defines[name], 0) == register.offset
        else:
            assert int(defines[f"{name}_LO"], 0) == register.offset
            assert int(defines[f"{name}_HI"], 0) == register.offset + 4
    assert int(defines["HWGEN_CTRL_AUTO_RESTART_MASK"], 0) == 0x80
    assert int(defines["HWGEN_MAGIC"], 0) == MAGIC
    assert len(defines) == len(re.findall(r"^#define \w+ ", c_header(), re.M))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_header_compiles(tmp_path):
    (tmp_path / "regs.h").write_text(c_header())
    source = tmp_path / "main.c"
    source.write_text('#include "regs.h"\n#include "regs.h"\nint x[HWGEN_ERROR_FIELD == 9 ? 1 : -1];\n')
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", source, "-o", tmp_path / "o"], check=True
    )


def test_markdown_rows():
    text = markdown()
    for register in REGISTERS:
        assert f"| 0x{register.offset:03X} | `{register.name}` |" in text
    for error in Error:
        assert f"| {error.value} | `{error.name}` |" in text
    tables = text.strip().split("\n\n")
    assert [len({line.count("|") for line in table.splitlines()}) for table in tables] == [1, 1]


def test_page_is_current():
    text = (DOCS / "register_map.md").read_text("utf-8")
    assert text == page(), "run: python -m hwgen.machine.regmap > docs/register_map.md"
