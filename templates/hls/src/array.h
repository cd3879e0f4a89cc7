// The one compute unit: T x C dot products of K lanes a step.
#pragma once

#include "pass.h"
#include "postprocess.h"
#include "types.h"

namespace hwgen {

// A step of the array; `last` ones are PERIOD steps apart at least. Steps that are not `valid` only take their time.
struct Step {
    Operand a[T][K];
    Weight b[C][K];
    bool valid, first, last;
};

// A pass's steps; after each `last` one the T rows of accumulators leave one by one, while the next steps go on.
void array(const Pass& pass, stream<Step>& in, stream<Accumulators>& rows);

}  // namespace hwgen
