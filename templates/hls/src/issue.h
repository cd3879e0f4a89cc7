// The array's operands, step by step: rows of Y or H against weights, queries against keys, probabilities against values.
#pragma once

#include "array.h"
#include "pass.h"

namespace hwgen {

void issue(const Pass& pass, const RowBuffer& y, const HBuffer& h, const KeyBuffer& keys, const ValueBuffer& values,
           const ScoreBuffer& scores, const Maxima& maxima, Ring& ring, stream<RingWord>& weights, stream<Step>& steps,
           stream<Parameters>& parameters, stream<Sums>& sums);

}  // namespace hwgen
