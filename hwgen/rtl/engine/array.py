"""The matmul engine: T x C int32 dot products of K lanes a step, two tokens to a multiplier if it is wide enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from amaranth import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.rtl.common.ports import OPERAND_BITS

__all__ = ["ComputeArray"]

A_BITS, B_BITS, ACC_BITS = OPERAND_BITS, 8, 32

#: Products added before the two tokens' fields are parted, and the width of the low field that this needs:
#: 4 * 255 * 128 = 130,560 < 2^17.
GROUP = 4
FIELD = 18
PACKED = FIELD + A_BITS
CHAIN = 2 * FIELD
#: What one product is added to in a group's chain.
SINGLE = A_BITS + B_BITS + (GROUP - 1).bit_length()


def _tree(terms: Sequence[Value]) -> Value:
    """Sum of 1, 2, 4, ... terms in a balanced tree, so that the result is no wider than needed."""
    while len(terms) > 1:
        terms = [left + right for left, right in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


class _RowPair(Elaboratable):
    """Two tokens' accumulators and shadow registers in all columns.

    `a0`, `a1`: K lanes of either token, not yet registered. `b[column][lane]`: already registered and skewed.
    `packed`: they share their multipliers. `below`: the shadow row of the next pair's first token, shifted in.
    `shadow[token][column]` is the result.
    """

    def __init__(
        self,
        *,
        a0: Sequence[Value],
        a1: Sequence[Value],
        b: Sequence[Sequence[Value]],
        enable: Value,
        first: Value,
        capture: Value,
        shift: Value,
        packed: bool,
    ) -> None:
        self.a0, self.a1, self.b, self.packed = a0, a1, b, packed
        self.enable, self.first, self.capture, self.shift = enable, first, capture, shift
        self.below: Sequence[Value] | None = None
        self.shadow = [
            [
                Signal(signed(ACC_BITS), name=f"shadow{token}_{column}", reset_less=True)
                for column in range(len(b))
            ]
            for token in range(2)
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes: list[Sequence[Value]] = []
        for lane, (a0, a1) in enumerate(zip(self.a0, self.a1, strict=True)):
            stages = []
            for token, value in enumerate([(a1 << FIELD) + a0] if self.packed else [a0, a1]):
                bits = PACKED if self.packed else A_BITS
                stage = Signal(signed(bits), name=f"a{token}_{lane}", reset_less=True)
                m.d.sync += stage.eq(value)
                stages.append(_skewed(m, stage, lane, len(self.a0)))
            lanes.append(stages)
        for column, weights in enumerate(self.b):
            if self.packed:
                dots = self._packed_dots(m, column, [stages[0] for stages in lanes], weights)
            else:
                dots = [
                    self._groups(m, f"{column}_{token}", [stages[token] for stages in lanes], weights, SINGLE, 0)
                    for token in range(2)
                ]
            self._accumulate(m, column, dots)
        return m

    def _packed_dots(self, m: Module, column: int, a: Sequence[Value], w: Sequence[Value]) -> list[list[Value]]:
        """The groups' sums of either token, parted."""
        # Half a field on top makes the low field non-negative: nothing is ever borrowed from the high one, and
        # inverting its top bit takes the half off again. The constant rides on the multiplier's own adder.
        sums = self._groups(m, f"{column}", a, w, CHAIN, 1 << FIELD - 1)
        low: list[Value] = [Cat(total[: FIELD - 1], ~total[FIELD - 1]).as_signed() for total in sums]
        return [low, [total[FIELD:].as_signed() for total in sums]]

    @staticmethod
    def _groups(m: Module, name: str, a: Sequence[Value], w: Sequence[Value], bits: int, start: int) -> list[Value]:
        """Sums of products of each group along its chain, that begins with `start`."""
        sums: list[Value] = []
        chain: Value | int = start
        for lane, (left, right) in enumerate(zip(a, w, strict=True)):
            product = Signal(signed(len(left) + len(right)), name=f"m{name}_{lane}", reset_less=True)
            total = Signal(signed(bits), name=f"p{name}_{lane}", reset_less=True)
            m.d.sync += [product.eq(left * right), total.eq(product + (start if lane % GROUP == 0 else chain))]
            chain = total
            if lane % GROUP == GROUP - 1 or lane == len(a) - 1:
                sums.append(total)
        return sums

    def _accumulate(self, m: Module, column: int, dots: Sequence[Sequence[Value]]) -> None:
        """Accumulators and shadow registers of both tokens."""
        for token, groups in enumerate(dots):
            dot_sum = _tree(groups)
            dot = Signal(signed(len(dot_sum)), name=f"dot{token}_{column}", reset_less=True)
            acc = Signal(signed(ACC_BITS), name=f"acc{token}_{column}", reset_less=True)
            shadow = self.shadow[token][column]
            m.d.sync += dot.eq(dot_sum)
            with m.If(self.enable):
                m.d.sync += acc.eq(Mux(self.first, 0, acc) + dot)
            with m.If(self.capture):
                m.d.sync += shadow.eq(acc)
            if token == 0:
                following: Value | None = self.shadow[1][column]
            else:
                following = None if self.below is None else self.below[column]
            if following is not None:
                with m.Elif(self.shift):
                    m.d.sync += shadow.eq(following)


def _skewed(m: Module, operand: Signal, lane: int, lanes: int) -> Signal:
    """`operand` as late as its place in the chain of a group asks; the last place is the same for all K."""
    for stage in range(lane % GROUP + max(0, GROUP - lanes)):
        delayed = Signal(operand.shape(), name=f"{operand.name}_d{stage + 1}", reset_less=True)
        m.d.sync += delayed.eq(operand)
        operand = delayed
    return operand


class ComputeArray(wiring.Component):
    """T rows (tokens) x C columns of int32 accumulators, K products each per step.

    A step is a cycle with `valid`: accumulator (t, c) adds the sum over l of a[t][l] * b[c][l], or starts anew with
    it if `first`. Operands are flat, lane 0 of row (column) 0 lowest: `a` [T][K] 9-bit signed from -255 to 255 (-256 is
    illegal), `b` [C][K] int8. A step may be `first` and `last`; other cycles change nothing.

    LATENCY cycles after a `last` step, `captured` pulses, and in that very cycle `row` shows row 0 of the finished sums
    (int32, column 0 lowest). In the cycle after each `shift`, `row` shows the next row; without, it holds. The next
    capture replaces whatever is left, shift or not: `last` steps at least T cycles apart leave time for all rows.
    What further shifts bring after row T-1 is undefined.

    Sums are exact while their products' magnitudes add up to less than 2^31, that is for up to 65,793 input channels;
    beyond, they wrap.

    With `packed` two tokens share a multiplier of 27 bits: ((a1 << 18) + a0) * w holds both products. Groups of up to
    four are summed along a chain of multiplier, register, adder, register, which is the cascade of DSP slices, each
    lane a cycle after the one before.
    """

    #: Operand register; three cycles of skew and a chain of product and sum; groups' sum; accumulator; shadow.
    LATENCY: ClassVar[int] = 1 + (GROUP - 1) + 2 + 3

    def __init__(self, *, t: int, c: int, k: int, packed: bool = True) -> None:
        for name, value, low in (("t", t, 2), ("c", c, 1), ("k", k, 1)):
            if value < low or value & (value - 1):
                raise ValueError(f"{name} must be a power of two of at least {low}, not {value!r}")
        self.t, self.c, self.k, self.packed = t, c, k, packed
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "a": In(t * k * A_BITS),
                "b": In(c * k * B_BITS),
                "captured": Out(1),
                "row": Out(c * ACC_BITS),
                "shift": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Control runs beside the data: stage i is i + 1 cycles after the step.
        valid = Signal(self.LATENCY - 1)
        first = Signal(self.LATENCY - 2, reset_less=True)
        last = Signal(self.LATENCY - 1, reset_less=True)
        m.d.sync += [
            valid.eq(Cat(self.valid, valid)),
            first.eq(Cat(self.first, first)),
            last.eq(Cat(self.last, last)),
        ]
        accumulate = Signal()
        capture = Signal()
        m.d.comb += [accumulate.eq(valid[-2]), capture.eq(valid[-1] & last[-1])]
        m.d.sync += self.captured.eq(capture)

        columns = []
        for column in range(self.c):
            lanes = []
            for lane in range(self.k):
                stage = Signal(signed(B_BITS), name=f"b{column}_{lane}", reset_less=True)
                m.d.sync += stage.eq(self.b.word_select(column * self.k + lane, B_BITS))
                lanes.append(_skewed(m, stage, lane, self.k))
            columns.append(lanes)

        def row_lanes(row: int) -> list[Value]:
            return [self.a.word_select(row * self.k + lane, A_BITS).as_signed() for lane in range(self.k)]

        pairs = [
            _RowPair(
                a0=row_lanes(2 * i),
                a1=row_lanes(2 * i + 1),
                b=columns,
                enable=accumulate,
                first=first[-1],
                capture=capture,
                shift=self.shift,
                packed=self.packed,
            )
            for i in range(self.t // 2)
        ]
        for i, pair in enumerate(pairs):
            if i + 1 < len(pairs):
                pair.below = pairs[i + 1].shadow[0]
            m.submodules[f"pair{i}"] = pair
        m.d.comb += self.row.eq(Cat(*pairs[0].shadow[0]))
        return m
