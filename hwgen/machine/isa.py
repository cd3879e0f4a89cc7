"""The instruction word: one table from which decoder, compiler, disassembler, C header and docs are derived.

An instruction is 64 bytes, sixteen little-endian 32-bit words. `OPCODES` lists which fields an opcode reads; fields
that no opcode reads together may share bits. Offsets are in bytes from a region's base; bases and strides are in words
of the buffer.

Order: the units (`UNITS`) work side by side, each in program order. Without a word about it (all `ORDER` fields zero)
an instruction starts when all before it have made their writes; the fields name what may still be under way.

Tested by tests/compiler/test_disassemble.py and tests/rtl/common/test_decode.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hwgen.machine.params import HwParams

__all__ = [
    "BYTES", "FIELDS", "NO_WAIT", "OPCODES", "OPTIONAL", "ORDER", "UNITS", "Dest", "Field", "Op", "Source", "decode",
    "encode", "read_mask",
]  # fmt: skip

BYTES = 64


class Op(IntEnum):
    END = 1
    LOAD = 2
    IMAGE = 3
    NORM = 4
    MATMUL = 5
    ATTENTION = 6
    ROUTE = 7
    GATHER = 8
    MEAN = 9
    STORE = 10


class Source(IntEnum):
    """Where an instruction reads rows."""

    Y = 0
    H = 1
    X = 2


class Dest(IntEnum):
    """Where a matmul's rows go, and so how they saturate; where LOAD's words go (X, NORM or ACTIVATION)."""

    Y = 0  #: nine bits, -255..255
    H = 1  #: nine bits, -255..255
    K = 2  #: int8
    V = 3  #: int8
    X = 4  #: int16, overwrites
    X_ADD = 5  #: int16, adds to the residual stream
    LOGITS = 6  #: int24, to the router
    NORM = 7  #: LOAD: the parameter table of the LayerNorm unit
    ACTIVATION = 8  #: LOAD: the activation's table, a byte an entry


#: The units instructions run on; each takes its own in program order.
UNITS: dict[str, tuple[Op, ...]] = {
    "engine": (Op.MATMUL, Op.ATTENTION),
    "norm": (Op.NORM,),
    "router": (Op.ROUTE,),
    "mover": (Op.GATHER, Op.MEAN),
    "data": (Op.IMAGE, Op.LOAD, Op.STORE),
}


@dataclass(frozen=True)
class Field:
    name: str
    word: int
    lsb: int
    bits: int
    doc: str

    @property
    def offset(self) -> int:
        """Bit offset in the 512-bit instruction."""
        return 32 * self.word + self.lsb


FIELDS: tuple[Field, ...] = (
    Field("op", 0, 0, 8, "opcode; zero and unlisted values are errors"),
    Field("expert", 0, 8, 8, "expert whose queue is meant"),
    Field("dest", 0, 16, 4, "destination of a matmul (Dest)"),
    Field("source", 0, 20, 2, "rows read from (Source)"),
    Field("gated", 0, 22, 1, "the activation's result times what the destination holds; source Y, destination H"),
    Field("spilled", 0, 22, 1, "LOAD: of the output region, what STORE wrote there"),
    Field("use_queue", 0, 23, 1, "rows are 0 .. length of the expert's queue - 1; skipped, weights too, when empty"),
    Field("scatter", 0, 24, 1, "row i goes to token queue[i] with its gate weight as row factor"),
    Field("rms", 0, 24, 1, "NORM: RMSNorm, the mean stays"),
    Field("activate", 0, 25, 1, "the activation function between requantization and destination"),
    Field("renormalize", 0, 26, 1, "ROUTE: divide by the sum over the winners, else over all experts"),
    Field("statistics", 0, 27, 1, "NORM: LayerNorm, else rescale"),
    Field("keep", 0, 28, 1, "the weights stay in the ring for a later MATMUL"),
    Field("append", 0, 29, 1, "ROUTE: the queues go on, else they start empty"),
    Field("table", 0, 30, 1, "NORM: half of the parameter table"),
    Field("narrow", 0, 31, 1, "the weights at `offset` are packed two to a byte"),
    Field(
        "offset",
        1,
        0,
        32,
        "byte offset in the region read (MATMUL: weights, LOAD: program or output, IMAGE: input) or written (output); "
        "multiple of 64, in the weights region of 64 times the number of weight ports",
    ),
    Field("bytes", 2, 0, 32, "bytes there; MATMUL: 0 when the weights were kept in the ring"),
    Field("a_base", 3, 0, 16, "first source word: of the group of row_begin (GATHER: of row 0)"),
    Field("a_stride", 3, 16, 16, "source words per row group; IMAGE: rows of pixels in a patch"),
    Field("row_begin", 4, 0, 16, "first row"),
    Field("row_end", 4, 16, 16, "row after the last"),
    Field(
        "k_steps",
        5,
        0,
        16,
        "array steps of a dot product, as many as parameter words at least; ROUTE: winners per token; IMAGE: bytes of "
        "a patch row",
    ),
    Field("tiles", 5, 16, 16, "output tiles or words of C channels; ROUTE: experts; IMAGE: patches per row"),
    Field("d_base", 6, 0, 16, "first destination word: of row 0"),
    Field("d_stride", 6, 16, 16, "destination words per row group"),
    Field("d_word", 7, 0, 16, "first destination word in the row, in words of C channels"),
    Field("act_mult", 7, 16, 16, "multiplier of the activation's output"),
    Field("act_shift", 8, 0, 8, "shift of the activation's output"),
    Field("act_zero", 8, 8, 12, "zero point of the activation's output, two's complement; of a further window of it"),
    Field("norm_shift", 8, 16, 8, "NORM output shift"),
    Field("k_base", 9, 0, 16, "ATTENTION: key word of row_begin rounded down to max(C, K)"),
    Field("k_stride", 9, 16, 16, "ATTENTION: key words per group of C tokens"),
    Field("v_base", 10, 0, 16, "ATTENTION: value word of row_begin rounded down to max(C, K)"),
    Field("v_stride", 10, 16, 16, "ATTENTION: value words per group of K tokens"),
    Field("key_tiles", 11, 0, 16, "ATTENTION: tiles of C keys from there"),
    Field("pv_steps", 11, 16, 16, "ATTENTION: steps of K tokens from there"),
    Field("score_mult", 12, 0, 16, "ATTENTION: score multiplier"),
    Field("score_shift", 12, 16, 8, "ATTENTION: score shift"),
    Field("out_shift", 12, 24, 8, "ATTENTION: context shift; MEAN: shift"),
    Field("out_mult", 13, 0, 16, "ATTENTION: context multiplier; MEAN: multiplier"),
    Field("x_shift", 11, 0, 2, "MATMUL to X_ADD: rounding right shift of the residual stream before the addition"),
    Field("ring_offset", 9, 0, 16, "MATMUL: ring words in front of its weights that belong to others; 0 unless `keep`"),
    Field("dim", 9, 0, 16, "NORM: channels D"),
    Field("eps_high", 9, 16, 16, "NORM: eps, bits 32..47"),
    Field("eps_low", 10, 0, 32, "NORM: eps, bits 0..31"),
    Field("engine_lag", 14, 0, 3, "so many instructions of the engine, the last before this one, may be unfinished"),
    Field("beside_norm", 14, 3, 1, "the LayerNorm unit may be busy"),
    Field("beside_router", 14, 4, 1, "the router may be busy"),
    Field("beside_mover", 14, 5, 1, "the mover may be busy"),
    Field("beside_data", 14, 6, 1, "IMAGE, LOAD or STORE may be under way"),
    Field(
        "slack",
        14,
        8,
        8,
        "engine, with engine_lag: cycles from its first step in which it reads nothing that the "
        "engine's instruction before it writes; 255: reads nothing of it, and of two ATTENTIONs the first scores of "
        "the second may come before the last context of the first",
    ),
)

#: Fields of what not every accelerator has: the parameter of HwParams that says so. To others they are bits that no
#: opcode reads.
OPTIONAL = {"gated": "gated_mlp", "rms": "rms_norm", "spilled": "spill"}
#: Which earlier instructions may be unfinished; every opcode but END reads these. A unit is never waited for by itself.
ORDER = ("engine_lag", "beside_norm", "beside_router", "beside_mover", "beside_data")
#: Value of `slack`: independent of the instruction before.
NO_WAIT = 255

#: What each opcode does and the fields it reads besides `op`. All others must be zero.
OPCODES: dict[Op, tuple[str, tuple[str, ...]]] = {
    Op.END: ("end of program: done, interrupt", ()),
    Op.LOAD: (
        "program region → X words, or the LayerNorm unit's table (4 words for C channels), from d_base, `bytes` long; "
        "or the activation's table, as a whole",
        ("dest", "spilled", "offset", "bytes", "d_base"),
    ),
    Op.IMAGE: (
        "input region, raster of uint8 pixels → patches as rows of Y from row_begin on",
        ("offset", "bytes", "a_stride", "row_begin", "k_steps", "tiles", "d_base", "d_stride"),
    ),
    Op.NORM: (
        "X rows → LayerNorm, RMSNorm or rescale → Y rows; parameters from the table",
        ("statistics", "rms", "table", "a_base", "a_stride", "row_begin", "row_end", "tiles", "d_base",
         "d_stride", "norm_shift", "dim", "eps_high", "eps_low"),
    ),
    Op.MATMUL: (
        "rows of Y or H times streamed weights, post-processed, to `dest`",
        ("expert", "dest", "source", "gated", "use_queue", "scatter", "activate", "keep", "narrow", "offset", "bytes",
         "a_base", "a_stride", "row_begin", "row_end", "k_steps", "tiles", "d_base", "d_stride", "d_word", "act_mult",
         "act_shift", "act_zero", "x_shift", "ring_offset", "slack"),
    ),
    Op.ATTENTION: (
        "one head, queries and keys row_begin..row_end-1: scores, softmax, PV; queries from H, context to Y",
        ("a_base", "a_stride", "row_begin", "row_end", "k_steps", "tiles", "d_base", "d_stride", "d_word", "k_base",
         "k_stride", "v_base", "v_stride", "key_tiles", "pv_steps", "score_mult", "score_shift", "out_shift",
         "out_mult", "slack"),
    ),
    Op.ROUTE: (
        "logits → gate weights and expert queues",
        ("renormalize", "append", "row_begin", "row_end", "k_steps", "tiles"),
    ),
    Op.GATHER: (
        "Y rows named by the expert's queue → rows 0, 1, ... of H; skipped when empty",
        ("expert", "use_queue", "a_base", "a_stride", "tiles", "d_base", "d_stride"),
    ),
    Op.MEAN: (
        "requantized sum of Y rows → row 0 of H",
        ("a_base", "a_stride", "row_begin", "row_end", "tiles", "d_base", "d_stride", "out_shift", "out_mult"),
    ),
    Op.STORE: (
        "rows of X, or of Y widened to int16, → output region; a row is tiles*C int16",
        ("source", "offset", "bytes", "a_base", "a_stride", "row_begin", "row_end", "tiles"),
    ),
}  # fmt: skip
OPCODES = {op: (doc, fields + (ORDER if op != Op.END else ())) for op, (doc, fields) in OPCODES.items()}

BY_NAME = {field.name: field for field in FIELDS}

#: Words are counted so far, then from 0: row 0 of a block that begins later lies in front of its buffer.
ADDRESSES = 1 << BY_NAME["d_base"].bits


def encode(op: Op, **values: int) -> bytes:
    """One instruction of 64 bytes. Raises ValueError for a field `op` does not read or a value that does not fit."""
    word = int(op) << BY_NAME["op"].offset
    for name, value in values.items():
        if name not in OPCODES[op][1]:
            raise ValueError(f"{op.name} does not read the field {name!r}")
        field = BY_NAME[name]
        if not 0 <= value < 1 << field.bits:
            raise ValueError(f"{op.name}.{name} must fit in {field.bits} unsigned bits, not {value!r}")
        word |= int(value) << field.offset
    return word.to_bytes(BYTES, "little")


def decode(data: bytes) -> dict[str, int]:
    """`op` and, if it exists, the fields it reads."""
    word = int.from_bytes(data[:BYTES], "little")

    def value(field: Field) -> int:
        return word >> field.offset & ((1 << field.bits) - 1)

    fields = {"op": value(BY_NAME["op"])}
    if fields["op"] in list(Op):
        fields |= {name: value(BY_NAME[name]) for name in OPCODES[Op(fields["op"])][1]}
    return fields


def read_mask(op: Op, p: HwParams | None = None) -> int:
    """The bits of the instruction that `op` reads; all others must be zero. On `p`, or where there is all there may be.
    """
    mask = 0
    for name in ("op", *OPCODES[op][1]):
        if p is not None and name in OPTIONAL and not getattr(p, OPTIONAL[name]):
            continue
        mask |= ((1 << BY_NAME[name].bits) - 1) << BY_NAME[name].offset
    return mask
