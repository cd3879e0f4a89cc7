#include "activation.h"

namespace hwgen {

Operand activate(ap_int<13> h, const Rescale& rescale, const ap_uint<8> table[ACTIVATION_ENTRIES]) {
#pragma HLS inline
    const bool negative = h < 0;
    const ap_uint<13> size = negative ? ap_uint<13>(-h) : ap_uint<13>(h);
    const ap_uint<8> even = size < ACTIVATION_ENTRIES ? table[size & (ACTIVATION_ENTRIES - 1)] : ap_uint<8>(0);
    const ap_uint<14> relu = negative ? ap_uint<14>(0) : ap_uint<14>(ap_uint<14>(size) << 2);
    const ap_int<15> g = relu - even;
    const ap_int<33> scaled = rshift(ap_int<32>(g * rescale.mult), rescale.shift);
    return operand(ap_int<34>(scaled + rescale.zero));
}

}  // namespace hwgen
