// LayerNorm, RMSNorm, and the rescale of a task without one: rows of X to rows of Y. docs/numerics.md, "LayerNorm".
#pragma once

#include "isa.h"
#include "types.h"

namespace hwgen {

// Iterations of its loops at II = 1.
Count layernorm_iterations(const Instruction& f);

void layernorm(const Instruction& f, const XBuffer& x, const NormTable& table, RowBuffer& y);

}  // namespace hwgen
