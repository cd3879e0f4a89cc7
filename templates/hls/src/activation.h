// The activation function: ReLU less an even function of |h|, which is a table. docs/numerics.md, "MLP and activation".
#pragma once

#include "types.h"

namespace hwgen {

// From the activation's steps of 2^-9 to the next layer's row operands.
struct Rescale {
    ap_uint<16> mult;
    ap_uint<5> shift;
    ap_int<12> zero;
};

// What takes the multiplier's place where `gate` takes part.
ap_int<18> gated(const Rescale& rescale, Operand gate);

// h in steps of 2^-7, times `mult`; `table`: a lane's copy.
Operand activate(ap_int<13> h, ap_int<18> mult, const Rescale& rescale, const ap_uint<8> table[ACTIVATION_ENTRIES]);

}  // namespace hwgen
