// The softmax of a row of scores: probabilities relative to its maximum, the quotient put off until after PV.
// docs/numerics.md, "Attention".
#pragma once

#include "types.h"

namespace hwgen {

using Probability = ap_uint<8>;
using ProbabilitySum = ap_uint<21>;  // of MAX_TOKENS keys

// Of a key with this score; `number`: the key's in its image, whose low bits say where to round.
Probability probability(Stream score, Stream maximum, ap_uint<5> number);

// floor(2^24 / sum), for a sum of at least 255.
Factor reciprocal(ProbabilitySum sum);

}  // namespace hwgen
