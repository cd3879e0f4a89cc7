"""cocotb bench of the router: several commands one after the other, against the gate of docs/numerics.md."""

import json
import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hwgen.machine.tables import GATE_EXP

P = json.loads(os.environ.get("HWGEN_PARAMETERS", "{}"))
LOW, HIGH = -(1 << 23), (1 << 23) - 1
STYLES = ("random", "equal", "one", "extreme", "close", "gaps", "far_equal")


def rshift(value, shift):
    return value if shift == 0 else (value + (1 << (shift - 1))) >> shift


def route(logits, topk, renormalize):
    """[(expert, weight)] of one token."""
    logits = [int(v) for v in logits]
    winners = sorted(sorted(range(len(logits)), key=lambda e: (-logits[e], e))[:topk])
    powers = []
    for logit in logits:
        u = rshift(max(logits) - logit, 8)
        powers.append(rshift(GATE_EXP[u & 255], u >> 8))
    reciprocal = (1 << 40) // sum(powers[e] for e in (winners if renormalize else range(len(logits))))
    return [(e, rshift(powers[e] * reciprocal, 24)) for e in winners]


def logits_of(rng, style, rows, experts):
    shape = (rows, experts)
    if style == "equal":
        return np.broadcast_to(rng.integers(LOW, HIGH + 1, (rows, 1)), shape)
    if style == "one":
        logits = rng.integers(LOW, 0, shape)
        logits[:, experts // 2] = 1 << 22
        return logits
    if style == "extreme":
        return rng.choice([LOW, HIGH], shape)
    if style == "close":  # ties and roundings of neighbouring logits
        return rng.integers(-100000, 100000, (rows, 1)) + rng.integers(-3, 3, shape) * rng.choice([1, 127, 300])
    if style == "gaps":  # around the gaps where the weight vanishes or a shift begins
        steps = rng.choice([0, 1, 8, 15, 16, 17, 18, 31, 32, 33, 63], shape) << 16
        return np.clip((1 << 22) - steps + rng.integers(-200, 200, shape), LOW, HIGH)
    if style == "far_equal":
        return np.where(np.arange(experts) == experts - 1, HIGH, LOW) * np.ones((rows, 1), dtype=int)
    return rng.integers(LOW, HIGH + 1, shape) >> rng.integers(0, 10)


@cocotb.test()
async def commands(dut):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    lanes, max_experts, max_topk, max_tokens = (P[n] for n in ("c", "max_experts", "max_topk", "max_tokens"))
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())

    def drive(**values):
        for name, value in values.items():
            if hasattr(dut, name):
                getattr(dut, name).value = int(value)

    async def counts():
        found = []
        for expert in range(max_experts):
            drive(count_expert=expert)
            await ReadOnly()
            found.append(int(dut.count.value))
            nonempty = int(dut.nonempty.value)
            await RisingEdge(dut.clk)
        assert nonempty == sum(int(count > 0) << e for e, count in enumerate(found))
        return found

    drive(rst=1, logits__en=0, start=0, queue__en=0)
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    drive(rst=0)
    await RisingEdge(dut.clk)
    assert await counts() == [0] * max_experts
    zero_weights = full_queues = appended = 0
    queues = [[] for _ in range(max_experts)]
    for number in range(P["commands"]):
        style = STYLES[number % len(STYLES)]
        full = number in (1, 2)
        experts = max_experts if full else int(rng.integers(1, max_experts + 1))
        topk = int(rng.integers(1, min(experts, max_topk) + 1))
        if number % 6 == 5:  # more winners than experts or than the list holds
            topk = (1 << max_topk.bit_length()) - 1
        renormalize = int(rng.integers(2))
        begin = 0 if full else int(rng.integers(max_tokens))
        end = max_tokens if full else int(rng.integers(begin + 1, min(begin + 20, max_tokens) + 1))
        if number >= P["commands"] - 3:  # no rows, no experts, no winners
            experts, topk, end = [(experts, topk, begin), (0, topk, end), (experts, 0, end)][number % 3]
        longest = max(len(queue) for queue in queues)
        append = int(not full and longest + end - begin <= max_tokens)
        appended += append and longest > 0
        logits = logits_of(rng, style, end - begin, max(experts, 1))
        words = -(-logits.shape[1] // lanes)
        for row, word in rng.permutation([(r, w) for r in range(begin, end) for w in range(words)]).tolist():
            part = logits[row - begin, word * lanes : word * lanes + lanes]
            padded = [*part.tolist(), *rng.integers(LOW, HIGH, lanes - len(part)).tolist()]
            data = sum((int(v) & 0xFFFFFF) << (24 * i) for i, v in enumerate(padded))
            drive(logits__en=1, logits__row=row, logits__word=word, logits__data=data)
            await RisingEdge(dut.clk)
        drive(logits__en=0, logits__data=0)
        drive(start=1, row_begin=begin, row_end=end, experts=experts, topk=topk, renormalize=renormalize, append=append)
        await RisingEdge(dut.clk)
        drive(start=0)
        others = [*range(begin), *range(end, max_tokens)]
        cycles = 0
        while True:
            await ReadOnly()
            cycles += 1
            assert cycles < 5 + (end - begin + 2) * max(experts + 6, topk + 18), "never done"
            done = int(dut.done.value)
            assert done or int(dut.busy.value)
            await RisingEdge(dut.clk)
            if others:  # logits of the next rows come meanwhile
                row, word = int(rng.choice(others)), int(rng.integers(-(-max_experts // lanes)))
                drive(logits__en=rng.integers(2), logits__row=row, logits__word=word)
                drive(logits__data=int.from_bytes(rng.bytes(3 * lanes)))
            if done:
                break
        drive(logits__en=0)
        if not append:
            queues = [[] for _ in range(max_experts)]
        if experts:
            for row in range(begin, end):
                for expert, weight in route(logits[row - begin], min(topk, max_topk), renormalize) if topk else []:
                    queues[expert].append((row, weight))
                    zero_weights += weight == 0
        full_queues += any(len(queue) == max_tokens for queue in queues)
        # The first read follows `done` at once.
        expert_order = sorted(range(max_experts), key=lambda e: -len(queues[e]))
        reads = [(e, i) for e in expert_order for i in range(len(queues[e]) - 1, -1, -1)]
        for expert, index in reads:
            drive(queue__en=1, queue__expert=expert, queue__index=index)
            await RisingEdge(dut.clk)
            drive(queue__en=0, queue__index=0)
            if rng.integers(4) == 0:
                await RisingEdge(dut.clk)  # held
            await ReadOnly()
            found = (int(dut.queue__token.value), int(dut.queue__weight.value))
            assert found == queues[expert][index], f"{style}, entry {index} of expert {expert}"
            await RisingEdge(dut.clk)
        assert await counts() == [len(queue) for queue in queues], style
    assert full_queues and appended and (zero_weights or max_experts == 1 or max_topk == 1)
