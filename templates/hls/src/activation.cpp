#include "activation.h"

namespace hwgen {

ap_int<18> gated(const Rescale& rescale, Operand gate) {
#pragma HLS inline
    return ap_int<25>(gate * rescale.mult) >> 7;
}

Operand activate(ap_int<13> h, ap_int<18> mult, const Rescale& rescale, const ap_uint<8> table[ACTIVATION_ENTRIES]) {
#pragma HLS inline
    const bool negative = h < 0;
    const ap_uint<13> size = negative ? ap_uint<13>(-h) : ap_uint<13>(h);
    const ap_uint<8> even = size < ACTIVATION_ENTRIES ? table[size & (ACTIVATION_ENTRIES - 1)] : ap_uint<8>(0);
    const ap_uint<14> relu = negative ? ap_uint<14>(0) : ap_uint<14>(ap_uint<14>(size) << 2);
    const ap_int<15> g = relu - even;
    const ap_int<34> scaled = rshift(ap_int<33>(g * mult), rescale.shift);
    return operand(ap_int<35>(scaled + rescale.zero));
}

}  // namespace hwgen
