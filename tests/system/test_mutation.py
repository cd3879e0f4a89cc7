"""Errors put into the RTL on purpose: the comparison must name each of them, else the other tests prove little."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hwgen.compiler import auto_params, buffer_needs
from hwgen.compiler.blocks import Blocks
from hwgen.compiler.sizing import fitted
from hwgen.machine.params import HwParams
from sim.harness import SimulationError, Timing
from tests.mutants import copied_generator
from tests.paths import ROOT
from tests.random_model import random_description, random_images
from tests.system.helpers import Runs, Work, assert_same, differences, harness, simulate
from tests.system.test_models import GATED
from tests.system.test_routing import all_equal, description, edit_gates

GENERATE = """
import json, sys
from hwgen.machine.params import HwParams
from hwgen.rtl.emit import accelerator_verilog
sys.stdout.write(accelerator_verilog(HwParams(**json.loads(sys.argv[1]))))
"""

#: Memory that the array never waits for, and such that it waits all the time.
TIMINGS = (Timing(latency=1, watchdog=200_000), Timing(latency=200, stall_percent=60, watchdog=200_000))
#: File, its text, and the wrong text in its place.
MUTATIONS = {
    "row factor shifted too little": ("engine/postprocess", "scale >> MULT", "scale >> (MULT - 1)"),
    "shift a cycle early": ("engine/postprocess", "product, amount[PRODUCT])", "product, amount[PRODUCT - 1])"),
    "no rounding": ("engine/postprocess", "clamped + shifted[0])", "clamped)"),
    "gates ignored": ("engine/postprocess", 'Mux(self.common["gated"], self.up.as_signed(), neutral)', "neutral"),
    "gates twice as large": ("engine/postprocess", "product)[GATE_BITS:]", "product)[GATE_BITS - 1 :]"),
    "a row's neighbour gates it": ("engine/writeback", "in_row.row[: ceil_log2(p.t)], wait)",
                                   "in_row.row[: ceil_log2(p.t)], wait - 1)"),
    "table beyond its end": ("engine/postprocess", "Mux(within, table.r_data, 0)", "table.r_data"),
    "no symmetric clamp": ("engine/postprocess", "self.out.eq(result | lowest)", "self.out.eq(result)"),
    "x_shift ignored": ("engine/writeback", " >> row.x_shift", ""),
    "Y and H swapped": ("datapath", "Mux(issue.from_h, self.h.operands.data, self.y.operands.data)",
                        "Mux(issue.from_h, self.y.operands.data, self.h.operands.data)"),
    "weights not awaited": ("engine/plan", "weights = words.there | ~f.first_use",
                            "weights = words.there | ~words.there"),
    "tiles too close": ("engine/hazards", "crowded.eq(gap != 1)", "crowded.eq(gap > 2)"),
    "scores not awaited": ("engine/hazards", "there.eq(scored.bit_select(following.half, 1))", "there.eq(1)"),
    "scores over those that are read": ("engine/loops", "half.eq(~at.half)", "half.eq(at.half)"),
    "one key too many": ("engine/softmax", "((remaining > lane) &", "((remaining >= lane) &"),
    "dither not reversed": ("engine/softmax", ".eq(number[::-1])", ".eq(number)"),
    "dither from the wrong origin": ("engine/softmax", "origin.eq(skipped)", "origin.eq(skipped - begin)"),
    "sign lost in STORE": ("units/store", "self.y.data.word_select(channel, OPERAND_BITS).as_signed()",
                           "self.y.data.word_select(channel, OPERAND_BITS)"),
    "padding in the maximum": ("engine/writeback", "(key + lane < row1.key_end)", "(key + lane <= row1.key_end)"),
    "no saturation of x": ("engine/writeback", "overflow = total[16] ^ total[15]", "overflow = total[16] & 0"),
    "ties to the higher index": ("units/router", "(logit > value)", "(logit >= value)"),
    "a row too many": ("engine/drain", "(row < f.rows)", "(row <= f.rows)"),
    # units side by side
    "engine_lag ignored": ("control/order", "engine_full | (self.unfinished > f.engine_lag)", "engine_full"),
    "beside ignored": ("control/order", "(own | ~getattr(f, f\"beside_{unit}\"))", "own"),
    "LayerNorm reads X beside the engine": ("units/norm", "issue.eq(reading & ~self.x_hold)", "issue.eq(reading)"),
    "STORE reads X beside the engine": ("units/store", "(credit != 0) & ~self.x_hold if self.spill else credit != 0",
                                        "credit != 0"),
    "spilled rows from the program": ("control/command", "(f.op == Op.LOAD) & f.spilled if self.p.spill else 0", "0"),
    "LOAD writes X beside the engine": ("units/load", "self.to_norm | ~self.x_hold", "1"),
    "bytes of a table out of place": ("units/load", "gearbox.out_data.word_select(place, 8)",
                                      "gearbox.out_data.word_select(place ^ 1, 8)"),
    "GATHER writes H beside the engine": ("units/mover", "reading & (self.means | ~self.h_hold)", "reading"),
    "GATHER does not wait for the queues": ("datapath", "mover.queue_ready.eq(~drain.queue.en)",
                                            "mover.queue_ready.eq(1)"),
    "RMSNorm without the mean": ("units/norm", "with m.If(self.rms):", "with m.If(0):"),
    "one table for all LayerNorms": ("units/norm", "Cat(table_word, self.half)", "table_word"),
    "queues always start empty": ("units/router", "with m.If(self.start & ~self.append):", "with m.If(self.start):"),
    # the engine's instructions back to back
    "context not carried": ("engine/plan", "plan.context.eq(self.queue.context)", "plan.context.eq(0)"),
    "slack ignored": ("engine/loops", "free.eq(f.slack >= settle)", "free.eq(1)"),
    "finished too early": ("engine/unfinished", "delayed(m, ended, self.settle, reset=True)",
                           "delayed(m, ended, self.settle // 4, reset=True)"),
    "a context dropped": ("engine/plan", "with m.If(queue.loaded & (joins | ~holding)):", "with m.If(queue.loaded):"),
    "parameters stuck": ("engine/drain", "taken.eq(taken + fresh)", "taken.eq(taken)"),
    # the ring
    "keep ignored": ("engine/plan", "product.pop.eq(Mux(f.keep, 0, self.tile_words))",
                     "product.pop.eq(self.tile_words)"),
    "ring_offset ignored": ("engine/loops", "ring.eq(f.ring_offset)", "ring.eq(0)"),
    "discard pops nothing": ("engine/issue", "(walker.pass_ended & at.pop.any()) | plan.discard",
                             "walker.pass_ended & at.pop.any()"),
    "discarded under steps": ("engine/plan", 'with m.State("EMPTY"), m.If(self.quiet):',
                              'with m.State("EMPTY"), m.If(1):'),
    "half a tile too early": ("engine/tilewords", "(unread >= self.tile_words)", "(2 * unread >= self.tile_words)"),
    "parameters the wrong way round": ("engine/walk", "param_index.eq(self.p.param_words - 1 - inner)",
                                       "param_index.eq(inner)"),
    "even for odd words": ("memory/weights", "from_odd.eq(read[0])", "from_odd.eq(~read[0])"),
    "guess inverted": ("memory/fetch", "decisions.w_data.eq(chosen)", "decisions.w_data.eq(~chosen)"),
    "routing not awaited": ("memory/fetch", "(routing != 0) | has_tokens", "has_tokens"),
    # weight ports
    "parts of a beat the wrong way round": ("memory/stripes", "lane.r_data[: self.bits] for lane in lanes",
                                            "lane.r_data[: self.bits] for lane in lanes[::-1]"),
    "one port not awaited": ("memory/stripes", "reduce(and_, (lane.r_rdy for lane in lanes))", "lanes[0].r_rdy"),
    "shares in one place": ("memory/fetch", "byte_address(m, getattr(self, base), share)",
                            "byte_address(m, self.weights_base, share)"),
    "shares as far as the whole": ("memory/fetch", "request.offset >> exact_log2(self.p.weight_ports)",
                                   "request.offset"),
    # packed weights
    "nibbles swapped": ("memory/widen", "Mux(second, high, low)", "Mux(second, low, high)"),
    "no odd pair": ("memory/widen", "(~packed | second | self.ending)", "(~packed | second)"),
    # batches: images that begin within a tile
    "a row before the first": ("engine/drain", "& (row >= f.row_begin)", ""),
    "a key before the first": ("engine/softmax", "& (skipped <= lane)", ""),
    "earlier keys in the maximum": ("engine/writeback", " & (key + lane >= row1.key_begin)", ""),
}  # fmt: skip
BATCH = 3


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Gates of both kinds, equal and saturated logits, packed weights, a batch, experts so narrow that rows come no
    faster than they are used, heads so narrow that scores come no faster than they are drained, a residual stream that
    loses fraction bits, rows of Y as output, RMSNorm, gated MLPs, a residual stream in DRAM; small enough for a build
    per mutation."""
    drawn, saturated = description("topk_softmax"), description("softmax_topk", gain=60, narrow=1)
    falling = {"residual_fraction_bits": [11, 8, 8, 7, 7]}
    narrow = description("softmax_topk", winners=(2, 4), hidden=2, dim=40, head_dim=5, **falling)
    rows = description("softmax_topk", winners=(2,), tasks=[{"name": "rows", "head": "none", "norm": True}],
                       rms_norm=True)  # fmt: skip
    gated = random_description(50, layers=[GATED], tasks=[{"name": "rows", "head": "none", "norm": False}], dim=12)
    descs = [edit_gates(drawn, all_equal), saturated, narrow, rows, gated]
    p = auto_params([drawn, narrow, rows, gated], 4, 8, 2, weight_bus=128, weight_ports=2, data_bus=128, batch=BATCH)
    tall = random_description(51, image={"height": 16, "width": 16, "channels": 1}, patch={"height": 2, "width": 1},
                              norm_pre=False, tasks=[{"name": "one", "head": "none", "norm": True}])  # fmt: skip
    needs = buffer_needs(tall, p, blocks=Blocks.spilled(tall, p, 1, 0, 2))
    p = replace(p, spill=True, **{name: max(need, getattr(p, name)) for name, need in needs.items()})
    assert fitted(tall, p).blocks.stream
    works = [Work(drawn, p, random_images(drawn, BATCH, seed=2), BATCH)]
    works += [Work(desc, p, random_images(desc, 1, seed=2)) for desc in [*descs, tall]]
    return [(work, task, 0) for work in works for task in work.tasks]


def mutant(p: HwParams, home: Path, file: str, old: str, new: str) -> str:
    """Verilog from a copy of the generator with one text replaced."""
    copied_generator(home, file, old, new)
    command = [sys.executable, "-c", GENERATE, json.dumps(p.as_dict())]
    environment = os.environ | {"PYTHONPATH": str(home)}
    return subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_up_to_date(name):
    file, old, _ = MUTATIONS[name]
    assert (ROOT / "hwgen" / "rtl" / f"{file}.py").read_text().count(old) == 1


@pytest.mark.slow
def test_without_mutation(runs):
    for timing in TIMINGS:
        assert_same(harness(runs[0][0].p), runs, timing)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_named(runs, name, tmp_path):
    p = runs[0][0].p
    machine = harness(p, mutant(p, tmp_path, *MUTATIONS[name]))
    found = []
    for timing in TIMINGS:
        try:
            found += differences(runs, simulate(machine, runs, timing))
        except SimulationError as error:  # it may as well hang
            found.append(str(error))
    assert found
    print(name, "->", found[0])
