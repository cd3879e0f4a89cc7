"""The machine at instruction level in NumPy: what the accelerator must do with a program, in whole instructions.

An independent check of the compiler: it reads the binary files and HwParams only, keeps the buffers banked as
docs/architecture.md says, and fills them with garbage first, so that nothing unwritten may matter. It has its own
arithmetic, written from docs/numerics.md; of the golden model it shares the literal tables only.

Instructions run one after another here: that their order fields forbid every harmful overlap is for `sim.hazards`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwgen.machine import tables
from hwgen.machine.isa import ADDRESSES, BYTES, ORDER, Dest, Op, Source, decode, read_mask
from hwgen.machine.params import HwParams
from sim.integers import Ints, operand, rshift, sat

__all__ = ["IsaError", "Machine", "run_task"]

_TIMING = ("slack", *ORDER)  #: fields that say when, not what
MAX_SHIFT = 47  #: of a channel's parameters
_EXP, _GATE, _RSQRT = (np.array(t) for t in (tables.EXP, tables.GATE_EXP, tables.RSQRT))
#: Reversed, the order in which the five low bits of a key round its probability.
_DITHER = np.array([int(f"{key:05b}"[::-1], 2) for key in range(32)])


class IsaError(Exception):
    """Why it stopped: `kind` "opcode", "range" (an address), "field" (a senseless value), "fetched" (other weights)."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


class Machine:
    """One accelerator with its DRAM regions. `run` executes the program at an entry; buffers keep their contents."""

    def __init__(
        self, p: HwParams, program: bytes, weights: bytes, image: bytes = b"", output_bytes: int = 0, seed: int = 0
    ) -> None:
        self.p, self.program = p, program
        self.weights, self.image = np.frombuffer(weights, np.uint8), np.frombuffer(image, np.uint8)
        rng = np.random.default_rng(seed)

        def garbage(*shape: int) -> NDArray[np.uint8]:
            return rng.integers(0, 256, shape, np.uint8)

        self.output = garbage(output_bytes)
        self.x = garbage(1, p.x_depth, 2 * p.c).view("<i2")
        self.y = rng.integers(-255, 256, (p.t, p.y_depth, p.word), np.int16)
        self.h = rng.integers(-255, 256, (p.t, p.h_depth, p.word), np.int16)
        self.k = garbage(p.c, p.k_depth, p.word)
        self.v = garbage(p.k, p.v_depth, p.c)
        self.table_words = 1 << (p.norm_depth - 1).bit_length()  # of a half of the LayerNorm unit's parameter table
        self.table = garbage(1, 8 * self.table_words, 2 * p.c).view("<i2")
        self.activation = garbage(1024)
        self.ring = np.empty((0, p.ring_bytes), np.uint8)  # words fetched and not yet popped
        self.score = garbage(p.t, 2 * -(-p.max_tokens // p.word), 2 * p.word).view("<i2")
        self.gate_words = -(-p.max_experts // p.c)  # of a token's logits; its first word has an address in steps of:
        self.gate_stride = 1 << (self.gate_words - 1).bit_length()
        self.logits = rng.integers(-(1 << 23), 1 << 23, (1, p.max_tokens * self.gate_stride, p.c))
        self.counts = rng.integers(0, p.max_tokens + 1, p.max_experts)
        self.tokens = rng.integers(0, p.max_tokens, (p.max_experts, p.max_tokens))
        self.factors = rng.integers(0, 1 << 17, (p.max_experts, p.max_tokens))

    def dump(self) -> dict[str, NDArray]:
        """Copies of the buffers, in the form `sim.compare` reads."""
        queue = {"counts": self.counts, "tokens": self.tokens, "weights": self.factors}
        banks = {"X": self.x[0], "Y": self.y, "H": self.h, "K": self.k, "V": self.v}
        units = {"LOGITS": self.logits[0], "SCORE": self.score}
        return {name: array.copy() for name, array in (banks | units | queue).items()}

    def run(self, entry: int = 0, on_retire: Callable[[int], None] = lambda index: None) -> bytes:
        """Execute until END; `on_retire` gets each instruction's index. Returns the output region."""
        self.query_tiles = 0  # whose scores were computed
        for index in range(1 << 20):
            at = entry + index * BYTES
            if at % BYTES or not 0 <= at <= len(self.program) - BYTES:
                raise IsaError("range", f"instruction at {at} of {len(self.program)} program bytes")
            fields = decode(self.program[at : at + BYTES])
            if fields["op"] not in list(Op):
                raise IsaError("opcode", f"{fields['op']} at byte {at}")
            op = Op(fields.pop("op"))
            stray = int.from_bytes(self.program[at : at + BYTES], "little") & ~read_mask(op, self.p)
            if stray:
                raise IsaError("field", f"{op.name} at byte {at} does not read the bits {stray:#x}")
            if op != Op.END:
                getattr(self, "_" + op.name.lower())(**{n: v for n, v in fields.items() if n not in _TIMING})
            on_retire(index)
            if op == Op.END:
                if len(self.ring):
                    raise IsaError("field", f"{len(self.ring)} words of weights were never popped")
                break
        return self.output.tobytes()

    # Buffers.

    def _index(self, buffer: NDArray, rows: Ints, base: int, stride: int, start: int, count: int) -> tuple[Ints, ...]:
        """Indices [rows, count] of elements start, start + 1, ... of rows whose groups are `stride` words apart."""
        banks, depth, word = buffer.shape
        if count > depth * word:  # before arrays of that size are made
            raise IsaError("range", f"{count} elements of {depth} words of {word}")
        element = start + np.arange(count)
        address = base + (rows // banks * stride)[:, None] + element // word & ADDRESSES - 1
        if address.size and address.max() >= depth:
            raise IsaError("range", f"word {address.max()} of {depth}")
        return np.broadcast_arrays((rows % banks)[:, None], address, element % word)

    def _read(
        self, buffer: NDArray, rows: Ints, base: int, stride: int, count: int, start: int = 0, *, first: int = 0
    ) -> Ints:
        """Elements [rows, count] from `start` on; `base` is the word of row `first`'s group."""
        return buffer[self._index(buffer, rows, base - first // len(buffer) * stride, stride, start, count)]

    def _write(self, buffer: NDArray, rows: Ints, base: int, stride: int, data: Ints, start: int = 0) -> None:
        index = self._index(buffer, rows, base, stride, start, data.shape[1])
        buffer[index] = data.astype(np.int64).astype(buffer.dtype)  # bytes: two's complement

    def _signed(self, *args: Any, first: int = 0) -> Ints:
        return self._read(*args, first=first).view(np.int8).astype(np.int64)

    def _region(self, region: NDArray[np.uint8], offset: int, size: int, align: int = BYTES) -> NDArray[np.uint8]:
        if offset % align or offset + size > len(region):
            raise IsaError("range", f"{size} bytes at {offset} of {len(region)}")
        return region[offset : offset + size]

    def _fetched(self, narrow: int, offset: int, size: int, tiles: int, k_steps: int) -> NDArray[np.uint8]:
        """The instruction's weights from DRAM as ring words."""
        p = self.p
        piece = min(p.ring_bytes, p.weight_bus // 8)
        if narrow:
            packed = -(-k_steps * p.ring_bytes // (2 * piece)) * piece
            if size != tiles * (p.param_words * p.ring_bytes + packed):
                raise IsaError("field", f"{size} bytes of weights, {tiles} tiles of {k_steps} packed words read")
        elif size != tiles * (p.param_words + k_steps) * p.ring_bytes:
            words = tiles * (p.param_words + k_steps)
            raise IsaError("field", f"{size} bytes of weights, {words} words of {p.ring_bytes} bytes read")
        stream = self._region(self.weights, offset, size, BYTES * p.weight_ports).reshape(tiles, -1)
        if narrow:
            parameters, pairs = np.split(stream, [p.param_words * p.ring_bytes], axis=1)
            pairs = pairs.reshape(tiles, -1, 1, piece).view(np.int8)
            weights = np.concatenate([np.left_shift(pairs, 4) >> 4, pairs >> 4], axis=2).reshape(tiles, -1)
            stream = np.hstack([parameters, weights[:, : k_steps * p.ring_bytes].view(np.uint8)])
        return stream.reshape(-1, p.ring_bytes)

    def _stream(
        self, fetched: NDArray[np.uint8], keep: int, ring_offset: int, tiles: int, words: int
    ) -> NDArray[np.uint8]:
        """The instruction's weights from the ring, now with those `fetched`: [tiles, C, words * K] bytes by channel."""
        p, count = self.p, tiles * words
        if len(fetched):
            if len(self.ring) != ring_offset:
                raise IsaError("fetched", f"weights at ring word {ring_offset} behind {len(self.ring)} kept ones")
            self.ring = np.concatenate([self.ring, fetched])
        end = ring_offset + count
        if len(self.ring) < end or (ring_offset and not keep):
            kind = "field" if ring_offset and not keep else "fetched"
            raise IsaError(kind, f"ring words {ring_offset} to {end} of {len(self.ring)}, keep {keep}")
        # One that keeps nothing pops tile by tile.
        if (end if keep or not len(fetched) else words) > p.weight_depth:
            raise IsaError("range", f"a tile of {words} words, all to word {end}, in a ring of {p.weight_depth}")
        stream = self.ring[ring_offset:end].reshape(tiles, words, p.c, p.k)
        if not keep:
            self.ring = self.ring[end:]
        return stream.transpose(0, 2, 1, 3).reshape(tiles, p.c, words * p.k)

    @staticmethod
    def _parameter(stream: NDArray[np.uint8], first: int, dtype: str) -> Ints:
        """One of a channel's parameters, [tiles * C]."""
        size = np.dtype(dtype).itemsize
        return np.ascontiguousarray(stream[:, :, first : first + size]).view(dtype).reshape(-1).astype(np.int64)

    def _queue(self, expert: int) -> Ints:
        if expert >= self.p.max_experts:
            raise IsaError("range", f"expert {expert} of {self.p.max_experts}")
        return self.tokens[expert, : self.counts[expert]]

    # Instructions.

    def _image(self, offset: int, bytes: int, a_stride: int, row_begin: int, k_steps: int, tiles: int, d_base: int,
               d_stride: int) -> None:
        pixels = self._region(self.image, offset, bytes).reshape(-1, a_stride, tiles, k_steps)
        patches = pixels.transpose(0, 2, 1, 3).reshape(-1, a_stride * k_steps)
        self._write(self.y, row_begin + np.arange(len(patches)), d_base, d_stride, patches)

    def _load(self, dest: int, spilled: int, offset: int, bytes: int, d_base: int) -> None:
        if dest not in (Dest.X, Dest.NORM, Dest.ACTIVATION):
            raise IsaError("field", f"dest {dest}")
        if dest == Dest.ACTIVATION and (bytes != len(self.activation) or d_base):
            raise IsaError("field", f"an activation's table of {bytes} bytes, from {d_base} on")
        data = self._region(self.output if spilled else np.frombuffer(self.program, np.uint8), offset, bytes)
        if dest == Dest.ACTIVATION:
            self.activation[:] = data
        else:
            self._write(self.x if dest == Dest.X else self.table, np.array([0]), d_base, 0, data.view("<i2")[None])

    def _norm(self, statistics: int, rms: int, table: int, a_base: int, a_stride: int, row_begin: int, row_end: int,
              tiles: int, d_base: int, d_stride: int, norm_shift: int, dim: int, eps_high: int, eps_low: int) -> None:
        if tiles > self.p.norm_depth:
            raise IsaError("range", f"{tiles} parameter words of {self.p.norm_depth}")
        rows = np.arange(row_begin, row_end)
        half = self.table[0].reshape(2, self.table_words, 4, self.p.c)[table, :tiles].astype(np.int64)
        low, beta, gamma, _ = half.transpose(1, 0, 2).reshape(4, tiles * self.p.c)
        beta = beta << 16 | low & 0xFFFF
        x = self._read(self.x, rows, a_base, a_stride, tiles * self.p.c, first=row_begin).astype(np.int64)
        if statistics:
            total = x.sum(1, keepdims=True) * (not rms)
            v: Ints = dim * (x * x).sum(1, keepdims=True) - total**2 + (eps_high << 32 | eps_low)
            if v.min() < 1 or v.max() >= 1 << 52:
                raise IsaError("field", f"a variance of {v.min()} to {v.max()}, dim {dim}")
            bits: Ints = np.frexp(v)[1].astype(np.int64)  # exact: V < 2^52
            zeros = (52 - bits) // 2 * 2
            vn: Ints = v << zeros
            y0: Ints = _RSQRT[vn >> 46]
            y = y0 * (3 * 65536 - ((vn >> 34) * (y0 * y0 >> 16) >> 16)) >> 17
            x = sat(rshift((dim * x - total) * y, 31 - zeros // 2), 18)
        self._write(self.y, rows, d_base, d_stride, operand(rshift(x * gamma + beta, norm_shift)))

    def _matmul(self, expert: int, dest: int, source: int, gated: int, use_queue: int, scatter: int, activate: int,
                keep: int, narrow: int, offset: int, bytes: int, a_base: int, a_stride: int, row_begin: int,
                row_end: int, k_steps: int, tiles: int, d_base: int, d_stride: int, d_word: int, act_mult: int,
                act_shift: int, act_zero: int, x_shift: int, ring_offset: int) -> None:
        p = self.p
        queue = self._queue(expert) if use_queue or scatter else np.empty(0, np.int64)
        rows = np.arange(len(queue)) if use_queue else np.arange(row_begin, row_end)
        if use_queue and len(self.ring):
            raise IsaError("fetched", f"weights of a queue behind {len(self.ring)} kept words")
        if use_queue and not len(queue):
            return
        if dest not in list(Dest)[: Dest.NORM] or source not in (Source.Y, Source.H):
            raise IsaError("field", f"dest {dest}, source {source}")
        if gated and (use_queue or not activate or (source, dest) != (Source.Y, Dest.H)):
            raise IsaError("field", f"gated from {source} to {dest}, queue {use_queue}, activate {activate}")
        fetched = self._fetched(narrow, offset, bytes, tiles, k_steps) if bytes else self.ring[:0]
        stream = self._stream(fetched, keep, ring_offset, tiles, p.param_words + k_steps)
        bias, mult, shift = (self._parameter(stream, *at) for at in ((0, "<i4"), (4, "<u2"), (6, "u1")))
        if shift.max() > MAX_SHIFT:
            raise IsaError("field", f"a shift of {shift.max()} bits among the parameters")
        weight = stream[:, :, p.param_words * p.k :].reshape(tiles * p.c, k_steps * p.k).view(np.int8)
        origin = self.y if source == Source.Y else self.h
        a = self._read(origin, rows, a_base, a_stride, k_steps * p.k, first=row_begin)
        acc = (a.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)  # exact: far below 2^53
        if scatter:
            mult = self.factors[expert, : len(queue), None] * mult >> 16
        out = rshift((acc + bias) * mult, shift)
        if activate:
            h = sat(out, 13)
            size: Ints = np.abs(h)
            even = np.where(size < 1024, self.activation[size & 1023].astype(np.int64), 0)
            factor: Ints | int = act_mult
            if gated:  # what the destination holds takes part
                held = self._read(self.h, rows, d_base, d_stride, tiles * p.c, d_word * p.c)
                factor = held.astype(np.int64) * act_mult >> 7
            out = rshift((4 * np.maximum(h, 0) - even) * factor, act_shift) + (act_zero ^ 0x800) - 0x800
        if activate or dest in (Dest.Y, Dest.H):
            out = operand(out)
        else:
            out = sat(out, {Dest.K: 8, Dest.V: 8, Dest.LOGITS: 24}.get(Dest(dest), 16))
        read_rows, rows = rows, queue if scatter else rows
        if dest == Dest.LOGITS:
            if d_word + tiles > self.gate_words:
                raise IsaError("range", f"{tiles} words of logits from word {d_word}")
            self._write(self.logits, rows, 0, self.gate_stride, out, d_word * p.c)
            return
        buffer = {Dest.Y: self.y, Dest.H: self.h, Dest.K: self.k, Dest.V: self.v}.get(Dest(dest), self.x)
        if dest == Dest.X_ADD:
            old = self._read(self.x, rows, d_base, d_stride, tiles * p.c, d_word * p.c)
            out = sat(out + rshift(old.astype(np.int64), x_shift), 16)
        if buffer is origin:  # tiles are written while later ones still read
            read = self._index(buffer, read_rows - row_begin // p.t * p.t, a_base, a_stride, 0, k_steps * p.k)[1]
            if np.isin(self._index(buffer, rows, d_base, d_stride, d_word * p.c, tiles * p.c)[1], read).any():
                raise IsaError("field", "the destination overlaps the source")
        self._write(buffer, rows, d_base, d_stride, out, d_word * p.c)

    def _attention(self, a_base: int, a_stride: int, row_begin: int, row_end: int, k_steps: int, tiles: int,
                   d_base: int, d_stride: int, d_word: int, k_base: int, k_stride: int, v_base: int, v_stride: int,
                   key_tiles: int, pv_steps: int, score_mult: int, score_shift: int, out_shift: int,
                   out_mult: int) -> None:
        p, rows = self.p, np.arange(row_begin, row_end)
        first = row_begin // p.word * p.word
        keys, count = rows - first, row_end - first
        if row_end > p.max_tokens or key_tiles != -(-count // p.c) or pv_steps != -(-count // p.k):
            raise IsaError("field", f"rows {row_begin} to {row_end}, {key_tiles} key tiles, {pv_steps} steps")
        q = self._read(self.h, rows, a_base, a_stride, k_steps * p.k, first=row_begin).astype(np.int64)
        k = self._signed(self.k, keys, k_base, k_stride, k_steps * p.k)
        v = self._signed(self.v, keys, v_base, v_stride, tiles * p.c)
        t = sat(rshift(q @ k.T * score_mult, score_shift), 16)
        for number, row in enumerate(rows):  # query tiles take turns in the buffer's halves, whose words alternate
            half = (self.query_tiles + row // p.t - row_begin // p.t) % 2
            self.score[row % p.t, keys // p.word * 2 + half, keys % p.word] = t[number]
        self.query_tiles += -(-row_end // p.t) - row_begin // p.t
        u = t.max(1, keepdims=True) - t
        prob = (_EXP[u & 31] >> np.minimum(u >> 5, 20)) + _DITHER[np.arange(len(rows)) % 32] >> 5
        factor = (1 << 24) // prob.sum(1, keepdims=True)
        context = operand(rshift(prob @ v * (factor * out_mult >> 16), out_shift))
        self._write(self.y, rows, d_base, d_stride, context, d_word * p.c)

    def _route(self, renormalize: int, append: int, row_begin: int, row_end: int, k_steps: int, tiles: int) -> None:
        if tiles > self.p.max_experts or k_steps > self.p.max_topk or row_end > self.p.max_tokens:
            raise IsaError("range", f"{tiles} experts, {k_steps} winners, {row_end} tokens")
        if not append:
            self.counts[:] = 0
        rows = np.arange(row_begin, row_end)
        for token, t in zip(rows, self._read(self.logits, rows, 0, self.gate_stride, tiles), strict=True):
            winners = sorted(sorted(range(tiles), key=lambda e: (-t[e], e))[:k_steps])
            u = rshift(t.max() - t, 8)
            prob = rshift(_GATE[u & 255], np.minimum(u >> 8, 40))
            den = prob[winners].sum() if renormalize else prob.sum()
            for expert in winners:
                self.tokens[expert, self.counts[expert]] = token
                self.factors[expert, self.counts[expert]] = rshift(prob[expert] * ((1 << 40) // den), 24)
                self.counts[expert] += 1

    def _gather(self, expert: int, use_queue: int, a_base: int, a_stride: int, tiles: int, d_base: int,
                d_stride: int) -> None:
        queue = self._queue(expert)
        data = self._read(self.y, queue, a_base, a_stride, tiles * self.p.c)
        self._write(self.h, np.arange(len(queue)), d_base, d_stride, data)

    def _mean(self, a_base: int, a_stride: int, row_begin: int, row_end: int, tiles: int, d_base: int, d_stride: int,
              out_shift: int, out_mult: int) -> None:
        rows = np.arange(row_begin, row_end)
        total = self._read(self.y, rows, a_base, a_stride, tiles * self.p.c, first=row_begin).sum(0, np.int64)
        self._write(self.h, np.array([0]), d_base, d_stride, operand(rshift(total * out_mult, out_shift))[None])

    def _store(self, source: int, offset: int, bytes: int, a_base: int, a_stride: int, row_begin: int, row_end: int,
               tiles: int) -> None:
        rows = np.arange(row_begin, row_end)
        if bytes != 2 * tiles * self.p.c * len(rows) or source not in (Source.X, Source.Y):
            raise IsaError("field", f"{bytes} bytes of {len(rows)} rows from {source}")
        buffer = self.x if source == Source.X else self.y
        data = self._read(buffer, rows, a_base, a_stride, tiles * self.p.c, first=row_begin)
        self._region(self.output, offset, bytes)[:] = np.frombuffer(data.astype("<i2").tobytes(), np.uint8)


def run_task(
    p: HwParams, program: bytes, weights: bytes, entry: int, image: bytes, output_bytes: int, *,
    wanted: Collection[int] = (), seed: int = 0,
) -> tuple[bytes, dict[int, dict[str, NDArray]]]:
    """Output region of one image, and the dumps after the instructions `wanted`."""
    machine = Machine(p, program, weights, image, output_bytes, seed)
    dumps: dict[int, dict[str, NDArray]] = {}
    output = machine.run(entry, lambda index: dumps.update({index: machine.dump()}) if index in wanted else None)
    return output, dumps
