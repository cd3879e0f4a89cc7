"""Attention softmax: score buffer with row maxima, exponentials as the A operand of PV, reciprocal row sums."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hwgen.rtl.arithmetic.divider import Divider, divider_latency
from hwgen.rtl.arithmetic.exponent import ExponentRow
from hwgen.rtl.common.ram import select_bits
from hwgen.rtl.common.rowbuffer import RowBuffer

__all__ = ["Softmax"]

_TREE_STAGES = 2  # of the sum over K lanes, three adder levels each
_FACTOR_BITS = 17


class Softmax(wiring.Component):
    """Two halves of T rows of scores (int16): one is filled while the other is read.

    In the RAM of each row the words of the halves alternate: key n of a half is in word 2·(n div max(C, K)) + half.

    Keys r_begin .. r_keys - 1 of the buffer count; `r_begin` < max(C, K), `r_keys` 1 .. keys.

    Write: one C-word of one row per cycle, rows in any order and at any spacing. `w_mask` marks the keys that count:
    other scores do not for the maximum. `w_first` starts the row's maximum anew. A half may be read from WRITE_LATENCY
    cycles after its last write, and written again from the cycle after its last read on.

    Read: `r_en` with `r_half`, `r_step` (K keys), `r_begin`, `r_keys`. LATENCY cycles later `a_valid` and `a`, [row]
    [lane] uint8, zero for keys that do not count; steps may lie beyond r_keys, inside the buffer. With `r_sum` the step
    counts for the row sums: `r_first` starts them anew, `r_last` starts the divisions. `r_last` steps are at least T
    cycles apart.
    `factor` = floor(2^24 / sum) of `factor_row`, a combinational select of registers; row t changes exactly
    FACTOR_LATENCY + t cycles after the `r_last` step and holds until the next one's. Sums are >= 255 when the key of
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
                "w_en": In(1),
                "w_half": In(1),
                "w_row": In(ceil_log2(t)),
                "w_word": In(select_bits(self.words * self.word // c)),
                "w_data": In(16 * c),
                "w_mask": In(c),
                "w_first": In(1),
                "r_en": In(1),
                "r_half": In(1),
                "r_step": In(select_bits(self.words * self.word // k)),
                "r_begin": In(bits_for(self.word - 1)),
                "r_keys": In(bits_for(keys)),
                "r_sum": In(1),
                "r_first": In(1),
                "r_last": In(1),
                "a_valid": Out(1),
                "a": Out(8 * t * k),
                "factor_row": In(ceil_log2(t)),
                "factor": Out(_FACTOR_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts_w, parts_r = ceil_log2(self.word // self.c), ceil_log2(self.word // self.k)
        scores = RowBuffer(banks=self.t, lanes=self.c, k=self.k, depth=2 * self.words, elem=16)
        m.submodules.score_buffer = scores  # not `scores`: a signal has that name, and simulation looks for this one
        m.d.comb += [
            scores.w_en.eq(self.w_en),
            scores.w_bank.eq(self.w_row),
            scores.w_addr.eq(Cat(self.w_half, self.w_word[parts_w:])),
            scores.w_sub.eq(self.w_word[:parts_w]),
            # The other scores are written too: reading masks them again.
            scores.w_mask.eq(~0),
            scores.w_data.eq(self.w_data),
            scores.r_en.eq(self.r_en),
            scores.r_addr.eq(Cat(self.r_half, self.r_step[parts_r:])),
            scores.r_sub.eq(self.r_step[:parts_r]),
        ]
        maxima = self._maxima(m)
        mask = self._key_mask(m)
        rows = []
        for row in range(self.t):
            m.submodules[f"exponent{row}"] = unit = ExponentRow(k=self.k)
            m.d.comb += [
                unit.maximum.eq(maxima[row]),
                unit.scores.eq(scores.r_data.word_select(row, 16 * self.k)),
                unit.mask.eq(mask),
            ]
            rows.append(unit.p)
        m.d.comb += [self.a.eq(Cat(*rows)), self.a_valid.eq(_delay(m, self.r_en, self.LATENCY, "a_valid"))]
        self._factors(m, rows)
        return m

    def _maxima(self, m: Module) -> list[Value]:
        """Row maxima of the half read, in step with the scores from the buffer."""
        lowest = -(1 << 15)
        level: list[Value] = []
        for lane in range(self.c):
            level.append(Mux(self.w_mask[lane], self.w_data.word_select(lane, 16).as_signed(), lowest))
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
        enable = _delay(m, self.w_en, stages, "update")
        command = _delay(m, Cat(self.w_first, self.w_half, self.w_row), stages, "update_command", reset_less=True)
        first, half, update_row = command[0], command[1], command[2:]
        r_half = _delay(m, self.r_half, 1, "r_half", reset_less=True)
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

    def _key_mask(self, m: Module) -> Value:
        """Which of the K keys of a step count, in step with the scores from the buffer."""
        begin, keys, first_key = self.r_begin, self.r_keys, self.r_step << ceil_log2(self.k)
        skipped = Signal(signed(len(first_key) + 1), reset_less=True)
        remaining = Signal(signed(max(len(keys), len(first_key)) + 1), reset_less=True)
        mask = Signal(self.k, reset_less=True)
        m.d.sync += [
            skipped.eq(begin - first_key),
            remaining.eq(keys - first_key),
            mask.eq(Cat(*((remaining > lane) & (skipped <= lane) for lane in range(self.k)))),
        ]
        return mask

    def _factors(self, m: Module, rows: Sequence[Value]) -> None:
        later = self.LATENCY + _TREE_STAGES
        enable = _delay(m, self.r_en & self.r_sum, later, "sum")
        command = _delay(m, Cat(self.r_first, self.r_last), later, "sum_command", reset_less=True)
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
        m.d.comb += self.factor.eq(Cat(*factors).word_select(self.factor_row, _FACTOR_BITS))

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
