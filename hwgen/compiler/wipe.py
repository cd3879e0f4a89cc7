"""The program that clears an accelerator: after it, no buffer holds anything of what ran before.

It is made of the same instructions as any other, so it costs no hardware. Tested by tests/compiler/test_wipe.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from amaranth.utils import ceil_log2

from hwgen.compiler.emit import Instr
from hwgen.compiler.layout import div_up, dot_steps
from hwgen.compiler.packing import Block, Region, pack_linear
from hwgen.machine.isa import Dest, Op, Source
from hwgen.machine.params import HwParams
from hwgen.machine.tables import ACTIVATION_ENTRIES

__all__ = ["wipe"]

#: Bytes of zeros from which LOADs clear X, one after the other.
ZEROS = 4096
#: Words of the LayerNorm unit's delay line beyond those of a row: more than its statistics take cycles.
LINE = 128

Fields = dict[str, int]


def wipe(p: HwParams, weights: Region, tables: Region) -> list[Instr]:
    """The instructions, one after the other (no ORDER fields): writes to every word that a program can reach, of the
    same values whatever was there before. What they read goes to the regions."""
    program = [*_tables(p, tables), *_router(p, weights), *_norm(p), *_attention(p)]
    covers = [*_cover(p, Dest.H), *_cover(p, Dest.K), *_cover(p, Dest.V), *_cover(p, Dest.Y),
              (Dest.LOGITS, {"row_end": p.max_tokens, "tiles": div_up(p.max_experts, p.c)})]  # fmt: skip
    tile = 2 * p.param_words  # words in the ring
    zeros = weights.add("wipe.zeros", lambda: bytes(max(fields["tiles"] for _, fields in covers) * tile * p.ring_bytes))
    through = 0  # words that went through the ring, which is to be full of zeros, too
    while through < p.ring_depth:
        for dest, fields in covers:
            block = Block(zeros.offset, fields["tiles"] * tile * p.ring_bytes)
            program.append(_matmul(dest, block, fields | {"k_steps": p.param_words}))
            through += fields["tiles"] * tile
    return [*program, Instr(Op.END, {}, "end")]


def _matmul(dest: Dest, block: Block, fields: Fields) -> Instr:
    source = Source.H if dest == Dest.Y else Source.Y  # whatever is there
    fields = {"dest": dest, "source": source, "offset": block.offset, "bytes": block.bytes, "row_begin": 0} | fields
    return Instr(Op.MATMUL, fields, f"zeros to {dest.name}")


def _tables(p: HwParams, tables: Region) -> Iterator[Instr]:
    """X, the LayerNorm parameters, the activation's table: zeros."""
    word = 2 * p.c
    norm = (8 << ceil_log2(p.norm_depth)) * word
    size = max(norm, ACTIVATION_ENTRIES, ZEROS // word * word)
    offset = tables.add("wipe.tables", lambda: bytes(size)).offset
    yield Instr(Op.LOAD, {"dest": Dest.ACTIVATION, "offset": offset, "bytes": ACTIVATION_ENTRIES}, "no activation")
    yield Instr(Op.LOAD, {"dest": Dest.NORM, "offset": offset, "bytes": norm}, "no norm")
    step = size // word
    for base in range(0, p.x_depth, step):
        bytes_ = min(step, p.x_depth - base) * word
        yield Instr(Op.LOAD, {"dest": Dest.X, "offset": offset, "bytes": bytes_, "d_base": base}, "zeros to X")


def _router(p: HwParams, weights: Region) -> Iterator[Instr]:
    """Each expert wins all tokens once: every entry of its queue is written."""
    k, steps = min(p.max_topk, p.max_experts), dot_steps(p, 1)
    rows = {"row_begin": 0, "row_end": p.max_tokens}
    for first in range(0, p.max_experts, k):
        wins = (np.arange(p.max_experts) // k == first // k).astype(np.int32)

        def pack(bias: np.ndarray = wins) -> bytes:
            none, one = np.zeros((len(bias), 1), np.int8), np.ones(len(bias), np.uint16)
            return pack_linear(p, none, bias, one, np.zeros(len(bias), np.uint8))

        block = weights.add(f"wipe.logits{first}", pack)
        tiles = div_up(p.max_experts, p.c)
        yield _matmul(Dest.LOGITS, block, rows | {"tiles": tiles, "k_steps": steps})
        yield Instr(Op.ROUTE, rows | {"tiles": p.max_experts, "k_steps": k}, f"all tokens to expert {first} and on")


def _norm(p: HwParams) -> Iterator[Instr]:
    """Rows of zeros of X through the delay line of the LayerNorm unit, to Y."""
    tiles = min(p.norm_depth, p.x_depth, p.y_depth * (p.word // p.c))
    rows = min(p.max_tokens, div_up(2 * (p.norm_depth + LINE), tiles))
    fields = {"statistics": 1, "row_begin": 0, "row_end": rows, "tiles": tiles, "dim": tiles * p.c, "eps_low": 1}
    for _ in range(div_up(2 * (p.norm_depth + LINE), rows * tiles)):
        yield Instr(Op.NORM, fields, "zeros through NORM")


def _attention(p: HwParams) -> Iterator[Instr]:
    """All keys' scores: zero, as their multiplier is. Query tiles take turns in the halves of the score buffer: an
    odd number in front of the second time makes each tile write the other half."""
    def one(rows: int) -> Instr:
        fields = {"row_begin": 0, "row_end": rows, "k_steps": 1, "tiles": 1, "key_tiles": div_up(rows, p.c),
                  "pv_steps": div_up(rows, p.k)}  # fmt: skip
        return Instr(Op.ATTENTION, fields, "zeros to the scores")

    yield one(p.max_tokens)
    if div_up(p.max_tokens, p.t) % 2 == 0:
        yield one(p.t)
    yield one(p.max_tokens)


def _cover(p: HwParams, dest: Dest) -> Iterator[tuple[Dest, Fields]]:
    """MATMULs that write each word of a buffer once: groups of rows of as many words as there is room for, the rest of
    the words by a single group."""
    banks, depth, parts = {
        Dest.Y: (p.t, p.y_depth, p.word // p.c),
        Dest.H: (p.t, p.h_depth, p.word // p.c),
        Dest.K: (p.c, p.k_depth, p.word // p.c),
        Dest.V: (p.k, p.v_depth, 1),
    }[dest]
    groups = min(max(1, p.max_tokens // banks), depth)
    each, rest = divmod(depth, groups)
    for count, base, words in ((groups, 0, each), (1, groups * each, rest)):
        if words:
            yield dest, {"row_end": min(banks * count, p.max_tokens), "tiles": parts * words, "d_base": base,
                         "d_stride": words}  # fmt: skip
