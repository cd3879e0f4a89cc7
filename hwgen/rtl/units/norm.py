"""LayerNorm, RMSNorm and rescale: residual stream X (int16) → operand rows Y (nine bits), one C-word per cycle."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.arithmetic.product import PRODUCT_LATENCY, product
from hwgen.rtl.arithmetic.rounding import saturated_half
from hwgen.rtl.arithmetic.rsqrt import Rsqrt
from hwgen.rtl.common.ports import OPERAND_BITS, row_write, table_write, word_read
from hwgen.rtl.common.ram import Ram

__all__ = ["Norm"]


def statistics_latency(channels: int) -> int:
    """Cycles from a row's last word in `x_in` to the start of its pass: squares, tree, sums, D·Σx², (Σx)², V, root;
    D·y1 and S·y1, needed a cycle after the start."""
    return 1 + ceil_log2(channels) + 1 + PRODUCT_LATENCY + 2 + Rsqrt.LATENCY + PRODUCT_LATENCY - 1


class Norm(wiring.Component):
    """NORM: rows row_begin..row_end-1 of X, `tiles` C-words each, to the same rows of Y.

    `start` is a pulse with all command inputs valid; they stay stable until `done`. `a_base` is X's word of row
    row_begin, `d_base` Y's of row 0. tiles must be 1..p.norm_depth, `dim` at most tiles·C and 2047 (V < 2^52). Channels
    beyond `dim` must be zero in X, their gamma and beta zero. `statistics` low: rescale. `rms`, if the parameters say
    `rms_norm`: the sum of a row counts as zero.

    `x.data` comes READ_LATENCY cycles after `x.en`, which is low in the cycle after `x_hold`. A row's words wait in a
    delay line until its sums are complete and its reciprocal root is known, which takes the same L cycles after its
    last word for every row. Its pass takes `tiles` cycles, and reads need no flow control however X is held: at most a
    word arrives per cycle, so last words are at least `tiles` cycles apart and a pass ends before the next one begins.
    What it reads has arrived L cycles earlier at the latest. The line never holds more than tiles + L words: when word
    j of a row is read there are tiles - j of that row, and what is behind it arrived in the L + j cycles since its end.

    A command takes about (rows + 1)·tiles + statistics_latency + 20 cycles and the held ones.

    Parameters: the table has two halves of norm_words words of C channels; `half` names the one in use. `affine`
    writes C int16 to `addr` = {half, word, plane}; planes of a word: 0, 1 the low and high halves of
    beta (int32), 2 gamma (int16), 3 nothing. The half not in use may be written at any time.
    """

    MAX_DIM = 2047
    READ_LATENCY = 2
    PIPELINE = 11  #: from the word leaving the delay line's address to `y.en`

    def __init__(self, p: HwParams) -> None:
        self.p = p
        self.dim_max = min(p.norm_depth * p.c, self.MAX_DIM)
        self.levels = ceil_log2(p.c)
        self.statistics_latency = statistics_latency(p.c)
        self.norm_words = 1 << ceil_log2(p.norm_depth)
        super().__init__(
            {
                "start": In(1),
                "statistics": In(1),
                **({"rms": In(1)} if p.rms_norm else {}),
                "half": In(1),
                "a_base": In(16),
                "a_stride": In(16),
                "row_begin": In(16),
                "row_end": In(16),
                "tiles": In(16),
                "d_base": In(16),
                "d_stride": In(16),
                "shift": In(5),
                "dim": In(16),
                "eps": In(48),
                "busy": Out(1),
                "done": Out(1),
                "affine": In(table_write(p)),
                "x_hold": In(1),
                "x": Out(word_read(depth=p.x_depth, width=16 * p.c)),
                "y": Out(row_write(banks=p.t, parts=p.word // p.c, depth=p.y_depth, width=OPERAND_BITS * p.c)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._parameters(m)
        x_valid, x_first, x_last = self._read(m)
        x_in = Signal(16 * self.p.c, reset_less=True)
        en, first, last = (Signal(name=f"in_{name}") for name in ("valid", "first", "last"))
        m.d.sync += [x_in.eq(self.x.data), en.eq(x_valid), first.eq(x_first), last.eq(x_last)]
        go, factor, offset, right = self._statistics(m, x_in, en, first, last)
        out_valid, out_last = self._normalise(m, x_in, en, go, factor, offset, right)
        self._write(m, out_valid, out_last)
        return m

    def _delay(self, m: Module, value: Value, cycles: int, name: str, *, reset: bool = False) -> Value:
        for i in range(cycles):
            copy = Signal(value.shape(), reset_less=not reset, name=f"{name}_d{i}")
            m.d.sync += copy.eq(value)
            value = copy
        return value

    def _register(self, m: Module, value: Value, shape: ShapeLike, name: str) -> Signal:
        register = Signal(shape, reset_less=True, name=name)
        m.d.sync += register.eq(value)
        return register

    def _parameters(self, m: Module) -> None:
        """The table: beta's low halves, its high halves and gamma side by side, each its own write."""
        planes, width = 3, 16 * self.p.c
        self.parameters = m.submodules.parameters = Ram(width=planes * width, depth=2 * self.norm_words, grain=width)
        m.d.comb += [
            self.parameters.w_en.eq(self.affine.en << self.affine.addr[:2]),
            self.parameters.w_addr.eq(self.affine.addr[2:]),
            self.parameters.w_data.eq(Cat(*[self.affine.data] * planes)),
        ]

    def _read(self, m: Module) -> tuple[Value, Value, Value]:
        """Issues the X reads; returns valid, first and last of the word in `x_data`."""
        address, line = (Signal(self.x.addr.shape(), reset_less=True, name=name) for name in ("address", "line"))
        rows_left = Signal(16, reset_less=True)
        tiles_left = Signal(range(self.p.norm_depth + 1), reset_less=True)
        reading, issue, last = Signal(), Signal(), Signal()
        first = Signal(reset_less=True)
        m.d.comb += [issue.eq(reading & ~self.x_hold), last.eq(tiles_left == 1)]
        m.d.sync += [self.x.en.eq(issue), self.x.addr.eq(address)]
        with m.If(issue):
            m.d.sync += [address.eq(address + 1), tiles_left.eq(tiles_left - 1), first.eq(last)]
            with m.If(last):
                m.d.sync += [
                    address.eq(line),
                    line.eq(line + self.a_stride),
                    tiles_left.eq(self.tiles),
                    rows_left.eq(rows_left - 1),
                    reading.eq(rows_left != 1),
                ]
        with m.If(self.start):
            m.d.sync += [
                reading.eq(self.row_begin < self.row_end),
                address.eq(self.a_base),
                line.eq(self.a_base + self.a_stride),
                rows_left.eq(self.row_end - self.row_begin),
                tiles_left.eq(self.tiles),
                first.eq(1),
            ]
        self.empty = Signal()
        m.d.comb += self.empty.eq(self.start & (self.row_begin >= self.row_end))
        stages = 1 + self.READ_LATENCY
        return tuple(
            self._delay(m, flag, stages, f"read_{name}", reset=True)
            for name, flag in (("valid", issue), ("first", first), ("last", issue & last))
        )

    def _statistics(
        self, m: Module, x_in: Signal, en: Signal, first: Signal, last: Signal
    ) -> tuple[Value, Signal, Signal, Signal]:
        """Sums of a row, V and its root → (pass may start, D·y1, S·y1, shift beyond 6)."""
        p = self.p
        rows = self.dim_max
        lanes = [x_in.word_select(i, 16).as_signed() for i in range(p.c)]
        squares = [self._register(m, x * x, 31, f"square{i}") for i, x in enumerate(lanes)]
        values = [self._register(m, x, signed(16), f"value{i}") for i, x in enumerate(lanes)]
        for level in range(self.levels):
            squares, values = (
                [
                    self._register(m, a + b, (a + b).shape(), f"{name}_{level}_{i}")
                    for i, (a, b) in enumerate(zip(terms[::2], terms[1::2], strict=True))
                ]
                for name, terms in (("square_sum", squares), ("value_sum", values))
            )
        depth = 1 + self.levels
        sum_en, sum_first, sum_last = (
            self._delay(m, flag, depth, name, reset=True)
            for name, flag in (("sum_en", en), ("sum_first", first), ("sum_last", last))
        )
        square_total = Signal(bits_for(rows << 30), reset_less=True)
        # `keep`: Yosys would move a sum that is squared into a DSP48E1 and leave the multiplier without operands.
        value_total = Signal(signed(bits_for(rows << 15) + 1), reset_less=True, attrs={"keep": 1})
        with m.If(sum_en):
            m.d.sync += [
                square_total.eq(Mux(sum_first, 0, square_total) + squares[0]),
                value_total.eq(Mux(sum_first, 0, value_total) + values[0]),
            ]
        if p.rms_norm:
            with m.If(self.rms):
                m.d.sync += value_total.eq(0)
        dim = self.dim[: bits_for(rows)]
        wide = p.multiplier_bits
        weighted = product(m, square_total, dim, wide=wide, name="weighted")
        squared = product(m, value_total, value_total, wide=wide, name="squared")
        # in two halves, one after the other: carries of 52 bits take long
        cut = Rsqrt.V_BITS // 2
        low = self._register(m, weighted[:cut] - squared[:cut] + self.eps[:cut], signed(cut + 2), "v_low")
        high = self._register(m, weighted[cut:] - squared[cut:] + self.eps[cut:], Rsqrt.V_BITS - cut, "v_high")
        v = self._register(m, Cat(low[:cut], high + low[cut:].as_signed()), Rsqrt.V_BITS, "v")
        root = m.submodules.root = Rsqrt(multiplier_bits=wide)
        m.d.comb += [root.v.eq(v), root.valid.eq(self._delay(m, sum_last, 5, "root", reset=True))]
        total = self._delay(m, value_total, 4 + Rsqrt.LATENCY, "total")
        factor = Signal(bits_for(max(rows * Rsqrt.Y1_MAX, 64)))
        offset = Signal(signed(bits_for(rows * Rsqrt.Y1_MAX << 15) + 1))
        right = Signal(5, reset_less=True)
        m.d.comb += [
            factor.eq(product(m, dim, root.y1, wide=wide, name="d_y1")),
            offset.eq(product(m, total, root.y1, wide=wide, name="s_y1")),
        ]
        m.d.sync += right.eq(25 - self._delay(m, root.half_lz, 1, "half_lz"))
        return self._delay(m, root.out_valid, PRODUCT_LATENCY - 1, "go", reset=True), factor, offset, right

    def _normalise(
        self, m: Module, x_in: Signal, en: Signal, go: Value, factor: Signal, offset: Signal, right: Signal
    ) -> tuple[Value, Value]:
        """The pass over a row in the delay line → `y.data`; returns the flags of the word one cycle before `y.en`."""
        p = self.p
        depth = 1 << ceil_log2(p.norm_depth + self.statistics_latency + 4)
        line = m.submodules.line = Ram(width=16 * p.c, depth=depth)
        fill, drain = Signal(range(depth)), Signal(range(depth))
        word_bits = ceil_log2(p.norm_depth + 1)
        following, word, tiles_left, others = (
            Signal(word_bits, reset_less=True, name=name) for name in ("following", "word", "tiles_left", "others")
        )
        active, issue, first, last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            word.eq(Mux(go, 0, following)),
            issue.eq(go | active),
            first.eq(go),
            last.eq(Mux(go, others == 0, active & (tiles_left == 1))),
            line.w_en.eq(en),
            line.w_addr.eq(fill),
            line.w_data.eq(x_in),
            line.r_en.eq(1),
            line.r_addr.eq(drain),
        ]
        m.d.sync += [
            others.eq(self.tiles - 1),
            fill.eq(fill + en),
            drain.eq(drain + issue),
            following.eq(word + 1),
            tiles_left.eq(Mux(go, others, tiles_left - 1)),
            active.eq(issue & ~last),
        ]
        flags = [(issue, first, last)]
        for stage in range(1, self.PIPELINE):
            copy = tuple(Signal(name=f"{n}{stage}") for n in ("pass_valid", "pass_first", "pass_last"))
            m.d.sync += [now.eq(before) for now, before in zip(copy, flags[-1], strict=True)]
            flags.append(copy)
        # the row's numbers, each loaded when its first word enters the stage that uses it
        row_factor, row_offset, row_right = (
            Signal(s.shape(), reset_less=True, name=f"row_{n}")
            for n, s in (("factor", factor), ("offset", offset), ("right", right))
        )
        with m.If(flags[1][1]):
            # rshift(64·x, 6) = x
            rescale = ~self.statistics
            m.d.sync += [
                row_factor.eq(Mux(rescale, 64, factor)),
                row_offset.eq(Mux(rescale, 0, offset)),
                row_right.eq(Mux(rescale, 0, right)),
            ]
        row_offset = self._delay(m, row_offset, PRODUCT_LATENCY, "row_offset")
        row_right = self._delay(m, row_right, PRODUCT_LATENCY + 1, "row_right")
        # gamma and beta are looked up when x has become xhat
        table_word = self._delay(m, word, PRODUCT_LATENCY + 3, "table_word")[: ceil_log2(self.norm_words)]
        m.d.comb += [self.parameters.r_en.eq(1), self.parameters.r_addr.eq(Cat(table_word, self.half))]
        affine = self._register(m, self.parameters.r_data, len(self.parameters.r_data), "affine")
        lows, highs, gammas = (affine[16 * p.c * plane :][: 16 * p.c] for plane in range(3))
        wide = signed(bits_for(self.dim_max * 65535 * Rsqrt.Y1_MAX) + 1)
        outputs = []
        for i in range(p.c):
            x = self._register(m, line.r_data.word_select(i, 16).as_signed(), signed(16), f"x{i}")
            spread = product(m, row_factor, x, wide=p.multiplier_bits, name=f"product{i}")
            centred = self._register(m, spread - row_offset, wide, f"centred{i}")
            # rshift(v, 6 + n) = ((v >> 5 >> n) + 1) >> 1
            moved = self._register(m, centred[5:].as_signed() >> row_right, signed(wide.width - 5), f"moved{i}")
            half = saturated_half(m, moved, 18, f"half{i}")
            xhat = self._register(m, half, signed(18), f"xhat{i}")
            gamma = gammas.word_select(i, 16).as_signed()
            both = Cat(lows.word_select(i, 16), highs.word_select(i, 16)).as_signed()
            beta = self._register(m, both, signed(32), f"beta{i}")
            scaled = self._register(m, xhat * gamma, signed(34), f"scaled{i}")
            biased = self._register(m, scaled + beta, signed(35), f"biased{i}")
            shifted = self._register(m, Cat(Const(0, 1), biased).as_signed() >> self.shift, signed(36), f"shifted{i}")
            half = saturated_half(m, shifted, OPERAND_BITS, f"out_half{i}", symmetric=True)
            outputs.append(self._register(m, half, signed(OPERAND_BITS), f"out{i}"))
        m.d.comb += self.y.data.eq(Cat(*outputs))
        return flags[-1][0], flags[-1][2]

    def _write(self, m: Module, valid: Value, last: Value) -> None:
        """Y address counters, `done`."""
        p = self.p
        bits = self.y.addr.shape().width
        row_log, part_log = ceil_log2(p.t), ceil_log2(p.word // p.c)
        group = Signal(bits, reset_less=True)
        step = Signal(bits, reset_less=True)
        groups = Signal(16 - row_log)
        row = Signal(row_log, reset_less=True)
        word = Signal(16, reset_less=True)
        rows_left = Signal(16, reset_less=True)
        ended = Signal()
        m.d.sync += [
            self.y.en.eq(valid),
            self.y.bank.eq(row),
            self.y.addr.eq(group + (word >> part_log)),
            self.y.sub.eq(word[:part_log]),
            ended.eq(valid & last & (rows_left == 1)),
            self.done.eq(ended | self.empty),
        ]
        with m.If(valid):
            m.d.sync += word.eq(word + 1)
            with m.If(last):
                m.d.sync += [word.eq(0), row.eq(row + 1), rows_left.eq(rows_left - 1)]
                with m.If(row.all()):
                    m.d.sync += group.eq(group + self.d_stride)
        # the stride times the groups in front of row_begin, bit by bit: the first word is more than 16 cycles away
        m.d.sync += [groups.eq(groups >> 1), step.eq(step << 1)]
        with m.If(groups[0]):
            m.d.sync += group.eq(group + step)
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += [
                self.busy.eq(1),
                group.eq(self.d_base),
                groups.eq(self.row_begin[row_log:]),
                step.eq(self.d_stride),
                row.eq(self.row_begin),
                rows_left.eq(self.row_end - self.row_begin),
                word.eq(0),
            ]
