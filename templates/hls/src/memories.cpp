#include "memories.h"

namespace hwgen {
namespace {

Buffers b;

}  // namespace

#if !defined(__SYNTHESIS__)
Buffers& memories() { return b; }
#endif

void accelerator(HWGEN_WEIGHT_PARAMETERS, DataBeat* gmem1, const Arguments& a, Results& r) {
#pragma HLS inline
#pragma HLS aggregate variable=b.x compact=bit
#pragma HLS aggregate variable=b.y compact=bit
#pragma HLS aggregate variable=b.h compact=bit
#pragma HLS aggregate variable=b.keys compact=bit
#pragma HLS aggregate variable=b.values compact=bit
#pragma HLS aggregate variable=b.scores compact=bit
#pragma HLS aggregate variable=b.ring compact=bit
#pragma HLS aggregate variable=b.logits compact=bit
#pragma HLS aggregate variable=b.table compact=bit
// A memory for each row, key, value or part of a word that a step needs at once.
#pragma HLS array_partition variable=b.y dim=1 type=complete
#pragma HLS array_partition variable=b.y dim=2 type=complete
#pragma HLS array_partition variable=b.h dim=1 type=complete
#pragma HLS array_partition variable=b.h dim=2 type=complete
#pragma HLS array_partition variable=b.keys dim=1 type=complete
#pragma HLS array_partition variable=b.keys dim=2 type=complete
#pragma HLS array_partition variable=b.values dim=1 type=complete
#pragma HLS array_partition variable=b.scores dim=1 type=complete
#pragma HLS array_partition variable=b.scores dim=2 type=complete
#pragma HLS array_partition variable=b.counts dim=1 type=complete
#pragma HLS array_partition variable=b.table dim=2 type=complete
#pragma HLS array_partition variable=b.activation dim=1 type=complete
#pragma HLS bind_storage variable=b.x type=ram_t2p impl=bram
#pragma HLS bind_storage variable=b.y type=ram_s2p impl=bram
#pragma HLS bind_storage variable=b.h type=ram_s2p impl=bram
#pragma HLS bind_storage variable=b.keys type=ram_s2p impl=bram
#pragma HLS bind_storage variable=b.values type=ram_s2p impl=bram
#pragma HLS bind_storage variable=b.ring type=ram_s2p impl=bram
    sequencer(HWGEN_WEIGHT_ARGUMENTS, gmem1, a, b, r);
}

}  // namespace hwgen
