// MATMUL and ATTENTION: passes of the array. Weights are read, widened, issued, multiplied and drained side by side.
#pragma once

#include "buffers.h"
#include "isa.h"
#include "weight_stream.h"

namespace hwgen {

// What of a program's run the engine remembers from one instruction to the next.
struct EngineState {
    ap_uint<20> ring_base;  // where the kept words begin
    ap_uint<1> half;        // of the score buffer, for the next query tile
};

// What an instruction of the engine takes, in iterations at II = 1, and what it moves. `waiting`: iterations in which its
// weights are still read and widened when all else is done; those of the next instruction are not read meanwhile.
struct EngineCost {
    Count iterations, waiting, steps, weight_bytes, kv_bytes;
};

// `rows`: of the expert's queue, if the instruction uses it.
EngineCost engine_cost(const Instruction& f, Row rows);

// `shares`: address of the weights region in each port's memory.
void engine(HWGEN_WEIGHT_PARAMETERS, const std::uint64_t shares[WEIGHT_PORTS], const Instruction& f, Row rows,
            EngineState& state, Buffers& b);

}  // namespace hwgen
