// What becomes of the rows that leave the array: post-processed, to a buffer, the router or the scores.
#pragma once

#include "pass.h"
#include "postprocess.h"

namespace hwgen {

void drain(const Pass& pass, stream<Accumulators>& rows, stream<Parameters>& parameters, stream<Sums>& sums,
           const ActivationTable& table, const Queue& queue, XBuffer& x, RowBuffer& y, HBuffer& h, KeyBuffer& keys,
           ValueBuffer& values, ScoreBuffer& scores, Maxima& maxima, LogitBuffer& logits);

}  // namespace hwgen
