// Requantization of a row of accumulators, and what follows it. docs/numerics.md, "Rules used everywhere".
#pragma once

#include "activation.h"
#include "types.h"

namespace hwgen {

struct Accumulators {
    Accumulator lane[C];
};

// Of C output channels.
struct Parameters {
    Accumulator bias[C];
    ap_uint<16> mult[C];
    ap_uint<6> shift[C];
};

enum class Mode : std::uint8_t { BYTE, HALF, LOGIT, OPERAND, ACTIVATION };

// What a row of accumulators becomes: sat(rshift((acc + bias) * M, S)), with a row factor R of M' = (R * M) >> 16, or the
// activation of that.
struct Requantization {
    Mode mode;
    bool use_factor;
    Factor factor;
    Rescale activation;
    bool gated;
    OperandWord gates;  // of the activations, if they are gated
};

// A row of C channels; `out` has as many bits as the mode says.
void postprocess(const Accumulators& row, const Parameters& p, const Requantization& r, const ActivationTable& table,
                 Logit out[C]);

}  // namespace hwgen
