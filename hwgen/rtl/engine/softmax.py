"""Attention softmax: score buffer with row maxima, exponentials as the A operand of PV, reciprocal row sums."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hwgen.rtl.arithmetic.divider import Divider, divider_latency
from hwgen.rtl.arithmetic.exponent import DITHER_BITS, ExponentRow
from hwgen.rtl.common.ram import select_bits
from hwgen.rtl.common.rowbuffer import RowBuffer

__all__ = ["Softmax", "factor_read", "score_read", "score_write"]

_TREE_STAGES = 2  # of the sum over K lanes, three adder levels each
_FACTOR_BITS = 17


def score_write(*, t: int, c: int, k: int, keys: int) -> wiring.Signature:
    """A C-word of a row's scores, 16 bits each; `mask`: the keys that count."""
    words = -(-keys // max(c, k)) * max(c, k) // c
    place = {"en": Out(1), "half": Out(1), "row": Out(ceil_log2(t)), "word": Out(select_bits(words))}
    return wiring.Signature(place | {"data": Out(16 * c), "mask": Out(c), "first": Out(1)})


def score_read(*, c: int, k: int, keys: int) -> wiring.Signature:
    """K keys of all rows; what of them counts and is summed up."""
    word = max(c, k)
    step = {"en": Out(1), "half": Out(1), "step": Out(select_bits(-(-keys // word) * word // k))}
    step |= {"begin": Out(bits_for(word - 1)), "keys": Out(bits_for(keys))}
    return wiring.Signature(step | {name: Out(1) for name in ("sum", "first", "last")})


def factor_read(*, t: int) -> wiring.Signature:
    """A row's factor, in the same cycle."""
    return wiring.Signature({"row": Out(ceil_log2(t)), "factor": In(_FACTOR_BITS)})


class Softmax(wiring.Component):
    """Two halves of T rows of scores (int16): one is filled while the other is read.

    In the RAM of each row the words of the halves alternate: key n of a half is in word 2·(n div max(C, K)) + half.

    `write`: one C-word of one row per cycle, rows in any order and at any spacing. `mask` marks the keys that count:
    other scores do not for the maximum. `first` starts the row's maximum anew. A half may be read from WRITE_LATENCY
    cycles after its last write, and written again from the cycle after its last read on.

    `read`: `en` with `half`, `step` (K keys) and the keys begin .. keys - 1 that count (`begin` < max(C, K), `keys`
    from 1 on). LATENCY cycles later `a_valid` and `a`, [row][lane] uint8, zero for keys that do not count; the dither
    that rounds the others counts keys from `begin` on. Steps may lie beyond `keys`, inside the buffer. With `sum` the
    step counts for the row sums: `first` starts them anew, `last` starts the divisions. `last` steps are at least T
    cycles apart.
    `factors.factor` = floor(2^24 / sum) of `factors.row`, a combinational select of registers; row t changes exactly
    FACTOR_LATENCY + t cycles after the `last` step and holds until the next one's. Sums are >= 255 when the key of
    the maximum is among those summed; otherwise (no key at all) the factor is undefined.
    """

    WRITE_LATENCY = 3
    LATENCY = RowBuffer.LATENCY + ExponentRow.LATENCY
    FACTOR_LATENCY = LATENCY + _TREE_STAGES + 1 + divider_latency(_FACTOR_BITS) + 1

    def __init__(self, *, t: int, c: int, k: int, keys: int) -> None:
        self.t, self.c, self.k, self.keys = t, c, k, keys
        self.word = max(c, k)
        self.words = -(-keys // self.word)
        super().__init__(
            {
                "write": In(score_write(t=t, c=c, k=k, keys=keys)),
                "read": In(score_read(c=c, k=k, keys=keys)),
                "a_valid": Out(1),
                "a": Out(8 * t * k),
                "factors": In(factor_read(t=t)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts_w, parts_r = ceil_log2(self.word // self.c), ceil_log2(self.word // self.k)
        scores = RowBuffer(banks=self.t, lanes=self.c, k=self.k, depth=2 * self.words, elem=16)
        m.submodules.score_buffer = scores  # not `scores`: a signal has that name, and simulation looks for this one
        m.d.comb += [
            scores.write.en.eq(self.write.en),
            scores.write.bank.eq(self.write.row),
            scores.write.addr.eq(Cat(self.write.half, self.write.word[parts_w:])),
            scores.write.sub.eq(self.write.word[:parts_w]),
            # The other scores are written too: reading masks them again.
            scores.write.mask.eq(~0),
            scores.write.data.eq(self.write.data),
            scores.operands.en.eq(self.read.en),
            scores.operands.addr.eq(Cat(self.read.half, self.read.step[parts_r:])),
            scores.operands.sub.eq(self.read.step[:parts_r]),
        ]
        maxima = self._maxima(m)
        mask, dither = self._keys(m)
        rows = []
        for row in range(self.t):
            m.submodules[f"exponent{row}"] = unit = ExponentRow(k=self.k)
            m.d.comb += [
                unit.maximum.eq(maxima[row]),
                unit.scores.eq(scores.operands.data.word_select(row, 16 * self.k)),
                unit.mask.eq(mask),
                unit.dither.eq(dither),
            ]
            rows.append(unit.p)
        m.d.comb += [self.a.eq(Cat(*rows)), self.a_valid.eq(_delay(m, self.read.en, self.LATENCY, "a_valid"))]
        self._factors(m, rows)
        return m

    def _maxima(self, m: Module) -> list[Value]:
        """Row maxima of the half read, in step with the scores from the buffer."""
        lowest = -(1 << 15)
        level: list[Value] = []
        for lane in range(self.c):
            level.append(Mux(self.write.mask[lane], self.write.data.word_select(lane, 16).as_signed(), lowest))
        # The update is visible in cycle stages + 1 after the write, the selection below is made one cycle after a read.
        stages = min(ceil_log2(self.c), self.WRITE_LATENCY)
        for stage in range(stages):
            # levels of comparisons in this stage: the earlier ones, with the mask in front, have the fewer
            for _ in range((ceil_log2(self.c) + stage) // stages):
                above: list[Value] = []
                for index in range(0, len(level), 2):
                    larger = Signal(signed(16), name=f"larger{stage}_{len(level)}_{index}")
                    m.d.comb += larger.eq(Mux(level[index] > level[index + 1], level[index], level[index + 1]))
                    above.append(larger)
                level = above
            registers: list[Value] = []
            for index, value in enumerate(level):
                register = Signal(signed(16), name=f"word_maximum{stage}_{index}", reset_less=True)
                m.d.sync += register.eq(value)
                registers.append(register)
            level = registers
        assert len(level) == 1
        enable = _delay(m, self.write.en, stages, "update")
        place = Cat(self.write.first, self.write.half, self.write.row)
        command = _delay(m, place, stages, "update_command", reset_less=True)
        first, half, update_row = command[0], command[1], command[2:]
        r_half = _delay(m, self.read.half, 1, "r_half", reset_less=True)
        selected: list[Value] = []
        for row in range(self.t):
            # A comparator per row: the update takes one cycle, so the same row may come in any two cycles.
            pair = [Signal(signed(16), name=f"maximum{row}_{side}", reset_less=True) for side in range(2)]
            replace = Signal(name=f"replace{row}")
            m.d.comb += replace.eq(enable & (update_row == row) & (first | (level[0] > Mux(half, pair[1], pair[0]))))
            with m.If(replace & ~half):
                m.d.sync += pair[0].eq(level[0])
            with m.If(replace & half):
                m.d.sync += pair[1].eq(level[0])
            chosen = Signal(signed(16), name=f"maximum{row}", reset_less=True)
            m.d.sync += chosen.eq(Mux(r_half, pair[1], pair[0]))
            selected.append(chosen)
        return selected

    def _keys(self, m: Module) -> tuple[Value, Value]:
        """Which of the K keys of a step count, in step with the scores from the buffer, and their dither."""
        begin, keys, first_key = self.read.begin, self.read.keys, self.read.step << ceil_log2(self.k)
        skipped = Signal(signed(len(first_key) + 1), reset_less=True)
        remaining = Signal(signed(max(len(keys), len(first_key)) + 1), reset_less=True)
        mask = Signal(self.k, reset_less=True)
        m.d.sync += [
            skipped.eq(begin - first_key),
            remaining.eq(keys - first_key),
            mask.eq(Cat(*((remaining > lane) & (skipped <= lane) for lane in range(self.k)))),
        ]
        origin = Signal(DITHER_BITS)  # lane 0 is key -origin
        m.d.comb += origin.eq(skipped)
        origin = _delay(m, origin, ExponentRow.DITHER_AFTER, "origin", reset_less=True)
        dither = Signal(DITHER_BITS * self.k, reset_less=True)
        for lane in range(self.k):
            number = Signal(DITHER_BITS, name=f"number{lane}")
            m.d.comb += number.eq(lane - origin)
            m.d.sync += dither.word_select(lane, DITHER_BITS).eq(number[::-1])
        return mask, dither

    def _factors(self, m: Module, rows: Sequence[Value]) -> None:
        later = self.LATENCY + _TREE_STAGES
        enable = _delay(m, self.read.en & self.read.sum, later, "sum")
        command = _delay(m, Cat(self.read.first, self.read.last), later, "sum_command", reset_less=True)
        first, last = command[0], command[1]
        sum_bits = bits_for(255 * self.keys)
        # The sums leave row by row for the divider, the shift register frees the accumulators for the next tile.
        leaving = Signal(self.t)
        waiting = [Signal(sum_bits, name=f"waiting{row}", reset_less=True) for row in range(self.t)]
        m.d.sync += leaving.eq(leaving >> 1)
        for row in range(self.t - 1):
            m.d.sync += waiting[row].eq(waiting[row + 1])
        for row in range(self.t):
            partial = self._lane_sum(m, rows[row], row)
            accumulator = Signal(sum_bits, name=f"accumulator{row}", reset_less=True)
            total = Signal(sum_bits, name=f"total{row}")
            m.d.comb += total.eq(Mux(first, 0, accumulator) + partial)
            with m.If(enable):
                m.d.sync += accumulator.eq(total)
            with m.If(enable & last):
                m.d.sync += waiting[row].eq(total)
        with m.If(enable & last):
            m.d.sync += leaving.eq(~0)
        m.submodules.divider = divider = Divider(numerator=24, quotient_bits=_FACTOR_BITS, den_bits=sum_bits)
        m.d.comb += [divider.valid.eq(leaving[0]), divider.den.eq(waiting[0])]
        arriving = Signal(ceil_log2(self.t))
        factors = [Signal(_FACTOR_BITS, name=f"factor{row}", reset_less=True) for row in range(self.t)]
        with m.If(divider.out_valid):
            m.d.sync += arriving.eq(arriving + 1)
        for row in range(self.t):
            with m.If(divider.out_valid & (arriving == row)):
                m.d.sync += factors[row].eq(divider.quotient)
        m.d.comb += self.factors.factor.eq(Cat(*factors).word_select(self.factors.row, _FACTOR_BITS))

    def _lane_sum(self, m: Module, lanes: Value, row: int) -> Value:
        """Sum of the K probabilities of a row, _TREE_STAGES cycles later."""
        level: list[Value] = [lanes.word_select(lane, 8) for lane in range(self.k)]
        for stage in range(_TREE_STAGES):
            for _ in range(3):
                if len(level) > 1:
                    level = [level[index] + level[index + 1] for index in range(0, len(level), 2)]
            registers: list[Value] = []
            for index, value in enumerate(level):
                register = Signal(len(value), name=f"sum{row}_{stage}_{index}", reset_less=True)
                m.d.sync += register.eq(value)
                registers.append(register)
            level = registers
        assert len(level) == 1
        return level[0]


def _delay(m: Module, value: Value, cycles: int, name: str, *, reset_less: bool = False) -> Value:
    for stage in range(cycles):
        register = Signal(len(value), name=f"{name}_{stage}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value
