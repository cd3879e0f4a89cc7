"""Disassembly, line by line."""

from hwgen.compiler import auto_params, compile_model, disassemble
from hwgen.machine.isa import Dest, Op, Source, encode
from tests.random_model import random_description


def test_lines():
    program = (
        encode(Op.MATMUL, dest=Dest.X_ADD, source=Source.Y, offset=0x1C0, bytes=384, row_end=3, k_steps=1, tiles=2)
        + encode(Op.END)
        + bytes(64)
    )
    lines = disassemble(program, {0: "embed"})
    assert lines == [
        "000000  MATMUL    dest=X_ADD source=Y offset=0x1c0 bytes=384 row_end=3 k_steps=1 tiles=2  ; embed",
        "000040  END        ; end of program: done, interrupt",
        "000080  .bytes    " + "00" * 64 + "  ; not an instruction",
    ]


def test_stray_fields_and_unknown_names_are_shown():
    data = bytearray(encode(Op.END))
    data[20] = 7
    assert disassemble(bytes(data)) == [f"000000  END        ; must be zero: bits {7 << 160:#x}"]
    assert "dest=12 source=Y" in disassemble(encode(Op.MATMUL, dest=12))[0]


def test_a_program_with_its_names():
    desc = random_description(1)
    compiled = compile_model(desc, auto_params([desc], 4, 8, 8))
    first = min(compiled.entries.values())
    lines = disassemble(compiled.program, compiled.comments, first)
    assert len(lines) == sum(len(program) for program in compiled.instructions.values())
    for task, entry in compiled.entries.items():
        assert lines[(entry - first) // 64].endswith(f"; {task}: position")
