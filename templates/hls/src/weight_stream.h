// The weight stream: from DRAM to words of the ring. docs/architecture.md, "Weight stream".
#pragma once

#include "types.h"

namespace hwgen {

struct PortsBeat {
    WeightBeat port[WEIGHT_PORTS];
};

// The weights of a MATMUL; `bytes` is 0 when there are none to read.
struct WeightCommand {
    std::uint64_t address[WEIGHT_PORTS];  // of its first byte, in each port's share
    ap_uint<32> bytes;
    bool narrow;  // packed two to a byte
    ap_uint<16> tiles, k_steps;
};

Count weight_beats(const WeightCommand& command);
Count weight_parts(const WeightCommand& command);  // iterations of `widen`

void read_weights(HWGEN_WEIGHT_PARAMETERS, const WeightCommand& command, stream<PortsBeat>& beats);

// Beats to ring words; packed ones become bytes, a word of a tile's odd last pair is dropped.
void widen(const WeightCommand& command, stream<PortsBeat>& beats, stream<RingWord>& words);

}  // namespace hwgen
