"""Between accumulators and buffers: bias, requantization with an optional row factor, saturation, activation."""

from __future__ import annotations

from typing import ClassVar

from amaranth import Cat, Const, Elaboratable, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from hwgen.machine.isa import BY_NAME
from hwgen.machine.tables import ACTIVATION_ENTRIES
from hwgen.rtl.common.ports import OPERAND_BITS, word_write
from hwgen.rtl.common.ram import Ram

__all__ = ["Mode", "PostProcess", "requantized_row"]

ACC, MULT, SHIFT, FACTOR, OUT, ACT_SHIFT, ACT_ZERO = 32, 16, 6, 17, 24, 5, BY_NAME["act_zero"].bits

#: Split of the 33-bit sum, so that both halves' products fit 18 x 18 signed multipliers.
LOW = 17


class Mode(enum.Enum, shape=unsigned(3)):
    """What becomes of a requantized sum."""

    INT8 = 0
    INT16 = 1
    INT24 = 2
    OPERAND = 3  # saturated to -255..255
    ACTIVATION = 4  # saturated to thirteen bits; the activation function's result is an operand


#: Magnitude bits (without sign) to which a mode saturates.
MODE_BITS = {Mode.INT8: 7, Mode.INT16: 15, Mode.INT24: 23, Mode.OPERAND: 8, Mode.ACTIVATION: 12}

# Stages are named after the cycle, counted from the input, in which a register's value shows.
SUM, SCALE, CHOSEN, PARTS, PRODUCT, SHIFTED, ROUNDED, SATURATED = range(1, 9)
SPLIT, DELTA, G, SCALED, G_SHIFTED, G_SUM, FINAL = range(9, 16)
#: When what gates an activation comes: it is chosen, then multiplied.
UP = G - 2
#: What its product with the multiplier loses.
GATE_BITS = 7


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
    """One channel. `common`: what all lanes share, in the cycle of its use; `limit` is 2^bits - 1 of the mode. `up`:
    what its activation is multiplied by, in cycle UP."""

    def __init__(
        self, *, acc: Value, bias: Value, mult: Value, shift: Value, common: dict[str, Signal], up: Value | None
    ) -> None:
        self.acc, self.bias, self.mult, self.shift, self.common, self.up = acc, bias, mult, shift, common, up
        self.table = Ram(width=8, depth=ACTIVATION_ENTRIES)
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
        result = Signal(signed(OUT))
        lowest = Signal()  # -256, the one value of nine bits that is no operand
        m.d.comb += [
            result.eq(Mux(common["activates"], self._activated(m, saturated), _Pipe(m, saturated, SATURATED)[G_SUM])),
            lowest.eq(common["operand"] & result[OPERAND_BITS - 1] & ~result[: OPERAND_BITS - 1].any()),
        ]
        m.d.sync += self.out.eq(result | lowest)
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

    def _activated(self, m: Module, saturated: Signal) -> Signal:
        """The activation function of a value in [-4096, 4095], in cycle G_SUM, saturated to [-256, 255]."""
        common = self.common
        m.submodules.table = table = self.table
        h = Signal(signed(MODE_BITS[Mode.ACTIVATION] + 1))
        m.d.comb += h.eq(saturated)
        magnitude = _register(m, "magnitude", unsigned(len(h)), abs(h))
        positive = _register(m, "positive", unsigned(len(h) - 1), Mux(h < 0, 0, h))
        within = _register(m, "within", unsigned(1), magnitude < ACTIVATION_ENTRIES)
        m.d.comb += [table.r_en.eq(1), table.r_addr.eq(magnitude)]
        delta = Mux(within, table.r_data, 0)
        g = _register(m, "g", signed(len(positive) + 3), (_Pipe(m, positive, SPLIT)[DELTA] << 2) - delta)
        factor = self._factor(m)
        scaled = _register(m, "scaled", signed(len(g) + len(factor) - 1), g * factor)
        shifted = _half_up(m, "g_shifted", scaled, common["act_shift"])

        # The sum of what has one bit more than the zero point is right where that is all of the value; the low bit,
        # added to a one, carries: it rounds.
        near, beyond = shifted[: ACT_ZERO + 2].as_signed(), shifted[ACT_ZERO + 1 :]
        doubled = Signal(signed(ACT_ZERO + 3))
        m.d.comb += doubled.eq(near + Cat(1, common["act_zero"]).as_signed())
        g_sum = doubled[1:]
        far, negative = Signal(), Signal()
        m.d.comb += [far.eq(beyond.any() & ~beyond.all()), negative.eq(Mux(far, shifted[-1], g_sum[-1]))]
        top = g_sum[OPERAND_BITS - 1 :]
        bound = Cat((~negative).replicate(OPERAND_BITS - 1), negative)
        activated = Mux(far | (top.any() & ~top.all()), bound, g_sum[:OPERAND_BITS])
        return _register(m, "activated", signed(OPERAND_BITS), activated.as_signed())


    def _factor(self, m: Module) -> Value:
        """By what g is multiplied, in cycle G: the multiplier, or (what gates · it) >> 7. Nothing gates with 128."""
        if self.up is None:
            factor = Signal(signed(MULT + 1))
            m.d.comb += factor.eq(self.common["act_mult"])
            return factor
        neutral = Const(1 << GATE_BITS, signed(OPERAND_BITS))
        gate = _register(m, "gate", signed(OPERAND_BITS), Mux(self.common["gated"], self.up.as_signed(), neutral))
        product = gate * Cat(self.common["act_mult_before"], Const(0, 1)).as_signed()
        # An operand is no less than -256: the product has a bit less than both factors' together.
        return _register(m, "gate_factor", signed(len(product) - 1), product)[GATE_BITS:].as_signed()


def _widened(limit: Value, bits: int) -> Value:
    """An unsigned value in exactly `bits` bits, so that inverting it inverts all of them."""
    return limit[:bits] if len(limit) >= bits else (limit | Const(0, bits))


def requantized_row(*, c: int, gated: bool = False) -> wiring.Signature:
    """A row's C sums and what is to be done with them; vectors are flat, channel 0 lowest. With `gated` one bit more:
    whether `PostProcess.up` counts."""
    vectors = {"acc": Out(c * ACC), "bias": Out(c * ACC), "mult": Out(c * MULT), "shift": Out(c * SHIFT)}
    factor = {"use_factor": Out(1), "factor": Out(FACTOR)}
    act = {"act_mult": Out(MULT), "act_shift": Out(ACT_SHIFT), "act_zero": Out(ACT_ZERO)}
    gate = {"gated": Out(1)} if gated else {}
    return wiring.Signature({"valid": Out(1), "mode": Out(Mode)} | vectors | factor | act | gate)


class PostProcess(wiring.Component):
    """Requantizes one row of C sums per cycle (`row`), as `docs/numerics.md` says; it may change every cycle.

    rshift((acc + bias) * M', shift), M' = factor * mult >> 16 if `use_factor`, else mult; then saturated as `mode`
    says. ACTIVATION is 4 * max(h, 0) - table[|h|] of the value h clamped to [-4096, 4095], nothing taken away for |h|
    from 1024 on, rescaled by `act_*`. `out` [C] of 24 bits, signed, channel 0 lowest, shows LATENCY cycles after its
    inputs, with `out_valid`, whatever the mode. It never stalls. Shifts from 0 to 63 are exact.
    With `gated` what is rescaled may be multiplied by `up` (-255..255 each), which shows UP cycles behind its row:
    `act_mult` is then (up * act_mult) >> 7.

    `table` must not be written while ACTIVATION rows are under way.
    """

    LATENCY: ClassVar[int] = FINAL
    UP: ClassVar[int] = UP

    def __init__(self, *, c: int, gated: bool = False) -> None:
        self.c, self.gated = c, gated
        super().__init__(
            {
                "row": In(requantized_row(c=c, gated=gated)),
                "table": In(word_write(depth=ACTIVATION_ENTRIES, width=8)),
                "out_valid": Out(1),
                "out": Out(c * OUT),
            }
            | ({"up": In(c * OPERAND_BITS)} if gated else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row = self.row
        valid = Signal(self.LATENCY)
        m.d.sync += valid.eq(valid << 1 | row.valid)
        m.d.comb += self.out_valid.eq(valid[-1])
        limit = Signal(max(MODE_BITS.values()))
        with m.Switch(row.mode):
            for mode, bits in MODE_BITS.items():
                with m.Case(mode):
                    m.d.comb += limit.eq((1 << bits) - 1)
        activates, operand = Signal(), Signal()
        m.d.comb += [activates.eq(row.mode == Mode.ACTIVATION), operand.eq(activates | (row.mode == Mode.OPERAND))]
        common = {
            "factor": _Pipe(m, row.factor, 0)[SUM],
            "use_factor": _Pipe(m, row.use_factor, 0)[SCALE],
            "limit": _Pipe(m, limit, 0)[ROUNDED],
            "act_mult": _Pipe(m, row.act_mult, 0)[G],
            **self._gate(m),
            "act_shift": _Pipe(m, row.act_shift, 0)[SCALED],
            "act_zero": _Pipe(m, row.act_zero, 0)[G_SHIFTED],
            "activates": _Pipe(m, activates, 0)[G_SUM],
            "operand": _Pipe(m, operand, 0)[G_SUM],
        }
        outputs = []
        for channel in range(self.c):
            lane = _Lane(
                acc=row.acc.word_select(channel, ACC),
                bias=row.bias.word_select(channel, ACC),
                mult=row.mult.word_select(channel, MULT),
                shift=row.shift.word_select(channel, SHIFT),
                common=common,
                up=self.up.word_select(channel, OPERAND_BITS) if self.gated else None,
            )
            m.submodules[f"lane{channel}"] = lane
            m.d.comb += [
                lane.table.w_en.eq(self.table.en),
                lane.table.w_addr.eq(self.table.addr),
                lane.table.w_data.eq(self.table.data),
            ]
            outputs.append(lane.out)
        m.d.comb += self.out.eq(Cat(*outputs))
        return m

    def _gate(self, m: Module) -> dict[str, Signal]:
        if not self.gated:
            return {}
        row = self.row
        return {"gated": _Pipe(m, row.gated, 0)[UP], "act_mult_before": _Pipe(m, row.act_mult, 0)[UP + 1]}
