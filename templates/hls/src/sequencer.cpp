#include "sequencer.h"

#include "data.h"
#include "engine.h"
#include "layernorm.h"
#include "mover.h"
#include "router.h"

namespace hwgen {
namespace {

// What a run has done so far, and what it must remember.
struct Run {
    Progress progress;
    EngineState engine;
    ap_uint<26> index;  // of the instruction
    Count image_cycles;
};

constexpr int INSTRUCTION_BEATS = INSTRUCTION_BYTES > DATA_BYTES ? INSTRUCTION_BYTES / DATA_BYTES : 1;

Instruction fetch(const DataBeat* gmem1, std::uint64_t address) {
    Instruction f;
    HWGEN_TRIPS("sequencer", "fetch", INSTRUCTION_BEATS);
fetch:
    for (int beat = 0; beat < INSTRUCTION_BEATS; beat++) {
#pragma HLS pipeline II=1
        const DataBeat data = gmem1[address / DATA_BYTES + std::uint64_t(beat)];
    words:
        for (int word = 0; word < DATA_BYTES / 4; word++) {
#pragma HLS unroll
            ap_uint<32> value = 0;
        bytes:
            for (int byte = 0; byte < 4; byte++) {
#pragma HLS unroll
                value |= ap_uint<32>(data.byte[4 * word + byte]) << (8 * byte);
            }
            f.word[beat * (DATA_BYTES / 4) + word] = value;
        }
    }
    return f;
}

#if defined(HWGEN_CSIM)
const char* unit_of(const Instruction& f) {
    switch (f.op()) {
        case MATMUL:
        case ATTENTION: return "engine";
        case NORM: return "norm";
        case ROUTE: return "router";
        case GATHER:
        case MEAN: return "mover";
        case END: return "end";
        default: return "data";
    }
}

// An instruction's iterations, its wait for weights apart.
void count_unit(const Instruction& f, Row rows, Count cost) {
    const std::uint64_t all = cost.to_uint64() - INSTRUCTION_BEATS;
    const bool engine = f.op() == MATMUL || f.op() == ATTENTION;
    const std::uint64_t waiting = engine ? engine_cost(f, rows).waiting.to_uint64() : 0;
    trips("unit", unit_of(f), all - waiting);
    if (waiting) trips("unit", "weights", waiting);
}
#endif

// Iterations that an instruction takes; with what it moves, which is counted if it runs.
Count cost_of(const Instruction& f, Row rows, Results& r, bool runs) {
#pragma HLS inline
    EngineCost engine{0, 0, 0, 0, 0};
    DataCost data{0, 0, 0};
    Count iterations = INSTRUCTION_BEATS;
    switch (f.op()) {
        case MATMUL:
        case ATTENTION:
            engine = engine_cost(f, rows);
            iterations += engine.iterations + engine.waiting;
            break;
        case NORM: iterations += layernorm_iterations(f); break;
        case ROUTE: iterations += router_iterations(f); break;
        case GATHER:
        case MEAN: iterations += mover_iterations(f, rows); break;
        case IMAGE:
        case LOAD:
        case STORE:
            data = data_cost(f);
            iterations += data.iterations;
            break;
        default: break;
    }
    if (runs) {
        r.array_busy += engine.steps;
        r.attention_busy += f.op() == ATTENTION ? engine.steps : Count(0);
        r.kv_read_bytes += engine.kv_bytes;
        r.weight_bytes += engine.weight_bytes;
        r.data_read_bytes += data.read_bytes + INSTRUCTION_BYTES;
        r.data_written_bytes += data.written_bytes;
        r.instructions++;
    }
    return iterations;
}

void execute(HWGEN_WEIGHT_PARAMETERS, DataBeat* gmem1, const Arguments& a, const Instruction& f, Row rows, Run& run,
             Buffers& b) {
#pragma HLS inline
    const std::uint64_t offset = f.offset().to_uint64();
    switch (f.op()) {
        case LOAD: {
            const std::uint64_t base = spilled(f) ? a.output_base + run.progress.output_offset.to_uint64() : a.program_base;
            load(gmem1, base + offset, f, b.x, b.table, b.activation);
            break;
        }
        case IMAGE:
            image(gmem1, a.input_base + run.progress.input_offset.to_uint64() + offset, f, b.y);
            break;
        case NORM: layernorm(f, b.x, b.table, b.y); break;
        case MATMUL:
        case ATTENTION: engine(HWGEN_WEIGHT_ARGUMENTS, a.weights_base, f, rows, run.engine, b); break;
        case ROUTE: router(f, b.logits, b.queue, b.counts); break;
        case GATHER: gather(f, rows, b.queue, b.y, b.h); break;
        case MEAN: mean(f, b.y, b.h); break;
        case STORE:
            store(gmem1, a.output_base + run.progress.output_offset.to_uint64() + offset, f, b.x, b.y);
            break;
        default: break;
    }
}

// A program from its entry to END, or to what is wrong with it.
Error program(HWGEN_WEIGHT_PARAMETERS, DataBeat* gmem1, const Arguments& a, Run& run, Buffers& b, Results& r) {
    const ap_uint<26> count = ap_uint<32>(a.program_size - a.entry) / INSTRUCTION_BYTES;
    run.progress.kept = 0;
    run.engine = {0, 0};
    run.image_cycles = 0;
    run.index = 0;
instructions:
    for (ap_uint<26> i = 0; i < count; i++) {
#pragma HLS loop_tripcount min=16 max=10000
        const std::uint64_t at = a.program_base + a.entry.to_uint64() + i.to_uint64() * INSTRUCTION_BYTES;
        const Instruction f = fetch(gmem1, at);
        run.index = i;
        const Error code = fault(f, a, run.progress);
        if (code != NONE) return code;
        const Row rows = f.use_queue() ? Row(b.counts[f.expert()]) : Row(f.row_end());
        const Count cost = cost_of(f, rows, r, false);
        if (a.watchdog != 0 && run.image_cycles + cost > a.watchdog) return WATCHDOG;
        run.image_cycles += cost_of(f, rows, r, true);
#if defined(HWGEN_CSIM)
        count_unit(f, rows, cost);
#endif
        if (f.op() == END) return NONE;
        execute(HWGEN_WEIGHT_ARGUMENTS, gmem1, a, f, rows, run, b);
        run.progress.kept = kept_after(f, run.progress.kept);
        HWGEN_EXECUTED(i.to_int());
    }
    run.index = count;
    return PROGRAM_RANGE;
}

}  // namespace

void sequencer(HWGEN_WEIGHT_PARAMETERS, DataBeat* gmem1, const Arguments& a, Buffers& b, Results& r) {
    Run run;
    run.progress = {0, 0, 0};
    run.index = 0;
    r = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    Error code = refusal(a);
    const ap_uint<32> images = code != NONE ? ap_uint<32>(0) : a.batch == 0 ? ap_uint<32>(1) : a.batch;
images:
    for (ap_uint<32> image = 0; image < images; image++) {
#pragma HLS loop_tripcount min=1 max=64
        code = program(HWGEN_WEIGHT_ARGUMENTS, gmem1, a, run, b, r);
        r.cycles += run.image_cycles;
        if (code != NONE) break;
        run.progress.input_offset = advanced(run.progress.input_offset, a.input_stride);
        run.progress.output_offset = advanced(run.progress.output_offset, a.output_stride);
    }
    r.error_code = code;
    r.error_index = code == NONE ? ap_uint<16>(0) : ap_uint<16>(run.index);
}

}  // namespace hwgen
