"""The register map of `s_axi_control`: one table from which RTL, the C header and the documentation are derived.

Offsets 0x00 to 0x0C are the block-level protocol `ap_ctrl_hs` of Vitis HLS kernels. Registers of more than 32 bits take
two words, low word first. Reserved words read as zero; writes to them and to read-only registers have no effect.

Behind each other register a word stays free: those of up to 32 bits lie at multiples of 8 bytes, wider ones at
multiples of 16. So a kernel made by Vitis HLS can have the same map, with constants and counters as output arguments:
HLS wants as many words as an argument has and one more for the control protocol of its port, even for `ap_none`, and
moves registers without that room to the end of the map (UG1399, "S_AXILITE Offset Option").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from amaranth.utils import ceil_log2

from hwgen.machine.params import HwParams

__all__ = [
    "ADDRESS_BITS", "BY_NAME", "COUNTERS", "ERRORS", "MAGIC", "MENDS", "REGISTERS", "VERSION", "Bits", "Error",
    "Register", "c_header", "markdown", "registers",
]  # fmt: skip

MAGIC = int.from_bytes(b"HWGN", "little")
VERSION = 7  #: of this map and of the instruction set; a driver refuses others


class Error(IntEnum):
    """Why a run stopped, or did not start (register `error_code`)."""

    NONE = 0
    OPCODE = 1
    PROGRAM_RANGE = 2
    WEIGHTS_RANGE = 3
    INPUT_RANGE = 4
    OUTPUT_RANGE = 5
    READ_GMEM0 = 6
    READ_GMEM1 = 7
    WRITE_GMEM1 = 8
    FIELD = 9
    STARVED = 10
    WATCHDOG = 11
    STOPPED = 12
    PORTS = 13
    NOT_FETCHED = 14
    PROGRAM_BASE = 16
    WEIGHTS_BASE = 17
    INPUT_BASE = 18
    OUTPUT_BASE = 19
    INPUT_STRIDE = 20
    OUTPUT_STRIDE = 21
    ENTRY = 22
    READ_GMEM2 = 24
    READ_GMEM3 = 25
    READ_GMEM4 = 26


_BASE = "is no multiple of 64, or base + size exceeds 2^64 (start refused)"
#: What happened.
ERRORS: dict[Error, str] = {
    Error.NONE: "no error",
    Error.OPCODE: "unknown opcode",
    Error.PROGRAM_RANGE: "instruction or table outside the program region",
    Error.WEIGHTS_RANGE: "address outside the weights region",
    Error.INPUT_RANGE: "address outside the input region",
    Error.OUTPUT_RANGE: "address outside the output region",
    Error.READ_GMEM0: "error response to a read on m_axi_gmem0, or a burst of wrong length",
    Error.READ_GMEM1: "error response to a read on m_axi_gmem1, or a burst of wrong length",
    Error.WRITE_GMEM1: "error response to a write on m_axi_gmem1",
    Error.FIELD: "illegal operand of an instruction",
    Error.STARVED: "a matmul waits for weights that do not come",
    Error.WATCHDOG: "an image took more than `watchdog` cycles, or a port did not come to rest after the run",
    Error.STOPPED: "the host wrote ctrl.stop",
    Error.PORTS: "a port still owes data of the run before (start refused)",
    Error.NOT_FETCHED: "a matmul names kept weights that are not in the ring",
    Error.PROGRAM_BASE: f"program_base {_BASE}",
    Error.WEIGHTS_BASE: f"weights_base {_BASE}",
    Error.INPUT_BASE: f"input_base {_BASE}",
    Error.OUTPUT_BASE: f"output_base {_BASE}",
    Error.INPUT_STRIDE: "input_stride is no multiple of 64 (start refused)",
    Error.OUTPUT_STRIDE: "output_stride is no multiple of 64 (start refused), or less than an output in a batch",
    Error.ENTRY: "entry is no multiple of 64, or outside the program region (start refused)",
    Error.READ_GMEM2: "error response to a read on m_axi_gmem2, or a burst of wrong length",
    Error.READ_GMEM3: "error response to a read on m_axi_gmem3, or a burst of wrong length",
    Error.READ_GMEM4: "error response to a read on m_axi_gmem4, or a burst of wrong length",
}

_LOAD = "load program and weights of one build of this accelerator, write entry and sizes"
_BUS = "check the region's address in the memory map; reset the interconnect together with the accelerator"
_ALIGN = "allocate the region aligned to 64 bytes, write base and size again"
#: What to do.
MENDS: dict[Error, str] = {
    Error.NONE: "",
    Error.OPCODE: _LOAD,
    Error.PROGRAM_RANGE: _LOAD,
    Error.WEIGHTS_RANGE: _LOAD,
    Error.INPUT_RANGE: "write input_size: all images, input_stride apart",
    Error.OUTPUT_RANGE: "write output_size: all outputs, output_stride apart",
    Error.READ_GMEM0: _BUS,
    Error.READ_GMEM1: _BUS,
    Error.WRITE_GMEM1: _BUS,
    Error.FIELD: _LOAD,
    Error.STARVED: "reset accelerator and interconnect; " + _LOAD,
    Error.WATCHDOG: "give it more cycles; if ctrl.start then ends with PORTS, a memory does not answer",
    Error.STOPPED: "start again; the output is not complete",
    Error.PORTS: "start again once the memory has answered, or reset accelerator and interconnect",
    Error.NOT_FETCHED: _LOAD,
    Error.PROGRAM_BASE: _ALIGN,
    Error.WEIGHTS_BASE: _ALIGN,
    Error.INPUT_BASE: _ALIGN,
    Error.OUTPUT_BASE: _ALIGN,
    Error.INPUT_STRIDE: "pad each image to a multiple of 64 bytes",
    Error.OUTPUT_STRIDE: "write the bytes of an output, rounded up to a multiple of 64",
    Error.ENTRY: "write the task's entry as the build names it",
    Error.READ_GMEM2: _BUS,
    Error.READ_GMEM3: _BUS,
    Error.READ_GMEM4: _BUS,
}


@dataclass(frozen=True)
class Bits:
    """Part of a register."""

    name: str
    lsb: int
    bits: int
    doc: str


#: "rw": argument, an output of Control; "ro": an input of it; "clear": as "ro", and any write asks for it to be zero;
#: "const": fixed when generated; "protocol": ap_ctrl_hs
Access = Literal["rw", "ro", "clear", "const", "protocol"]


ACCESS: dict[Access, str] = {
    "rw": "read/write", "ro": "read", "clear": "read, write clears", "const": "constant", "protocol": "ap_ctrl_hs",
}  # fmt: skip


@dataclass(frozen=True)
class Register:
    name: str
    offset: int
    bits: int
    access: Access
    doc: str
    parts: tuple[Bits, ...] = ()
    weight_port: int = 0  #: whose it is; an accelerator with fewer ports does not have it

    @property
    def words(self) -> int:
        """32-bit words it takes."""
        return -(-self.bits // 32)


_INTERRUPTS = (Bits("done", 0, 1, "run finished"), Bits("ready", 1, 1, "next start may be given"))

REGISTERS: tuple[Register, ...] = (
    Register("ctrl", 0x00, 32, "protocol", "control and status", (
        Bits("start", 0, 1, "write 1 to start; falls when the run is finished, stays with auto_restart"),
        Bits("done", 1, 1, "a run has finished; cleared by reading"),
        Bits("idle", 2, 1, "nothing runs and no start is pending"),
        Bits("ready", 3, 1, "a start has been used up; cleared by reading"),
        Bits("auto_restart", 7, 1, "start again after each run, until one ends with an error"),
        Bits("stop", 8, 1, "write 1 to end the run as a fault does, with STOPPED; reads 1 until it has ended"),
    )),
    Register("gie", 0x04, 32, "protocol", "interrupt output", (Bits("enable", 0, 1, "interrupt output enabled"),)),
    Register("ier", 0x08, 32, "protocol", "interrupt enable", _INTERRUPTS),
    Register("isr", 0x0C, 32, "protocol", "interrupt status; a bit written as 1 is toggled", _INTERRUPTS),
    Register("program_base", 0x10, 64, "rw", "address of the program region, multiple of 64"),
    Register("weights_base", 0x20, 64, "rw", "address of the weights region (weight port 0's share), multiple of 64"),
    Register("input_base", 0x30, 64, "rw", "address of the input region, multiple of 64"),
    Register("output_base", 0x40, 64, "rw", "address of the output region, multiple of 64"),
    Register("program_size", 0x50, 32, "rw", "bytes of the program region"),
    Register("weights_size", 0x58, 32, "rw", "bytes of the weights region, the shares of all weight ports together"),
    Register("input_size", 0x60, 32, "rw", "bytes of the input region"),
    Register("output_size", 0x68, 32, "rw", "bytes of the output region"),
    Register("entry", 0x70, 32, "rw", "byte offset of the task's first instruction in the program region"),
    Register("batch", 0x78, 32, "rw", "images to process one after another"),
    Register("magic", 0x80, 32, "const", "the letters HWGN, first letter in the low byte"),
    Register("version", 0x88, 32, "const", "version of this map and of the instruction set"),
    Register("input_stride", 0x90, 32, "rw", "bytes from one image's input to the next, multiple of 64"),
    Register("output_stride", 0x98, 32, "rw", "bytes from one image's output to the next, multiple of 64"),
    Register("watchdog", 0xA0, 32, "rw", "cycles an image may take, 0: off; may be written while it runs"),
    *(
        Register(f"weights_base{port}", 0xA0 + 16 * port, 64, "rw", f"the same for weight port {port}'s share, "
                 f"m_axi_gmem{port + 1}", weight_port=port)
        for port in (1, 2, 3)
    ),
    Register("shape", 0x100, 32, "const", "array shape", (
        Bits("t", 0, 8, "token rows"), Bits("c", 8, 8, "output channels"), Bits("k", 16, 8, "lanes of a dot product"),
    )),
    Register("buses", 0x108, 32, "const", "bus widths in bits", (
        Bits("gmem0", 0, 12, "data width of m_axi_gmem0, and of each other weight port"),
        Bits("weight_ports", 12, 4, "number of weight ports"), Bits("gmem1", 16, 16, "data width of m_axi_gmem1"),
    )),
    Register("build_hash", 0x110, 64, "const", "hash of the configuration the accelerator was generated from"),
    Register("error_code", 0x120, 8, "clear", "why the last run stopped, 0: it ended normally; stays until a start"),
    Register("error_index", 0x128, 16, "ro", "number of the instruction that was at fault, cleared with it"),
    Register("cycles", 0x200, 48, "ro", "clock cycles from start to done"),
    Register("array_busy", 0x210, 48, "ro", "cycles in which the array took a step"),
    Register("stall_weights", 0x220, 48, "ro", "no step: weights have not arrived"),
    Register("stall_drain", 0x230, 48, "ro", "no step: results of the tile before have not left the array"),
    Register("stall_pipeline", 0x240, 48, "ro", "no step: earlier results or scores are not written yet"),
    Register("stall_issue", 0x250, 48, "ro", "no step: decoding, planning"),
    Register("stall_norm", 0x260, 48, "ro", "no step: waiting for NORM"),
    Register("stall_router", 0x270, 48, "ro", "no step: waiting for ROUTE"),
    Register("stall_mover", 0x280, 48, "ro", "no step: waiting for GATHER or MEAN"),
    Register("stall_data", 0x290, 48, "ro", "no step: waiting for IMAGE, LOAD or STORE"),
    Register("stall_fetch", 0x2A0, 48, "ro", "no step: waiting for an instruction"),
    Register("gmem0_read_bytes", 0x2B0, 48, "ro", "bytes read on m_axi_gmem0"),
    Register("gmem0_wasted_bytes", 0x2C0, 48, "ro", "of weights, on all ports: for experts that turned out to have "
             "no tokens"),
    Register("gmem1_read_bytes", 0x2D0, 48, "ro", "bytes read on m_axi_gmem1"),
    Register("gmem1_write_bytes", 0x2E0, 48, "ro", "bytes written on m_axi_gmem1"),
    Register("instructions", 0x2F0, 48, "ro", "instructions executed"),
    Register("attention_busy", 0x300, 48, "ro", "steps of the array for ATTENTION"),
    Register("kv_read_bytes", 0x310, 48, "ro", "bytes read from the K and V buffers"),
    *(
        Register(f"gmem{port + 1}_read_bytes", 0x310 + 16 * port, 48, "ro", f"bytes read on m_axi_gmem{port + 1}",
                 weight_port=port)
        for port in (1, 2, 3)
    ),
)  # fmt: skip

BY_NAME = {register.name: register for register in REGISTERS}
COUNTERS = tuple(register.name for register in REGISTERS if register.access == "ro" and register.bits == 48)
ADDRESS_BITS = ceil_log2(max(register.offset + 4 * register.words for register in REGISTERS))


def registers(p: HwParams) -> tuple[Register, ...]:
    """Those that the accelerator has; the others read as zero."""
    return tuple(register for register in REGISTERS if register.weight_port < p.weight_ports)


def c_header() -> str:
    """Offsets, bit positions, masks and error codes as a C header."""
    lines = [
        "/* Register map of s_axi_control. Generated by hwgen from hwgen/machine/regmap.py; do not edit. */",
        "#ifndef HWGEN_REGS_H",
        "#define HWGEN_REGS_H",
        "",
        f"#define HWGEN_MAGIC 0x{MAGIC:08X}u",
        f"#define HWGEN_VERSION {VERSION}u",
        f"#define HWGEN_REGS_BYTES 0x{1 << ADDRESS_BITS:X}u",
        "",
    ]
    for register in REGISTERS:
        name = f"HWGEN_REG_{register.name.upper()}"
        lines.append(f"/* {register.doc} ({ACCESS[register.access]}) */")
        if register.words == 1:
            lines.append(f"#define {name} 0x{register.offset:03X}u")
        else:
            lines.append(f"#define {name}_LO 0x{register.offset:03X}u")
            lines.append(f"#define {name}_HI 0x{register.offset + 4:03X}u")
        for part in register.parts:
            bits = f"HWGEN_{register.name.upper()}_{part.name.upper()}"
            lines.append(f"#define {bits}_SHIFT {part.lsb}")
            lines.append(f"#define {bits}_MASK 0x{((1 << part.bits) - 1) << part.lsb:08X}u /* {part.doc} */")
    lines += ["", "enum hwgen_error {"]
    for error in Error:
        mend = f": {MENDS[error]}" if MENDS[error] else ""
        lines.append(f"    HWGEN_ERROR_{error.name} = {error.value}, /* {ERRORS[error]}{mend} */")
    lines += ["};", "", "#endif", ""]
    return "\n".join(lines)


def markdown() -> str:
    """The map as two tables, registers and error codes."""
    lines = ["| offset | register | bits | access | meaning |", "|---|---|---|---|---|"]
    for register in REGISTERS:
        kind = ACCESS[register.access]
        lines.append(f"| 0x{register.offset:03X} | `{register.name}` | {register.bits} | {kind} | {register.doc} |")
        for part in register.parts:
            span = f"{part.lsb}" if part.bits == 1 else f"{part.lsb + part.bits - 1}:{part.lsb}"
            lines.append(f"| | `{register.name}.{part.name}` | [{span}] | | {part.doc} |")
    lines += ["", "| error code | name | meaning | what to do |", "|---|---|---|---|"]
    lines += [f"| {error.value} | `{error.name}` | {ERRORS[error]} | {MENDS[error]} |" for error in Error]
    return "\n".join(lines) + "\n"


def page() -> str:
    """`docs/register_map.md`."""
    return (
        "# Register map of `s_axi_control`\n\n"
        "Generated: `python -m hwgen.machine.regmap > docs/register_map.md`. 32-bit AXI4-Lite; registers of more than\n"
        "32 bits take two words, low word first. The first four are the block-level protocol `ap_ctrl_hs` of Vitis\n"
        "kernels. Behind each of the others a word stays free, as Vitis HLS wants it (UG1399, S_AXILITE Offset\n"
        "Option). Write arguments only while idle. A read of a counter's lower word keeps its upper one for the read\n"
        "that follows: the pair is consistent while it counts.\n\n" + markdown()
    )


if __name__ == "__main__":
    print(page(), end="")
