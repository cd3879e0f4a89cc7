"""Between accumulators and buffers: bias, requantization with an optional row factor, saturation, GELU."""

from __future__ import annotations

from typing import ClassVar

from amaranth import Cat, Const, Elaboratable, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.tables import GELU

__all__ = ["PostProcess", "requantized_row"]

ACC, MULT, SHIFT, FACTOR, OUT, GELU_SHIFT = 32, 16, 6, 17, 24, 5

#: Split of the 33-bit sum, so that both halves' products fit 18 x 18 signed multipliers.
LOW = 17

MODE_GELU = 3
#: Magnitude bits (without sign) of the result of modes sat8, sat16, sat24 and, before its table, GELU.
MODE_BITS = (7, 15, 23, 9)

# Stages are named after the cycle, counted from the input, in which a register's value shows.
SUM, SCALE, CHOSEN, PARTS, PRODUCT, SHIFTED, ROUNDED, SATURATED = range(1, 9)
SPLIT, DELTA, GELU_G, SCALED, G_SHIFTED, G_SUM, FINAL = range(9, 16)


class _Pipe:
    """Registers `value` shows in, by cycle: `pipe[n]` is the value `n - start` cycles later. Made on demand."""

    def __init__(self, m: Module, value: Signal, start: int) -> None:
        self._m, self._start, self._stages = m, start, [value]

    def __getitem__(self, cycle: int) -> Signal:
        while len(self._stages) <= cycle - self._start:
            previous = self._stages[-1]
            name = f"{self._stages[0].name}_{self._start + len(self._stages)}"
            stage = Signal(previous.shape(), name=name, reset_less=True)
            self._m.d.sync += stage.eq(previous)
            self._stages.append(stage)
        return self._stages[cycle - self._start]


def _half_up(m: Module, name: str, value: Value, amount: Value) -> Signal:
    """`2 * value >> amount`, registered. `rshift(value, amount)` is this, plus one, halved: also for an amount of 0."""
    doubled = Signal(signed(len(value) + 1), name=f"{name}_doubled")
    shifted = Signal(doubled.shape(), name=name, reset_less=True)
    m.d.comb += doubled.eq(value << 1)
    m.d.sync += shifted.eq(doubled >> amount)
    return shifted


def _register(m: Module, name: str, shape: Shape, value: Value) -> Signal:
    register = Signal(shape, name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


class _Lane(Elaboratable):
    """One channel. `common`: what all lanes share, in the cycle of its use; `limit` is 2^bits - 1 of the mode."""

    def __init__(self, *, acc: Value, bias: Value, mult: Value, shift: Value, common: dict[str, Signal]) -> None:
        self.acc, self.bias, self.mult, self.shift, self.common = acc, bias, mult, shift, common
        self.out = Signal(signed(OUT), reset_less=True)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        common = self.common
        total = _register(m, "sum", signed(ACC + 1), self.acc.as_signed() + self.bias.as_signed())
        mult = _Pipe(m, _register(m, "mult", unsigned(MULT), self.mult), SUM)
        amount = _Pipe(m, _register(m, "shift", unsigned(SHIFT), self.shift), SUM)
        scale = _register(m, "scale", unsigned(FACTOR + MULT), common["factor"] * mult[SUM])
        chosen = _register(m, "chosen", unsigned(FACTOR), Mux(common["use_factor"], scale >> MULT, mult[SCALE]))
        addend = _Pipe(m, total, SUM)[CHOSEN]
        factor = Signal(signed(FACTOR + 1))
        low, high = Signal(signed(LOW + 1)), Signal(signed(ACC + 1 - LOW))
        m.d.comb += [factor.eq(chosen), low.eq(addend[:LOW]), high.eq(addend[LOW:])]
        low_part = _register(m, "low_part", signed(LOW + FACTOR + 1), low * factor)
        high_part = _register(m, "high_part", signed(len(high) + FACTOR), high * factor)
        product = _register(m, "product", signed(ACC + 1 + FACTOR), (high_part << LOW) + low_part)
        shifted = _half_up(m, "shifted", product, amount[PRODUCT])

        # One bit more than the widest result is enough to decide on saturation after rounding.
        whole = Signal(signed(len(shifted) - 1))
        m.d.comb += whole.eq(shifted[1:])
        clamped = self._clamp(m, "whole", whole, Const((1 << OUT) - 1, OUT), OUT + 1)
        rounded = _register(m, "rounded", signed(OUT + 2), clamped + shifted[0])
        clamped = self._clamp(m, "rounded", rounded, common["limit"], OUT)
        saturated = _register(m, "saturated", signed(OUT), clamped)
        activated = self._gelu(m, saturated)
        m.d.sync += self.out.eq(Mux(common["mode"] == MODE_GELU, activated, _Pipe(m, saturated, SATURATED)[G_SUM]))
        return m

    @staticmethod
    def _clamp(m: Module, name: str, value: Value, limit: Value, bits: int) -> Signal:
        """`value` clamped to [-limit - 1, limit], limit being 2^n - 1: bits from n on must equal the sign."""
        negative = Signal(name=f"{name}_negative")
        excess = Signal(name=f"{name}_excess")
        result = Signal(signed(bits), name=f"{name}_clamped")
        body = value[:-1] ^ negative.replicate(len(value) - 1)
        bound = Signal(signed(bits), name=f"{name}_bound")
        m.d.comb += [
            negative.eq(value[-1]),
            excess.eq((body & ~_widened(limit, len(body))).any()),
            bound.eq(Mux(negative, ~_widened(limit, bits), _widened(limit, bits))),
            result.eq(Mux(excess, bound, value)),
        ]
        return result

    def _gelu(self, m: Module, saturated: Signal) -> Signal:
        """GELU of a value in [-512, 511], in cycle FINAL - 1, saturated to 0..255."""
        common = self.common
        h = Signal(signed(MODE_BITS[MODE_GELU] + 1))
        m.d.comb += h.eq(saturated)
        magnitude = _register(m, "magnitude", unsigned(len(h)), abs(h))
        positive = _register(m, "positive", unsigned(len(h) - 1), Mux(h < 0, 0, h))
        entry = Signal(range(max(GELU) + 1))
        with m.Switch(magnitude):
            for value in sorted(set(GELU) - {0}):
                with m.Case(*(index for index, other in enumerate(GELU) if other == value)):
                    m.d.comb += entry.eq(value)
            with m.Default():
                m.d.comb += entry.eq(0)
        delta = _register(m, "delta", entry.shape(), entry)
        g_shape = signed(len(positive) + 3)
        g = _register(m, "g", g_shape, (_Pipe(m, positive, SPLIT)[DELTA] << 2) - delta)
        factor = Signal(signed(MULT + 1))
        m.d.comb += factor.eq(common["gelu_mult"])
        scaled = _register(m, "scaled", signed(len(g) + MULT), g * factor)
        shifted = _half_up(m, "g_shifted", scaled, common["gelu_shift"])
        g_sum = Signal(signed(len(shifted) + 1))
        m.d.comb += g_sum.eq((shifted >> 1) + shifted[0] + common["gelu_zero"])
        activated = Signal(8)
        m.d.comb += activated.eq(Mux(g_sum[8:].any(), 0xFF, g_sum))
        with m.If(g_sum[-1]):
            m.d.comb += activated.eq(0)
        return _register(m, "activated", unsigned(8), activated)


def _widened(limit: Value, bits: int) -> Value:
    """An unsigned value in exactly `bits` bits, so that inverting it inverts all of them."""
    return limit[:bits] if len(limit) >= bits else (limit | Const(0, bits))


def requantized_row(*, c: int) -> wiring.Signature:
    """A row's C sums and what is to be done with them; vectors are flat, channel 0 lowest."""
    vectors = {"acc": Out(c * ACC), "bias": Out(c * ACC), "mult": Out(c * MULT), "shift": Out(c * SHIFT)}
    factor = {"use_factor": Out(1), "factor": Out(FACTOR)}
    gelu = {"gelu_mult": Out(MULT), "gelu_shift": Out(GELU_SHIFT), "gelu_zero": Out(8)}
    return wiring.Signature({"valid": Out(1), "mode": Out(2)} | vectors | factor | gelu)


class PostProcess(wiring.Component):
    """Requantizes one row of C sums per cycle (`row`), as `docs/numerics.md` says; it may change every cycle.

    rshift((acc + bias) * M', shift), M' = factor * mult >> 16 if `use_factor`, else mult; then by `mode`: 0 sat8,
    1 sat16, 2 sat24, 3 GELU of the value clamped to [-512, 511], rescaled by `gelu_*` to 0..255. `out` [C] of 24 bits,
    signed, channel 0 lowest, shows LATENCY cycles after its inputs, with `out_valid`, whatever the mode. It never
    stalls. Shifts from 0 to 63 are exact.
    """

    LATENCY: ClassVar[int] = FINAL

    def __init__(self, *, c: int) -> None:
        self.c = c
        super().__init__({"row": In(requantized_row(c=c)), "out_valid": Out(1), "out": Out(c * OUT)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row = self.row
        valid = Signal(self.LATENCY)
        m.d.sync += valid.eq(valid << 1 | row.valid)
        m.d.comb += self.out_valid.eq(valid[-1])
        limit = Signal(max(MODE_BITS))
        with m.Switch(row.mode):
            for mode, bits in enumerate(MODE_BITS):
                with m.Case(mode):
                    m.d.comb += limit.eq((1 << bits) - 1)
        common = {
            "factor": _Pipe(m, row.factor, 0)[SUM],
            "use_factor": _Pipe(m, row.use_factor, 0)[SCALE],
            "limit": _Pipe(m, limit, 0)[ROUNDED],
            "gelu_mult": _Pipe(m, row.gelu_mult, 0)[GELU_G],
            "gelu_shift": _Pipe(m, row.gelu_shift, 0)[SCALED],
            "gelu_zero": _Pipe(m, row.gelu_zero, 0)[G_SHIFTED],
            "mode": _Pipe(m, row.mode, 0)[G_SUM],
        }
        outputs = []
        for channel in range(self.c):
            lane = _Lane(
                acc=row.acc.word_select(channel, ACC),
                bias=row.bias.word_select(channel, ACC),
                mult=row.mult.word_select(channel, MULT),
                shift=row.shift.word_select(channel, SHIFT),
                common=common,
            )
            m.submodules[f"lane{channel}"] = lane
            outputs.append(lane.out)
        m.d.comb += self.out.eq(Cat(*outputs))
        return m
