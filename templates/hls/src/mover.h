// The mover: rows of Y to H, an expert's tokens side by side (GATHER) or the mean of many (MEAN).
#pragma once

#include "isa.h"
#include "types.h"

namespace hwgen {

// `rows`: of the expert's queue.
Count mover_iterations(const Instruction& f, Row rows);

void gather(const Instruction& f, Row rows, const Queue& queue, const RowBuffer& y, HBuffer& h);
void mean(const Instruction& f, const RowBuffer& y, HBuffer& h);

}  // namespace hwgen
