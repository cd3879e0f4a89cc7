"""IP-XACT (IEEE 1685-2009, as Vivado reads it) of an emitted accelerator, and the kernel description of Vitis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwgen.flows.design import Design
from hwgen.flows.render import render
from hwgen.machine.interfaces import numbered
from hwgen.machine.regmap import REGISTERS, Access, Bits, Register

__all__ = ["BLOCK", "RANGE", "Field", "Word", "component_xml", "kernel_xml", "words"]

#: The address block of the registers, and its bytes: the least that an AXI slave may take, and a page of Linux.
BLOCK, RANGE = "reg0", 4096
READ, WRITE = "read-only", "read-write"
_ACCESS: dict[Access, str] = {"rw": WRITE, "ro": READ, "clear": WRITE, "const": READ, "protocol": WRITE}
#: Of `ap_ctrl_hs`: bits that are only read, bits that a read clears, registers whose bits a write of 1 toggles.
_STATUS = {("ctrl", "done"), ("ctrl", "idle"), ("ctrl", "ready")}
_CLEARED = {("ctrl", "done"), ("ctrl", "ready")}
_TOGGLED = {"isr"}


@dataclass(frozen=True)
class Field:
    """Bits of a word, with the side effects of reading (`read_action`) and writing (`written`), if any."""

    name: str
    lsb: int
    bits: int
    doc: str
    access: str
    read_action: str = ""
    written: str = ""


@dataclass(frozen=True)
class Word:
    """A register as software addresses it: 32 bits."""

    name: str
    offset: int
    doc: str
    access: str
    fields: tuple[Field, ...]


def words() -> Iterator[Word]:
    """The register table in words; registers of two are called `_lo` and `_hi`."""
    for register in REGISTERS:
        access = _ACCESS[register.access]
        for number in range(register.words):
            name = register.name + ("", ("_lo", "_hi")[number])[register.words > 1]
            span = Bits(name, 0, min(register.bits - 32 * number, 32), register.doc)
            fields = tuple(_field(register, part, access) for part in register.parts or (span,))
            yield Word(name, register.offset + 4 * number, register.doc, access, fields)


def _field(register: Register, part: Bits, access: str) -> Field:
    place = (register.name, part.name)
    return Field(
        part.name, part.lsb, part.bits, part.doc, READ if place in _STATUS else access,
        read_action="clear" if place in _CLEARED else "",
        written="oneToToggle" if register.name in _TOGGLED else "clear" if register.access == "clear" else "",
    )  # fmt: skip


def component_xml(design: Design, verilog: str, constraints: str, gui: str) -> str:
    """`component.xml`; the files are named as seen from its directory."""
    vendor, library, name, version = design.vlnv.split(":")
    return render(
        "vivado/component.xml", design=design, vendor=vendor, library=library, name=name, version=version,
        words=list(words()), block=BLOCK, range=RANGE, verilog=verilog, constraints=constraints, gui=gui,
    )  # fmt: skip


def kernel_xml(design: Design) -> str:
    """`kernel.xml` of an RTL kernel with the protocol `ap_ctrl_hs`: every register a host writes is an argument."""
    regions = _regions(design)
    arguments = [
        (register, regions.get(register.name))
        for register in REGISTERS
        if register.access == "rw" and ("_base" not in register.name or register.name in regions)
    ]
    return render("vivado/kernel.xml", design=design, arguments=arguments, range=RANGE)


def _regions(design: Design) -> dict[str, str]:
    """Registers with the base of a memory region → the master that reaches it. Weight ports that are not there have
    registers, too."""
    data = design.data_master
    weights = [master for master in design.masters if master is not data]
    return {f"{region}_base": data.name for region in ("program", "input", "output")} | {
        numbered("weights_base", port): master.name for port, master in enumerate(weights)
    }
