"""Text of a program, for people."""

from __future__ import annotations

from collections.abc import Mapping

from hwgen.machine.isa import BYTES, OPCODES, Dest, Op, Source, decode, read_mask

__all__ = ["disassemble"]

#: Fields whose numbers have names.
_NAMES = {"dest": Dest, "source": Source}


def disassemble(program: bytes, comments: Mapping[int, str] | None = None, start: int = 0) -> list[str]:
    """One line per instruction: byte offset, opcode, the fields it reads that are not zero, `; comment`; from `start`.

    `comments` has texts by byte offset, for instance the tensor each instruction computes; without one the comment
    is what the opcode does. Bytes that are no instruction are shown as data.
    """
    lines = []
    for offset in range(start, len(program), BYTES):
        data = program[offset : offset + BYTES]
        text, comment = _instruction(data)
        comment = (comments or {}).get(offset, comment)
        lines.append(f"{offset:06x}  {text:<9}" + f"  ; {comment}" if comment else f"{offset:06x}  {text}")
    return lines


def _instruction(data: bytes) -> tuple[str, str]:
    values = decode(data)
    if len(data) < BYTES or values["op"] not in list(Op):
        return f".bytes    {data.hex()}", "not an instruction"
    op = Op(values.pop("op"))
    doc, fields = OPCODES[op]
    shown = [f"{name}={_show(name, values[name])}" for name in fields if values[name] or name in _NAMES]
    stray = int.from_bytes(data, "little") & ~read_mask(op)
    return " ".join([f"{op.name:<9}", *shown]), f"must be zero: bits {stray:#x}" if stray else doc


def _show(name: str, value: int) -> str:
    names = _NAMES.get(name)
    if names is not None and value in list(names):
        return names(value).name
    return hex(value) if name in ("offset", "eps_high", "eps_low") else str(value)
