"""Errors put into the HLS sources on purpose: the tests of this directory must notice each, else they prove little."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from hwgen.hls import sources
from sim.harness import SimulationError
from sim.hls import CSimulation
from tests.hls.helpers import c_simulation, mutated
from tests.hls.test_csim import ERRORS, SAME, at_limits, outputs, refused, results_of, run, small, small_ring
from tests.hls.test_kernels import far_addresses
from tests.random_model import random_description, random_images
from tests.system.helpers import Runs, Work, differences, simulate
from tests.system.test_models import HARDWARE, POOLED, SMALL, in_turns

#: File, its text, and the wrong text in its place.
MUTATIONS = {
    # the ring, and what the array is given
    "words taken that are wanted at once": ("issue.cpp", " && taken >= tile_end", ""),
    "words taken in a tile's last cycles": ("issue.cpp", "step + APART >= s.period", "step >= s.period"),
    "no end of the ring's room": ("issue.cpp", " && taken < room", ""),
    "kept words make no room": ("engine.cpp", "state.ring_base + f.tiles() * words", "state.ring_base"),
    "ring_offset ignored": ("engine.cpp", "state.ring_base + f.ring_offset()", "state.ring_base"),
    "parameter words the wrong way round": ("issue.cpp", "word * K + lane, bytes",
                                            "(PARAM_WORDS - 1 - word) * K + lane, bytes"),
    "rows go on in the next tile": ("issue.cpp", "tile_ends ? Address(f.a_base()) : Address(base + f.a_stride())",
                                    "Address(base + f.a_stride())"),
    "a key too many": ("issue.cpp", "key >= first_key && key < end_key;", "key >= first_key && key <= end_key;"),
    "a key before the first": ("issue.cpp", "key >= first_key && key < end_key;",
                               "key < end_key;"),
    "dither from the wrong origin": ("issue.cpp", "ap_uint<5>(key - first_key)", "ap_uint<5>(key)"),
    "the other half of the scores": ("issue.cpp", "Address(slice.word * 2) + s.half",
                                     "Address(slice.word * 2) + !s.half"),
    "queries of the first tile": ("issue.cpp", "ap_uint<16>(s.first_group - pass.row_begin / T) * f.a_stride()", "0"),
    "the whole's offset in each share": ("engine.cpp", "f.offset().to_uint64() / WEIGHT_PORTS",
                                         "f.offset().to_uint64()"),
    # the array
    "a field's borrow kept": ("array.cpp", "ap_int<37>(chain - below)", "ap_int<37>(chain)"),
    "sums go on": ("array.cpp", "step.first ? Accumulator(0) : sum", "sum"),
    "a row less": ("array.cpp", "pending = T;", "pending = T - 1;"),
    # requantization
    "row factor shifted too little": ("postprocess.cpp", "p.mult[c]) >> 16)", "p.mult[c]) >> 15)"),
    "int8 wraps": ("postprocess.cpp", "saturate<8>(scaled)", "Weight(scaled)"),
    "int16 wraps": ("postprocess.cpp", "saturate<16>(scaled)", "Stream(scaled)"),
    "logits wrap": ("postprocess.cpp", "out[c] = saturate<24>(scaled)", "out[c] = scaled"),
    "-256 is an operand": ("types.h", "value < -255 ? Operand(-255)", "value < -256 ? Operand(-255)"),
    "no rounding": ("types.h", "((doubled >> shift) + 1)", "(doubled >> shift)"),
    "no rounding beyond the width": ("types.h", "((doubled >> shift) + 1)", "((doubled >> shift) + (shift < 52))"),
    "ties away from zero": ("types.h", "((doubled >> shift) + 1)",
                            "((doubled >> shift) + (value >= 0 || (doubled >> shift << shift) != doubled))"),
    "one below the largest": ("types.h", "value > most ? most", "value >= most ? ap_int<BITS>(most - 1)"),
    "table beyond its end": ("activation.cpp",
                             "size < ACTIVATION_ENTRIES ? table[size & (ACTIVATION_ENTRIES - 1)] : ap_uint<8>(0)",
                             "table[size & (ACTIVATION_ENTRIES - 1)]"),
    "half of ReLU": ("activation.cpp", "ap_uint<14>(size) << 2", "ap_uint<14>(size) << 1"),
    "h wraps": ("postprocess.cpp", "saturate<13>(scaled)", "ap_int<13>(scaled)"),
    "gates ignored": ("postprocess.cpp", "r.gated ? gated(", "false ? gated("),
    "all gated": ("drain.cpp", "GATED_MLP && f.gated()", "GATED_MLP && f.activate()"),
    "gates rounded": ("activation.cpp", "ap_int<25>(gate * rescale.mult) >> 7",
                      "ap_int<26>(ap_int<25>(gate * rescale.mult) + 64) >> 7"),
    "gates of the first word": ("drain.cpp", "get<H_DEPTH>(h, f.d_base(), f.d_stride(), target, word)",
                                "get<H_DEPTH>(h, f.d_base(), f.d_stride(), target, f.d_word())"),
    "gates from anywhere": ("check.cpp", "f.source() != FROM_Y || f.use_queue())", "f.use_queue())"),
    # the softmax
    "dither not reversed": ("softmax.cpp", "ap_uint<5>(16 >> bit)", "ap_uint<5>(1 << bit)"),
    "no dither": ("softmax.cpp", "ap_uint<14>(e + dither)", "ap_uint<14>(e + 16)"),
    "maximum not below zero": ("drain.cpp", "Stream most = -32768;", "Stream most = 0;"),
    "maximum above the lowest score": ("drain.cpp", "Stream most = -32768;", "Stream most = -32767;"),
    "maximum of all tiles": ("drain.cpp", "tile == 0 || most > found.row[t]", "most > found.row[t]"),
    "padding in the maximum": ("drain.cpp", "key < end_key && score", "key <= end_key && score"),
    "earlier keys in the maximum": ("drain.cpp", "key >= first_key && key < end_key && score",
                                    "key < end_key && score"),
    "sum of the last step": ("issue.cpp", "(out.first ? ProbabilitySum(0) : total.row[t]) + sum", "sum"),
    # where rows go
    "x_shift ignored": ("drain.cpp", "rshift(old.lane[c], f.x_shift())", "rshift(old.lane[c], 0)"),
    "x wraps": ("drain.cpp", "saturate<16>(added)", "Stream(added)"),
    "a row too many": ("drain.cpp", "row < pass.row_end) {", "row <= pass.row_end) {"),
    "a row before the first": ("drain.cpp", "row >= pass.row_begin && row < pass.row_end) {", "row < pass.row_end) {"),
    "gate weights ignored": ("drain.cpp", "r.use_factor = f.scatter();", "r.use_factor = false;"),
    "expert 0's queue": ("drain.cpp", "f.expert() * QUEUE_STRIDE + row", "row"),
    # LayerNorm
    "halves of beta swapped": ("layernorm.cpp", "(ap_int<32>(high.lane[c]) << 16) | ap_uint<16>(low.lane[c])",
                               "(ap_int<32>(low.lane[c]) << 16) | ap_uint<16>(high.lane[c])"),
    "eps ignored": ("layernorm.cpp", " + eps;", ";"),
    "eps of 32 bits": ("layernorm.cpp", "(ap_uint<48>(f.eps_high()) << 32) | f.eps_low()", "f.eps_low()"),
    "no Newton step": ("layernorm.cpp", "ap_uint<34>(y0 * error) >> 17", "ap_uint<17>(y0)"),
    "odd leading zeros": ("layernorm.cpp", " || value[50 - 2 * pair]", ""),
    "RMSNorm without the mean": ("layernorm.cpp", "mean ? sum : ap_int<32>(0)", "sum"),
    "no LayerNorm but RMSNorm": ("layernorm.cpp", "!(RMS_NORM && f.rms())", "!RMS_NORM"),
    "one table for all": ("layernorm.cpp", "f.table() ? TABLE_WORDS : 0", "0"),
    # the router
    "ties to the higher index": ("router.cpp", "ranking.logit[k] >= logit", "ranking.logit[k] > logit"),
    "queues always start empty": ("router.cpp", "if (!f.append())", "if (true)"),
    "always the winners' sum": ("router.cpp", " || !f.renormalize()", ""),
    "gate weights cut": ("router.cpp", "rshift(ap_int<43>(weighing.probability[expert] * weighing.reciprocal), 24)",
                         "ap_int<43>(weighing.probability[expert] * weighing.reciprocal) >> 24"),
    "small probabilities are none": ("router.cpp", "shift > 17", "shift > 9"),
    "a queue's last place unused": ("router.cpp", "< MAX_TOKENS)", "< MAX_TOKENS - 1)"),
    "a winner too many": ("router.cpp", "k < f.k_steps()", "k <= f.k_steps()"),
    "queues backwards": ("router.cpp", "entry.token = row;", "entry.token = f.row_end() - 1 - (row - f.row_begin());"),
    # the mover
    "mean of all before": ("mover.cpp", "(row == f.row_begin() ? ap_int<26>(0) : sum[c])", "sum[c]"),
    "mean's last row left out": ("mover.cpp", "row == f.row_end()", "row + 1 == f.row_end()"),
    "rows of one group gathered": ("mover.cpp", "token / T * f.a_stride()", "0"),
    # DRAM
    "segments do not wrap": ("data.cpp", "                offset += segment;\n", ""),
    "patches do not end": ("data.cpp", "                    offset = 0;\n", ""),
    "bytes swapped": ("data.cpp", "beat.byte[at] | beat.byte[at + 1] << 8", "beat.byte[at + 1] | beat.byte[at] << 8"),
    "bytes behind the last ones": ("data.cpp", "if (i < rest) ", ""),
    "last beat not sent": ("data.cpp", "place == BEAT_UNITS || i + 1 == count", "place == BEAT_UNITS"),
    "Y stored unsigned": ("data.cpp", "out.lane[c] = word.lane[c];", "out.lane[c] = word.lane[c] & 511;"),
    "nibbles swapped": ("weight_stream.cpp", "high ? piece.byte[i] >> 4 : piece.byte[i] & 15",
                        "high ? piece.byte[i] & 15 : piece.byte[i] >> 4"),
    "nibbles unsigned": ("weight_stream.cpp", "ap_int<8>(nibble)", "ap_int<8>(nibble & 15)"),
    "no odd pair": ("weight_stream.cpp", "&& !second && !ends;", "&& !second;"),
    "parameters packed": ("weight_stream.cpp", "command.narrow && in_weights", "command.narrow"),
    # the sequencer
    "one image for all": ("sequencer.cpp", "advanced(run.progress.input_offset, a.input_stride)",
                          "run.progress.input_offset"),
    "one place for all outputs": ("sequencer.cpp", "advanced(run.progress.output_offset, a.output_stride)",
                                  "run.progress.output_offset"),
    "index of the next one": ("sequencer.cpp", "run.index = i;", "run.index = i + 1;"),
    "index of the last one": ("sequencer.cpp", "run.index = count;", ""),
    "watchdog always on": ("sequencer.cpp", "a.watchdog != 0 && ", ""),
    "no watchdog": ("sequencer.cpp", "run.image_cycles + cost > a.watchdog", "false"),
    "steps counted twice": ("engine.cpp", "* s.steps;", "* s.period;"),
    # what must not run
    "kept words forgotten": ("check.cpp", "ap_uint<21>(kept + words)", "kept"),
    "kept words for ever": ("check.cpp", "ap_uint<21>(kept - words)", "kept"),
    "a word missing": ("check.cpp", "words > kept - f.ring_offset()", "words > kept - f.ring_offset() + 1"),
    "no odd pair's bytes": ("check.cpp", "f.k_steps() + f.k_steps() % 2", "f.k_steps()"),
    "any bits": ("check.cpp", "return stray != 0;", "return false;"),
    "any region": ("check.cpp", "base > ~std::uint64_t(0) - (size.to_uint64() - 1)", "false"),
    "a region up to the end": ("check.cpp", "base > ~std::uint64_t(0) - (size.to_uint64() - 1)",
                               "base > ~std::uint64_t(0) - size.to_uint64()"),
    "offsets wrap": ("check.cpp", "offset[32] ? offset : ap_uint<33>(total)", "ap_uint<32>(total)"),
    "offsets come back": ("check.cpp", "offset[32] ? offset : ap_uint<33>(total)", "ap_uint<33>(total)"),
    "half of the alignment": ("check.cpp", "value % ALIGN", "value % (ALIGN / 2)"),
    "other tables": ("check.cpp", "f.d_base() == 0;", "true;"),
    "a word behind X": ("check.cpp", "f.bytes() / (2 * C) <= depth - f.d_base()", "f.d_base() <= depth"),
    "too many steps of PV": ("check.cpp", "f.pv_steps() <= KEY_WORDS * (W / K)", "true"),
    "kept words behind the ring": ("check.cpp", " && words <= ap_uint<21>(WEIGHT_DEPTH) - f.ring_offset()", ""),
    "queue of no expert": ("check.cpp", "f.use_queue() && f.expert() < MAX_EXPERTS && f.row_begin() == 0;\n    const",
                           "f.use_queue() && f.row_begin() == 0;\n    const"),
    "half of an offset's alignment": ("check.cpp", "f.offset() % align", "f.offset() % (align / 2)"),
    "a region's last byte": ("check.cpp", "ap_uint<35>(moved + span) > size", "ap_uint<35>(moved + span) >= size"),
    "a byte behind a region": ("check.cpp", "ap_uint<35>(moved + span) > size", "ap_uint<35>(moved + span) > size + 1"),
    "entry at the end": ("check.cpp", "a.entry >= a.program_size", "a.entry > a.program_size"),
    "stride of one image": ("check.cpp", "a.batch > 1 && span", "span"),
    "no stride of outputs": ("check.cpp", "span > a.output_stride", "false"),
    "no opcode's opcode": ("check.cpp", "f.op() == 0 || ", ""),
    "an opcode too many": ("check.cpp", "f.op() > OPCODES", "f.op() > OPCODES + 1"),
    "no rows": ("check.cpp", "f.row_begin() < f.row_end() &&", "f.row_begin() <= f.row_end() &&"),
    "a row beyond": ("check.cpp", "f.row_end() <= MAX_TOKENS", "f.row_end() <= MAX_TOKENS + 1"),
    "NORM of too many words": ("check.cpp", "f.tiles() <= NORM_DEPTH", "f.tiles() <= NORM_DEPTH + 1"),
    "too many winners": ("check.cpp", "f.k_steps() <= MAX_TOPK", "f.k_steps() <= MAX_TOPK + 1"),
    "more winners than experts": ("check.cpp", "f.k_steps() <= f.tiles()", "true"),
    "too many keys": ("check.cpp", "f.key_tiles() <= KEY_WORDS * PARTS", "f.key_tiles() <= KEY_WORDS * PARTS + 1"),
    "too few steps": ("check.cpp", "f.k_steps() < PARAM_WORDS", "f.k_steps() + 1 < PARAM_WORDS"),
    "too many words for the ring": ("check.cpp", "f.k_steps() + PARAM_WORDS <= WEIGHT_DEPTH",
                                    "f.k_steps() + PARAM_WORDS <= WEIGHT_DEPTH + 1"),
    "half a table": ("check.cpp", "f.bytes() == ACTIVATION_ENTRIES", "f.bytes() <= ACTIVATION_ENTRIES"),
    "STORE of other bytes": ("check.cpp", "ap_uint<8>(2 * C)) == f.bytes()", "ap_uint<8>(2 * C)) <= f.bytes()"),
}  # fmt: skip
#: In seconds, of each kind one.
QUICK = ("words taken that are wanted at once", "row factor shifted too little", "dither not reversed",
         "ties to the higher index", "no odd pair", "a byte behind a region")  # fmt: skip


@lru_cache
def models() -> list[Runs]:
    """Of a machine each: the small one's, with a mean; a small ring; batches and shares of weights; K > C; C > K."""
    pooled = random_description(1, **POOLED)
    works = [*SMALL.works(1), Work(pooled, small().p, random_images(pooled, 1, seed=1))]
    others = [one.works(1, batch=one.batch) for one in (HARDWARE[0], *HARDWARE[2:4])]
    return [in_turns(some, 1) for some in (works, [small_ring()], *others)]


@lru_cache
def right(what: Callable[[CSimulation], object]) -> object:
    """Without a mutation; that it is what the RTL does is tested in test_csim.py."""
    return what(c_simulation(small().p))


def counts(machine: CSimulation) -> list[list[int]]:
    return [[one.counters[name] for name in SAME] for one in simulate(machine, models()[0])]


def all_outputs(machine: CSimulation) -> list[bytes]:
    return outputs(machine, 3)


def noticed(mutation: tuple[str, str, str], folder: Path) -> str | None:
    """By what, the quickest first."""
    machine = c_simulation(small().p, mutation=mutation)
    try:
        for number, (code, options, error, index) in enumerate(ERRORS):
            result = run(code, machine, **options)
            if (result.error, result.error_index) != (error, index):
                return f"program {number}: {result.error} at {result.error_index}"
        if at_limits(machine) != right(at_limits):
            return "limits"
        if mutation[0] == "check.cpp" and not far_addresses(mutated(small().p, mutation), folder):
            return "far addresses"
        for runs in models():
            if wrong := differences(runs, simulate(c_simulation(runs[0][0].p, mutation=mutation), runs)):
                return wrong[0]
        for what in (all_outputs, counts, results_of, refused):
            if what(machine) != right(what):
                return what.__name__
    except SimulationError as error:
        return str(error)
    return None


def test_mutations_are_up_to_date() -> None:
    texts = sources(small().p)
    assert [name for name, (file, old, _) in MUTATIONS.items() if texts[file].count(old) != 1] == []


@pytest.mark.slow
def test_without_mutation(tmp_path: Path) -> None:
    assert noticed(("check.cpp", "return stray != 0;", "return stray != 0;"), tmp_path) is None


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MUTATIONS]
)
def test_mutation_is_noticed(name: str, tmp_path: Path) -> None:
    found = noticed(MUTATIONS[name], tmp_path)
    print(name, "->", found)
    assert found
