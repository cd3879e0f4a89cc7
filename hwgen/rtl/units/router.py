"""Mixture-of-experts gate: logits → top-k experts of each token, gate weights, a queue of tokens per expert."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from hwgen.machine.params import HwParams
from hwgen.machine.tables import GATE_EXP
from hwgen.rtl.arithmetic.divider import SerialDivider
from hwgen.rtl.arithmetic.exponent import lookup
from hwgen.rtl.arithmetic.product import PRODUCT_LATENCY, product
from hwgen.rtl.arithmetic.rounding import rounded_shift
from hwgen.rtl.common.ports import WEIGHT_BITS, logit_write, queue_read
from hwgen.rtl.common.ram import Ram

__all__ = ["Router"]

# Cycles after the issue of the last expert in which a token's row of exponentials is summed up.
_SCAN_TAIL = 6


class Router(wiring.Component):
    """Logits in, queues out. Three tokens are in work at a time: one has its logits ranked, one its exponentials
    summed, one its weights divided; all advance together, at least every max(experts + 6, topk + 18) cycles.

    `logits`: `row` (< max_tokens), `word` (C experts), `data` C×int24; at any time, but while `busy` not of rows
    row_begin .. row_end - 1 (the logits' RAM has a port for writes alone). Lanes beyond max_experts are dropped.

    Command: pulse `start`; `row_begin`, `row_end`, `experts`, `topk`, `renormalize`, `append` stay stable until the
    pulse `done`. Clears all counts unless `append`, then appends each token of row_begin .. row_end - 1, in order, to
    the queues of its `topk` largest logits, ties to the lower index. With no rows or no experts that is all. `topk` 0
    appends nothing, `topk` beyond `experts` or max_topk acts as the smaller of these; `experts` beyond max_experts,
    rows beyond max_tokens, a queue of more than max_tokens and a `start` while `busy` are illegal.

    `queue`, not while `busy`: `en`, `expert`, `index`, then `token`, `weight` (0..65536) QUEUE_LATENCY cycles later,
    held until the next `en`. `count` of `count_expert` and `nonempty` (a bit per expert) are
    combinational; they are 0 after reset.

    In the logits' RAM a word has min(C, max_experts) experts, and a row's words begin 2^n apart, the next power of two.
    In the queues' RAM, entry `index` of an expert has the address expert << ceil_log2(max_tokens) | index; its word is
    the token (row_bits), then the weight (WEIGHT_BITS).
    """

    QUEUE_LATENCY = 1

    def __init__(self, p: HwParams) -> None:
        self.p = p
        # The last experts of a matmul's tile are padding when C does not divide the number of experts.
        self.lanes = min(p.c, p.max_experts)
        self.words = -(-p.max_experts // p.c)
        self.expert_bits = ceil_log2(p.max_experts)
        super().__init__(
            {
                "logits": In(logit_write(p)),
                "start": In(1),
                "row_begin": In(p.row_bits),
                "row_end": In(p.row_bits),
                "experts": In(bits_for(p.max_experts)),
                "topk": In(bits_for(p.max_topk)),
                "renormalize": In(1),
                "append": In(1),
                "busy": Out(1),
                "done": Out(1),
                "queue": In(queue_read(p)),
                "count_expert": In(self.expert_bits),
                "count": Out(p.row_bits),
                "nonempty": Out(p.max_experts),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tick = Signal(range(self.p.max_experts + _SCAN_TAIL))
        expert = tick[: self.expert_bits]
        rank, add, divide = Signal(), Signal(), Signal()  # whether each of the three stages holds a token
        rank_row, add_row, divide_row = (
            Signal(self.p.row_bits, name=f"{stage}_row", reset_less=True) for stage in ("rank", "add", "divide")
        )
        divide_idle, ready, advance, issue = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            issue.eq(tick < self.experts),
            advance.eq(self.busy & ready & divide_idle),
        ]
        before = Signal(tick.shape())  # the tick in front of that in which all is known
        m.d.sync += [self.done.eq(0), before.eq(self.experts + (_SCAN_TAIL - 2))]
        next_row = Signal(self.p.row_bits)
        m.d.comb += next_row.eq(rank_row + 1)
        with m.If(self.start):
            m.d.sync += [tick.eq(0), ready.eq(0), rank_row.eq(self.row_begin), add.eq(0), divide.eq(0)]
            with m.If((self.row_begin < self.row_end) & (self.experts != 0)):
                m.d.sync += [self.busy.eq(1), rank.eq(1)]
            with m.Else():
                m.d.sync += [self.done.eq(1), rank.eq(0)]
        with m.Elif(advance):
            m.d.sync += [
                tick.eq(0),
                ready.eq(0),
                rank.eq(rank & (next_row != self.row_end)),
                rank_row.eq(next_row),
                add.eq(rank),
                add_row.eq(rank_row),
                divide.eq(add),
                divide_row.eq(add_row),
            ]
            with m.If(~rank & ~add):
                m.d.sync += [self.busy.eq(0), self.done.eq(1)]
        with m.Elif(self.busy & ~ready):
            m.d.sync += [tick.eq(tick + 1), ready.eq(tick == before)]

        logit = self._logits(m, rank & issue & self.busy, rank_row, expert)
        # A token's logits wait here for their second pass: expert e is read in tick e, replaced in tick e + 2.
        m.submodules.line = line = Ram(width=24, depth=self.p.max_experts)
        ranked = _delay(m, rank & issue & self.busy, 2, "ranked")
        ranked_expert = _delay(m, expert, 2, "ranked_expert")
        m.d.comb += [
            line.w_en.eq(ranked),
            line.w_addr.eq(ranked_expert),
            line.w_data.eq(logit),
            line.r_en.eq(add & issue & self.busy),
            line.r_addr.eq(expert),
        ]
        winners = self._rank(m, ranked, ranked_expert, logit)
        den, won, won_count = self._add(m, line.r_data, add & issue & self.busy, expert, winners, advance)
        self._divide(m, advance, add, divide_row, den, won, won_count, divide_idle)
        return m

    def _logits(self, m: Module, enable: Value, row: Value, expert: Value) -> Value:
        """The logit of `expert` of `row`, two cycles later."""
        word_bits, row_bits = ceil_log2(self.words), ceil_log2(self.p.max_tokens)
        lane_bits = self.expert_bits - word_bits if self.words == 1 else ceil_log2(self.p.c)
        m.submodules.logits = logits = Ram(width=24 * self.lanes, depth=self.p.max_tokens << word_bits)
        m.d.comb += [
            logits.w_en.eq(self.logits.en),
            logits.w_addr.eq(Cat(self.logits.word[:word_bits], self.logits.row[:row_bits])),
            logits.w_data.eq(self.logits.data[: 24 * self.lanes]),
            logits.r_en.eq(enable),
            logits.r_addr.eq(Cat(expert[lane_bits:], row[:row_bits])),
        ]
        lane = _delay(m, expert[:lane_bits], 1, "lane")
        logit = Signal(signed(24), reset_less=True)
        m.d.sync += logit.eq(logits.r_data.word_select(lane, 24) if self.lanes > 1 else logits.r_data)
        return logit

    def _rank(self, m: Module, enable: Value, expert: Value, logit: Value) -> list[tuple[Value, Value, Value]]:
        """The max_topk largest logits so far, in descending order: (valid, logit, expert). Each beat inserts one."""
        first = Signal()
        m.d.comb += first.eq(expert == 0)
        entries = []
        for place in range(self.p.max_topk):
            valid = Signal(name=f"ranked{place}_valid", reset_less=True)
            value = Signal(signed(24), name=f"ranked{place}_logit", reset_less=True)
            index = Signal(self.expert_bits, name=f"ranked{place}_expert", reset_less=True)
            entries.append((valid, value, index))
        above: Value | None = None
        for place, (valid, value, index) in enumerate(entries):
            # Experts come in ascending order, so an equal logit stays below those that were there before.
            replace = Signal(name=f"replace{place}")
            m.d.comb += replace.eq(first | ~valid | (logit > value))
            with m.If(enable & replace):
                if above is None:
                    m.d.sync += [valid.eq(1), value.eq(logit), index.eq(expert)]
                else:
                    previous = entries[place - 1]
                    m.d.sync += [
                        valid.eq(Mux(above, previous[0] & ~first, 1)),
                        value.eq(Mux(above, previous[1], logit)),
                        index.eq(Mux(above, previous[2], expert)),
                    ]
            above = replace
        return list(entries)

    def _add(
        self,
        m: Module,
        logit: Value,
        enable: Value,
        expert: Value,
        ranked: list[tuple[Value, Value, Value]],
        advance: Value,
    ) -> tuple[Value, list[tuple[Value, Value]], Value]:
        """Exponentials of all experts of a token: their sum, and (expert, p) of the winners in order of the experts."""
        p = self.p
        maximum = Signal(signed(24), reset_less=True)
        m.d.sync += maximum.eq(Mux(advance, ranked[0][1], maximum))
        matches = []
        for place, (valid, _, index) in enumerate(ranked):
            winner = Signal(self.expert_bits, name=f"winner{place}", reset_less=True)
            winner_valid = Signal(name=f"winner{place}_valid", reset_less=True)
            with m.If(advance):
                m.d.sync += [winner.eq(index), winner_valid.eq(valid & (place < self.topk))]
            matches.append(winner_valid & (winner == expert))
        wins = _delay(m, Cat(*matches).any(), 5, "wins")
        added = _delay(m, enable, 5, "added")
        added_expert = _delay(m, expert, 5, "added_expert")
        # A logit never exceeds the maximum: the difference is exact modulo 2^24.
        below = Signal(24, reset_less=True)
        u = Signal(17, reset_less=True)
        value = Signal(16, reset_less=True)
        amount = Signal(5, reset_less=True)
        power = Signal(16, reset_less=True)
        rounded = Signal(25)
        m.d.comb += rounded.eq(below + 128)
        m.d.sync += [
            below.eq(maximum - logit.as_signed()),
            u.eq(rounded[8:]),
            value.eq(lookup(GATE_EXP, u[:8])),
            amount.eq(u[8:13] | u[13:].any().replicate(5)),  # 31 or more: nothing is left
            power.eq(rounded_shift(m, value, amount, "doubled")),
        ]
        den = Signal(bits_for(65535 * p.max_experts), reset_less=True)
        won_count = Signal(range(p.max_topk + 1), reset_less=True)
        won: list[tuple[Value, Value]] = []
        for place in range(p.max_topk):
            won_expert = Signal(self.expert_bits, name=f"won{place}_expert", reset_less=True)
            won_power = Signal(16, name=f"won{place}_power", reset_less=True)
            with m.If(added & wins & (won_count == place)):
                m.d.sync += [won_expert.eq(added_expert), won_power.eq(power)]
            won.append((won_expert, won_power))
        with m.If(advance):
            m.d.sync += [den.eq(0), won_count.eq(0)]
        with m.Elif(added):
            with m.If(wins | ~self.renormalize):
                m.d.sync += den.eq(den + power)
            with m.If(wins):
                m.d.sync += won_count.eq(won_count + 1)
        return den, won, won_count

    def _divide(
        self,
        m: Module,
        advance: Value,
        add: Value,
        row: Value,
        den: Value,
        won: list[tuple[Value, Value]],
        won_count: Value,
        idle: Signal,
    ) -> None:
        """1 / den, then a weight per cycle to the queues; `idle` when all weights of the token are written."""
        p = self.p
        m.submodules.divider = divider = SerialDivider(numerator=40, quotient_bits=25, den_bits=len(den))
        start = Signal()
        m.d.comb += [start.eq(advance & add), divider.start.eq(start), divider.den.eq(den)]
        dividing = Signal()
        left = Signal(range(p.max_topk + 1))
        emit = Signal()
        m.d.comb += emit.eq(~dividing & (left != 0))
        waiting = [
            (Signal(self.expert_bits, name=f"out{place}_expert", reset_less=True),
             Signal(16, name=f"out{place}_power", reset_less=True))
            for place in range(p.max_topk)
        ]  # fmt: skip
        for place, entry in enumerate(waiting):
            following = waiting[place + 1] if place + 1 < p.max_topk else entry
            with m.If(start):
                m.d.sync += [signal.eq(source) for signal, source in zip(entry, won[place], strict=True)]
            with m.Elif(emit):
                m.d.sync += [signal.eq(source) for signal, source in zip(entry, following, strict=True)]
        with m.If(start):
            m.d.sync += [dividing.eq(1), left.eq(won_count)]
        with m.Else():
            with m.If(divider.done):
                m.d.sync += dividing.eq(0)
            with m.If(emit):
                m.d.sync += left.eq(left - 1)

        counts = [Signal(p.row_bits, name=f"count{expert}") for expert in range(p.max_experts)]
        expert, power = waiting[0]
        for number, count in enumerate(counts):
            with m.If(self.start & ~self.append):
                m.d.sync += count.eq(0)
            with m.Elif(emit & (expert == number)):
                m.d.sync += count.eq(count + 1)
        index_bits = ceil_log2(p.max_tokens)
        weight = Signal(WEIGHT_BITS, reset_less=True)
        index = Signal(index_bits, reset_less=True)
        scaled = product(m, divider.quotient, power, wide=p.multiplier_bits, name="product")
        m.d.sync += [
            weight.eq((scaled + (1 << 23)) >> 24),
            index.eq(Cat(*counts).word_select(expert, p.row_bits)),
        ]
        weighed = PRODUCT_LATENCY + 1
        emitted = _delay(m, emit, weighed, "emitted")
        pending = Cat(_delay(m, emit, cycles, f"pending{cycles}") for cycles in range(1, weighed))
        m.d.comb += idle.eq(~dividing & (left == 0) & ~pending.any() & ~emitted)
        m.submodules.queue = queue = Ram(width=p.row_bits + WEIGHT_BITS, depth=p.max_experts << index_bits)
        m.d.comb += [
            queue.w_en.eq(emitted),
            queue.w_addr.eq(Cat(_delay(m, index, weighed - 1, "index"), _delay(m, expert, weighed, "emitted_expert"))),
            queue.w_data.eq(Cat(row, weight)),
            queue.r_en.eq(self.queue.en),
            queue.r_addr.eq(Cat(self.queue.index[:index_bits], self.queue.expert)),
            Cat(self.queue.token, self.queue.weight).eq(queue.r_data),
            self.count.eq(Cat(*counts).word_select(self.count_expert, p.row_bits)),
            self.nonempty.eq(Cat(*(count != 0 for count in counts))),
        ]
        # No hardware reads this RAM, so synthesis removes it; simulation finds the counts in its word 0.
        m.submodules.counts = shown = Ram(width=p.max_experts * p.row_bits, depth=1)
        m.d.comb += [shown.w_en.eq(1), shown.w_data.eq(Cat(*counts))]


def _delay(m: Module, value: Value, cycles: int, name: str) -> Value:
    for stage in range(cycles):
        register = Signal(len(value), name=f"{name}_{stage}")
        m.d.sync += register.eq(value)
        value = register
    return value
