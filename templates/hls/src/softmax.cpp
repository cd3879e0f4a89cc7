#include "softmax.h"

#include "tables.h"

namespace hwgen {

Probability probability(Stream score, Stream maximum, ap_uint<5> number) {
#pragma HLS inline
#pragma HLS bind_storage variable=EXP type=rom_np impl=lutram
    const ap_uint<16> u = maximum - score;
    const ap_uint<13> e = ap_uint<13>(EXP[(u & 31).to_uint()]) >> ap_uint<11>(u >> 5);
    ap_uint<5> dither = 0;
bits:
    for (int bit = 0; bit < 5; bit++) {
#pragma HLS unroll
        if (number[bit]) dither |= ap_uint<5>(16 >> bit);
    }
    return ap_uint<14>(e + dither) >> 5;
}

Factor reciprocal(ProbabilitySum sum) {
#pragma HLS inline
    return ap_uint<25>(1 << 24) / sum;
}

}  // namespace hwgen
