"""Spoilt programs on a small machine: what its instruction-level model and its error codes say must come of them.

A program is *defined* up to the first instruction that the hardware takes and that the model refuses: an address
outside of a buffer, a destination on its own source, key tiles that are not those of the rows, pictures that are no
whole patches, channels (`dim`) that are not those of the tiles, a variance that LayerNorm's 52 bits do not hold, shifts
beyond what a description may have. Behind that anything may come of it, but an end, and no write outside of the output.
Of what is defined the numbers are compared that do not depend on what memories held before: the model runs on three
different kinds of garbage. Instructions that may overlap harmfully (`sim.hazards`) are not defined either, so a program
has no order fields, which forbids all overlaps, or none of these hazards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from hwgen.machine.isa import BY_NAME, BYTES, FIELDS, ORDER, Dest, Op, Source, decode, encode, read_mask
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error
from hwgen.machine.tables import ACTIVATION_ENTRIES
from hwgen.network.description.structure import MAX_DIM
from sim.harness import Job, JobResult
from sim.hazards import find_hazards
from sim.isa_model import IsaError, Machine
from tests.system.helpers import Work

__all__ = ["Case", "Expected", "difference", "draw", "expected"]

#: Cycles that an image may take; programs of the models take a fifth of it.
WATCHDOG = 30_000
#: Of what no check looks at, the largest values that the units' arithmetic is made for (docs/description.md).
MOST = {"norm_shift": 31, "act_shift": 31, "score_shift": 47, "out_shift": 47, "dim": MAX_DIM, "eps_high": 1 << 8}
#: Bytes of the output region beyond what a model writes.
ROOM = 256


@dataclass(frozen=True)
class Case:
    """A program with its weights and input. `how`: what was done to it."""

    how: str
    program: bytes
    weights: bytes
    entry: int
    input: bytes
    output_bytes: int

    @property
    def job(self) -> Job:
        return Job(self.entry, self.input, self.output_bytes, memory=(self.program, self.weights), watchdog=WATCHDOG)


@dataclass(frozen=True)
class Expected:
    """`error` at instruction `index`; None: not defined from there on. `output` where `known`."""

    error: Error | None
    index: int
    output: np.ndarray
    known: np.ndarray


# What is drawn.


def draw(dice: Random, work: Work) -> Case:
    """One of: a compiled program with changes, instructions of plausible fields, any bits."""
    task = dice.choice(work.tasks)
    compiled = work.compiled
    entry = compiled.entries[task]
    end = entry + BYTES * len(compiled.instructions[task])
    code = [bytearray(compiled.program[at : at + BYTES]) for at in range(entry, end, BYTES)]
    kind = dice.choice(["compiled"] * 8 + ["random"] * 3 + ["bits"])
    how = [kind]
    if kind == "random":
        code = [bytearray(_plausible(dice, work.p)) for _ in range(dice.randint(1, 12))]
        code += [bytearray(encode(Op.END))] * dice.choice([0, 1, 1, 1])
    elif kind == "bits":
        at = dice.randrange(len(code))
        code[at:] = [bytearray(_any_bits(dice)) for _ in range(3)]
    if kind == "compiled":
        for _ in range(dice.choice([0, 1, 1, 1, 2, 4])):
            how.append(_change(dice, code))
    if dice.randrange(4):
        how.append("in order")
        code = [bytearray(_in_order(bytes(one))) for one in code]
    text = b"".join(code)
    if not dice.randrange(12):
        how.append("cut")
        text = text[: dice.randrange(len(text) + 1)]
    # Behind it what the compiled program has there, tables too.
    program = (
        bytes(compiled.program[:entry]) + text + bytes(compiled.program[end:] if len(text) == end - entry else b"")
    )
    if not program[entry:]:
        program = program[:entry] + bytes(BYTES)
    weights = bytearray(compiled.weights)
    if not dice.randrange(4):
        how.append("weights")
        for _ in range(dice.choice([1, 3, 10, 100])):
            weights[dice.randrange(len(weights))] = dice.choice([0, 0x7F, 0x80, 0xFF, dice.randrange(256)])
    if not dice.randrange(20):
        how.append("fewer weights")
        del weights[dice.randrange(0, len(weights), work.p.weight_align) :]
    pixels = work.input(dice.randrange(2))
    if not dice.randrange(20):
        how.append("less input")
        pixels = pixels[: dice.randrange(len(pixels) + 1)]
    size = max(0, compiled.output_bytes[task] + dice.choice([ROOM] * 8 + [0, 0, -2, -64]))
    return Case(", ".join(how), program, bytes(weights), entry, pixels, size)


def _near(dice: Random, value: int, bits: int) -> int:
    most = (1 << bits) - 1
    anywhere = dice.randrange(most + 1)
    return min(most, max(0, dice.choice([0, 1, most, value + 1, value - 1, 2 * value, value // 2, anywhere,
                                         anywhere >> 8,
                                         anywhere & ~255, value ^ 1 << dice.randrange(bits)])))  # fmt: skip


def _set(code: bytearray, name: str, value: int) -> None:
    field = BY_NAME[name]
    word = int.from_bytes(code, "little") & ~(((1 << field.bits) - 1) << field.offset)
    code[:] = (word | value << field.offset).to_bytes(BYTES, "little")


def _change(dice: Random, code: list[bytearray]) -> str:
    at = dice.randrange(len(code))
    fields = decode(bytes(code[at]))
    action = dice.choice(["field"] * 5 + ["arithmetic"] * 6 + ["bit", "drop", "twice", "swap", "opcode"])
    if action == "field":
        name = dice.choice([name for name in fields if name not in ("op", "slack", *ORDER)] or ["op"])
        _set(code[at], name, _near(dice, fields[name], BY_NAME[name].bits))
        return f"{name} of {at}"
    if action == "arithmetic":  # numbers that no check looks at
        names = [name for name in ("act_mult", "act_shift", "act_zero", "norm_shift", "score_mult", "score_shift",
                                   "out_shift", "out_mult", "x_shift", "eps_low", "source", "activate", "renormalize")
                 if name in fields]  # fmt: skip
        if names:
            name = dice.choice(names)
            value = _near(dice, fields[name], BY_NAME[name].bits)
            _set(code[at], name, value % (MOST[name] + 1) if name in MOST else value)
            return f"{name} of {at}"
        return "nothing"
    if action == "bit":
        bit = dice.randrange(8 * BYTES)
        code[at][bit // 8] ^= 1 << bit % 8
    elif action == "drop" and len(code) > 1:
        del code[at]
    elif action == "twice":
        code.insert(at, bytearray(code[at]))
    elif action == "swap":
        other = dice.randrange(len(code))
        code[at], code[other] = code[other], code[at]
    elif action == "opcode":
        code[at][0] = dice.randrange(dice.choice([12, 256]))
    return f"{action} at {at}"


def _any_bits(dice: Random) -> bytes:
    """Any values of the fields that an opcode reads, or any bits."""
    op = dice.choice(list(Op))
    word = dice.getrandbits(8 * BYTES) & (read_mask(op) if dice.randrange(4) else -1)
    return (word & ~0xFF | int(op)).to_bytes(BYTES, "little")


def _plausible(dice: Random, p: HwParams) -> bytes:
    """An instruction that is taken, more often than not."""
    op = dice.choice([Op.LOAD, Op.IMAGE, Op.NORM, Op.MATMUL, Op.MATMUL, Op.ATTENTION, Op.ROUTE, Op.GATHER, Op.MEAN,
                      Op.STORE, Op.STORE])  # fmt: skip

    def few(most: int = 4) -> int:
        return dice.randint(1, most)

    begin = dice.choice([0, 0, 0, dice.randrange(p.max_tokens)])
    end = min(p.max_tokens, begin + few(8))
    rows = {"row_begin": begin, "row_end": end}
    source = {"a_base": dice.randrange(40), "a_stride": dice.randrange(8)}
    dest = {"d_base": dice.randrange(40), "d_stride": dice.randrange(8)}
    tiles = few()
    if op == Op.LOAD:
        kind = dice.choice([Dest.X, Dest.NORM, Dest.ACTIVATION])
        size = ACTIVATION_ENTRIES if kind == Dest.ACTIVATION else 2 * p.c * few(8)
        base = 0 if kind == Dest.ACTIVATION else dice.randrange(8)
        return encode(op, dest=kind, offset=BYTES * dice.randrange(4), bytes=size, d_base=base)
    if op == Op.IMAGE:
        steps, stride = few(), few()
        return encode(op, bytes=tiles * steps * stride * few(), a_stride=stride, row_begin=begin, k_steps=steps,
                      tiles=tiles, **dest)  # fmt: skip
    if op == Op.NORM:
        return encode(op, **rows, **source, **dest, tiles=min(tiles, p.norm_depth), statistics=dice.randrange(2),
                      table=dice.randrange(2), norm_shift=dice.choice([0, 8, 15, 31, 47, dice.randrange(256)]),
                      dim=tiles * p.c, eps_low=1 + dice.getrandbits(20))  # fmt: skip
    if op == Op.MATMUL:
        steps, narrow, keep = p.param_words + few(), dice.randrange(2), int(not dice.randrange(4))
        piece = p.piece_bytes
        weights = -(-steps * p.ring_bytes // (2 * piece)) * piece if narrow else steps * p.ring_bytes
        size = tiles * (p.param_words * p.ring_bytes + weights)
        where = dice.choice(list(Dest)[: Dest.NORM])
        activate = dice.randrange(2)
        queue = int(not dice.randrange(6))
        gate = int(p.gated_mlp and where == Dest.H and not dice.randrange(3))
        return encode(op, **(rows if not queue else {}), **source, **dest, dest=where, source=0 if gate else
                      dice.randrange(2), gated=gate, use_queue=queue, scatter=queue and dice.randrange(2),
                      activate=activate or gate, keep=0 if queue else keep, narrow=narrow,
                      offset=p.weight_align * dice.randrange(4), bytes=size if dice.randrange(8) else 0, k_steps=steps,
                      tiles=tiles, d_word=dice.randrange(3), act_mult=dice.getrandbits(16),
                      act_shift=dice.randrange(40),
                      act_zero=dice.getrandbits(12), x_shift=dice.randrange(4), expert=dice.randrange(3))  # fmt: skip
    if op == Op.ATTENTION:
        count = end - begin // p.word * p.word
        return encode(op, **rows, **source, **dest, k_steps=few(), tiles=tiles, k_base=dice.randrange(8),
                      k_stride=dice.randrange(4), v_base=dice.randrange(8), v_stride=dice.randrange(4),
                      key_tiles=-(-count // p.c), pv_steps=-(-count // p.k), score_mult=dice.getrandbits(16),
                      score_shift=dice.randrange(40), out_shift=dice.randrange(40),
                      out_mult=dice.getrandbits(16))  # fmt: skip
    if op == Op.ROUTE:
        experts = dice.randint(1, p.max_experts)
        return encode(op, **rows, renormalize=dice.randrange(2), append=dice.randrange(2), tiles=experts,
                      k_steps=min(experts, dice.randint(1, p.max_topk)))  # fmt: skip
    if op == Op.GATHER:
        return encode(op, **source, **dest, use_queue=1, expert=dice.randrange(p.max_experts), tiles=tiles)
    if op == Op.MEAN:
        return encode(op, **rows, **source, **dest, tiles=tiles, out_shift=dice.randrange(40),
                      out_mult=dice.getrandbits(16))  # fmt: skip
    return encode(op, **rows, **source, source=dice.choice([Source.X, Source.Y]), tiles=tiles,
                  offset=BYTES * dice.randrange(4), bytes=2 * p.c * tiles * (end - begin))  # fmt: skip


def _in_order(code: bytes) -> bytes:
    """Without order fields; they stay where no opcode says that they are some."""
    if code[0] in list(Op) and code[0] != Op.END:
        word = int.from_bytes(code, "little")
        for field in FIELDS:
            if field.name in (*ORDER, "slack"):
                word &= ~(((1 << field.bits) - 1) << field.offset)
        return word.to_bytes(BYTES, "little")
    return code


# What must come of it.


def expected(case: Case, p: HwParams, garbage: Sequence[int] = (1, 2, 3)) -> Expected:
    runs = [_run(case, p, seed) for seed in garbage]
    ends = {(error, index) for error, index, _ in runs}
    outputs = np.array([output for _, _, output in runs]).reshape(len(runs), -1)
    known = (outputs == outputs[0]).all(0)
    whole = known[: known.size // 2 * 2].reshape(-1, 2).all(1).repeat(2)  # of a number, all or nothing
    known[: whole.size] = whole
    if len(ends) > 1:
        return Expected(None, min(index for _, index in ends), outputs[0], known & False)
    error, index = ends.pop()
    if error is not None and not _ordered(case, p, index if error else None):
        return Expected(None, 0, outputs[0], known & False)
    return Expected(error, index, outputs[0], known)


def _run(case: Case, p: HwParams, seed: int) -> tuple[Error | None, int, np.ndarray]:
    machine = Machine(p, case.program, case.weights, case.input, case.output_bytes, seed)
    machine.query_tiles = 0
    _fill(machine, seed)
    if case.entry % BYTES or case.entry >= len(case.program):
        return Error.ENTRY, 0, machine.output
    kept = 0
    for index in range((len(case.program) - case.entry) // BYTES):
        at = case.entry + index * BYTES
        code = case.program[at : at + BYTES]
        f = decode(code)
        error = refusal(code, f, p, case, kept)
        if error is not Error.NONE:
            return error, index, machine.output
        op = Op(f.pop("op"))
        if op == Op.END:
            return Error.NONE, 0, machine.output
        if any(f.get(name, 0) > most for name, most in MOST.items()) or (
            op == Op.NORM and f["statistics"] and not 0 <= f["tiles"] * p.c - f["dim"] < p.c
        ):
            return None, index, machine.output
        try:
            fields = {name: value for name, value in f.items() if name not in ("slack", *ORDER)}
            with np.errstate(all="ignore"):
                getattr(machine, f"_{op.name.lower()}")(**fields)
        except (IsaError, ValueError, IndexError, ZeroDivisionError):
            return None, index, machine.output
        if op == Op.MATMUL and bool(f["bytes"]) == bool(f["keep"]):
            words = f["tiles"] * (p.param_words + f["k_steps"])
            kept += words if f["keep"] else -words
    return Error.PROGRAM_RANGE, (len(case.program) - case.entry) // BYTES, machine.output


#: Buffers of the model, and the least and the largest value that they may hold, where that is not their type's.
BUFFERS: dict[str, tuple[int, int] | None] = {
    "x": None, "y": (-255, 255), "h": (-255, 255), "k": None, "v": None, "table": None, "activation": None,
    "score": None,
    "logits": (-(1 << 23), (1 << 23) - 1), "factors": (0, 1 << 16), "output": None,
}  # fmt: skip


def _fill(machine: Machine, seed: int) -> None:
    """What a run before may have left: anything, and the same everywhere."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 1:
        return
    for name, bounds in BUFFERS.items():
        array = getattr(machine, name)
        low, high = bounds or (np.iinfo(array.dtype).min, np.iinfo(array.dtype).max)
        if seed % 3 == 2 or rng.integers(2):
            array[...] = rng.choice([low, high, 0, 1, rng.integers(low, high + 1)])
    machine.counts[...] = rng.integers(0, machine.p.max_tokens + 1) * rng.integers(2)


def refusal(code: bytes, f: dict[str, int], p: HwParams, case: Case, kept: int) -> Error:
    """Whether the hardware does not take an instruction, and why not (docs/register_map.md)."""
    if f["op"] not in list(Op):
        return Error.OPCODE
    op = Op(f["op"])
    if int.from_bytes(code, "little") & ~read_mask(op, p) or not _legal(op, f, p):
        return Error.FIELD
    regions = {
        Op.MATMUL: (len(case.weights), Error.WEIGHTS_RANGE), Op.LOAD: (len(case.program), Error.PROGRAM_RANGE),
        Op.IMAGE: (len(case.input), Error.INPUT_RANGE), Op.STORE: (case.output_bytes, Error.OUTPUT_RANGE),
    }  # fmt: skip
    if op in regions and f["offset"] + f["bytes"] > regions[op][0]:
        return regions[op][1]
    if op == Op.MATMUL:
        words = f["tiles"] * (p.param_words + f["k_steps"])
        if f["ring_offset"] != kept if f["bytes"] else f["ring_offset"] + words > kept:
            return Error.NOT_FETCHED
    return Error.NONE


def _legal(op: Op, f: dict[str, int], p: HwParams) -> bool:
    rows = "row_end" in f and f.get("row_begin", 0) < f["row_end"] <= p.max_tokens
    tiles, steps = f.get("tiles", 0), f.get("k_steps", 0)
    if f.get("offset", 0) % (p.weight_align if op == Op.MATMUL else BYTES):
        return False
    if op == Op.LOAD:
        if f["dest"] == Dest.ACTIVATION:
            return f["bytes"] == ACTIVATION_ENTRIES and not f["d_base"]
        depth = {Dest.X: p.x_depth, Dest.NORM: 8 << (p.norm_depth - 1).bit_length()}.get(f["dest"], 0)
        return f["bytes"] > 0 and f["bytes"] % (2 * p.c) == 0 and f["d_base"] + f["bytes"] // (2 * p.c) <= depth
    if op == Op.IMAGE:
        return bool(tiles and steps and f["a_stride"] and f["bytes"])
    if op == Op.NORM:
        return rows and 0 < tiles <= p.norm_depth
    if op == Op.MATMUL:
        return _legal_matmul(f, p, rows)
    if op == Op.ATTENTION:
        keys = p.word * -(-p.max_tokens // p.word)
        return rows and bool(tiles and steps) and 0 < f["key_tiles"] <= keys // p.c and 0 < f["pv_steps"] <= keys // p.k
    if op == Op.ROUTE:
        return rows and 0 < steps <= min(tiles, p.max_topk) and tiles <= p.max_experts
    if op == Op.GATHER:
        return tiles > 0 and bool(f["use_queue"]) and f["expert"] < p.max_experts
    if op == Op.MEAN:
        return rows and tiles > 0
    if op == Op.STORE:
        size = 2 * p.c * tiles * (f["row_end"] - f["row_begin"])
        return rows and tiles > 0 and f["source"] in (Source.X, Source.Y) and f["bytes"] == size
    return True


def _legal_matmul(f: dict[str, int], p: HwParams, rows: bool) -> bool:
    tiles, steps = f["tiles"], f["k_steps"]
    words = tiles * (p.param_words + steps)
    packed = -(-steps * p.ring_bytes // (2 * p.piece_bytes)) * p.piece_bytes
    size = tiles * (p.param_words * p.ring_bytes + packed) if f["narrow"] else words * p.ring_bytes
    if f["use_queue"]:
        taken = f["expert"] < p.max_experts and not f["row_begin"] and f["bytes"] > 0 and not f["keep"]
    else:
        taken = rows and not f["scatter"]
    gate = f["activate"] and f["dest"] == Dest.H and f["source"] == Source.Y and not f["use_queue"]
    fits = f["ring_offset"] + words <= p.weight_depth if f["keep"] else (
        p.param_words + steps <= p.weight_depth and not f["ring_offset"]
    )  # fmt: skip
    return bool(taken and tiles and steps >= p.param_words and f["dest"] <= Dest.LOGITS and f["source"] <= Source.H
                and (not f["gated"] or gate) and f["bytes"] in (0, size) and fits)  # fmt: skip


def _ordered(case: Case, p: HwParams, count: int | None) -> bool:
    """Nothing of the first `count` instructions, or up to END, overlaps harmfully, so that the order of the model is
    that of the machine."""
    code = [case.program[at : at + BYTES] for at in range(case.entry, len(case.program) - BYTES + 1, BYTES)]
    end = next(number for number, one in enumerate(code) if one[0] == Op.END) if count is None else count
    if all(not decode(one).get(name) for one in code[:end] for name in (*ORDER, "slack")):
        return True
    try:
        program = b"".join(code[:end]) + encode(Op.END)
        return next(iter(find_hazards(p, program)), None) is None
    except (ValueError, IndexError, KeyError, ZeroDivisionError):
        return False


def difference(case: Case, p: HwParams, wanted: Expected, found: JobResult) -> str | None:
    """What is wrong with what the hardware made of it."""
    code = Error(found.error)
    if wanted.error is None:
        early = code not in (Error.NONE, Error.WATCHDOG) and found.error_index < wanted.index
        return f"{code.name} at {found.error_index}, before {wanted.index}" if early else None
    # The index is of an error only.
    if (code, found.error_index if code else 0) != (wanted.error, wanted.index):
        return f"{code.name} at {found.error_index}, not {wanted.error.name} at {wanted.index}"
    if wanted.error:  # what was under way then may have been written in part
        return None
    output = np.frombuffer(found.output, np.uint8)
    wrong = np.flatnonzero(wanted.known & (output != wanted.output))
    if len(wrong):  # that three kinds of garbage gave the same may be chance
        wanted = expected(case, p, range(40))
        if wanted.error is None:
            return None
        wrong = np.flatnonzero(wanted.known & (output != wanted.output))
    return f"byte {wrong[0]} of the output and {len(wrong) - 1} more" if len(wrong) else None
