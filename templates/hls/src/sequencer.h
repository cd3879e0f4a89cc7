// The sequencer: a program, once for each image of a batch, instruction by instruction. In order is right by contract: the
// ORDER fields allow units to overlap, which these do not.
#pragma once

#include "buffers.h"
#include "check.h"
#include "types.h"

namespace hwgen {

// The registers that a host reads after a run. What an HLS kernel cannot know of itself stays 0: stalls.
struct Results {
    ap_uint<8> error_code;
    ap_uint<16> error_index;
    Count cycles;  // iterations of all loops one after another at II = 1, those of processes side by side counted once
    Count array_busy, attention_busy, kv_read_bytes;
    Count weight_bytes, data_read_bytes, data_written_bytes, instructions;
};

void sequencer(HWGEN_WEIGHT_PARAMETERS, DataBeat* gmem1, const Arguments& a, Buffers& b, Results& r);

}  // namespace hwgen
