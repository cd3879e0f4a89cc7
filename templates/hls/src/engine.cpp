#include "engine.h"

#include "array.h"
#include "drain.h"
#include "issue.h"

namespace hwgen {
namespace {

ap_uint<16> period_of(ap_uint<16> steps) {
#pragma HLS inline
    return steps > PERIOD ? steps : ap_uint<16>(PERIOD);
}

Row groups(Row row_begin, Row row_end) {
#pragma HLS inline
    return (row_end + (T - 1)) / T - row_begin / T;
}

Section matmul_section(const Instruction& f, Row row_begin, Row row_end) {
#pragma HLS inline
    return {Kind::MATMUL, f.tiles(), groups(row_begin, row_end), f.k_steps(), period_of(f.k_steps()),
            Row(row_begin / T), false};
}

Section scores_section(const Instruction& f, Row group, bool half) {
#pragma HLS inline
    return {Kind::SCORES, f.key_tiles(), 1, f.k_steps(), period_of(f.k_steps()), group, half};
}

Section context_section(const Instruction& f, Row group, bool half) {
#pragma HLS inline
    return {Kind::CONTEXT, f.tiles(), 1, f.pv_steps(), period_of(f.pv_steps()), group, half};
}

WeightCommand command_of(const Instruction& f, const std::uint64_t shares[WEIGHT_PORTS]) {
#pragma HLS inline
    WeightCommand command;
ports:
    for (int port = 0; port < WEIGHT_PORTS; port++) {
#pragma HLS unroll
        command.address[port] = shares[port] + f.offset().to_uint64() / WEIGHT_PORTS;
    }
    command.bytes = f.bytes();
    command.narrow = f.narrow();
    command.tiles = f.tiles();
    command.k_steps = f.k_steps();
    return command;
}

Count larger_of(Count a, Count b) {
#pragma HLS inline
    return a > b ? a : b;
}

// The five processes. Y, H and the scores are read by `issue` and written by `drain`, never the same words in one pass:
// a MATMUL's destination is not its source, and a query tile's scores lie in the other half. `before`: the maxima that
// the pass before has found.
void run_pass(HWGEN_WEIGHT_PARAMETERS, const Pass& pass, const Maxima& before, Maxima& maxima, Buffers& b) {
#pragma HLS dataflow
#pragma HLS stream variable=b.y type=unsync
#pragma HLS stream variable=b.h type=unsync
#pragma HLS stream variable=b.keys type=unsync
#pragma HLS stream variable=b.values type=unsync
#pragma HLS stream variable=b.scores type=unsync
    stream<PortsBeat> beats("beats");
    stream<RingWord> words("words");
    stream<Step> steps("steps");
    stream<Parameters> parameters("parameters");
    stream<Sums> sums("sums");
    stream<Accumulators> rows("rows");
#pragma HLS stream variable=beats type=fifo depth=64
#pragma HLS stream variable=words type=fifo depth=8
#pragma HLS stream variable=steps type=fifo depth=4
#pragma HLS stream variable=sums type=fifo depth=2
#pragma HLS stream variable=rows type=fifo depth=32
// A pipeline that waits for its input delivers nothing that is still in it: the array gives up a tile's rows, and `drain`
// takes its parameters, only after as many more steps as the pipelines are deep. They must not wait for parameters.
#pragma HLS stream variable=parameters type=fifo depth=16
    read_weights(HWGEN_WEIGHT_ARGUMENTS, pass.command, beats);
    widen(pass.command, beats, words);
    issue(pass, b.y, b.h, b.keys, b.values, b.scores, before, b.ring, words, steps, parameters, sums);
    array(pass, steps, rows);
    drain(pass, rows, parameters, sums, b.activation, b.queue, b.x, b.y, b.h, b.keys, b.values, b.scores, maxima,
          b.logits);
}

}  // namespace

EngineCost engine_cost(const Instruction& f, Row rows) {
    EngineCost cost{0, 0, 0, 0, 0};
    if (f.op() == MATMUL) {
        const Row row_end = f.use_queue() ? rows : Row(f.row_end());
        const Section s = matmul_section(f, f.row_begin(), row_end);
        const WeightCommand command{{}, f.bytes(), bool(f.narrow()), f.tiles(), f.k_steps()};
        if (f.use_queue() && rows == 0) return cost;
        cost.steps = ap_uint<32>(s.tiles * s.row_tiles) * s.steps;
        cost.weight_bytes = ap_uint<33>(weight_beats(command)) * ap_uint<9>(WEIGHT_BYTES);
        cost.iterations = larger_of(issue_iterations(s), drained_rows(s));
        const Count reading = larger_of(weight_beats(command), weight_parts(command));
        if (reading > cost.iterations) cost.waiting = reading - cost.iterations;
    } else {
        const Row tiles = groups(f.row_begin(), f.row_end());
        const Section scores = scores_section(f, 0, false), context = context_section(f, 0, false);
        const ap_uint<33> steps = ap_uint<33>(f.key_tiles() * f.k_steps() + f.tiles() * f.pv_steps());
        cost.steps = tiles * steps;
        cost.kv_bytes = cost.steps * ap_uint<12>(C * K);
        cost.iterations = tiles * ap_uint<31>(row_iterations(scores) + row_iterations(context));
    }
    return cost;
}

void engine(HWGEN_WEIGHT_PARAMETERS, const std::uint64_t shares[WEIGHT_PORTS], const Instruction& f, Row rows,
            EngineState& state, Buffers& b) {
    const bool attention = f.op() == ATTENTION;
    const Row row_begin = f.row_begin(), row_end = f.use_queue() ? rows : Row(f.row_end());
    const Row first = row_begin / T, tiles = groups(row_begin, row_end);
    const ap_uint<17> words = f.k_steps() + PARAM_WORDS;
    if (row_end <= row_begin) return;  // an empty queue
    const Row passes = attention ? Row(tiles + 1) : Row(1);
    Maxima maxima;
rows:
    for (int t = 0; t < T; t++) {
#pragma HLS unroll
        maxima.row[t] = 0;
    }
    HWGEN_TRIPS("engine", "passes", passes.to_uint64());
passes:
    for (Row number = 0; number < passes; number++) {
#pragma HLS loop_tripcount min=1 max=64
        Pass pass;
        pass.instruction = f;
        pass.row_begin = row_begin;
        pass.row_end = row_end;
        pass.sections = 1;
        pass.command = command_of(f, shares);
        pass.tile_words = words;
        pass.ring_first = state.ring_base + f.ring_offset();
        pass.arriving = f.bytes() == 0 ? ap_uint<33>(0) : ap_uint<33>(f.tiles() * words);
        if (!attention) {
            pass.section[0] = matmul_section(f, row_begin, row_end);
        } else {
            const bool half = state.half ^ (number & 1);
            const Section scores = scores_section(f, Row(first + number), half);
            const Section context = context_section(f, Row(first + number - 1), !half);
            pass.command.bytes = 0;
            pass.arriving = 0;
            pass.section[0] = number < tiles ? scores : context;
            pass.section[1] = context;
            if (number > 0 && number < tiles) pass.sections = 2;
        }
        pass.steps = row_iterations(pass.section[0]);
        if (pass.sections > 1) pass.steps += row_iterations(pass.section[1]);
        const Maxima before = maxima;
        run_pass(HWGEN_WEIGHT_ARGUMENTS, pass, before, maxima, b);
    }
    if (attention) state.half = state.half ^ (tiles & 1);
    // What was kept and is not any more makes room.
    else if (f.bytes() == 0 && !f.keep()) state.ring_base = state.ring_base + f.tiles() * words;
}

}  // namespace hwgen
