// The memories of the accelerator, and the accelerator without its interfaces.
#pragma once

#include "sequencer.h"

namespace hwgen {

#if !defined(__SYNTHESIS__)
Buffers& memories();  // C-simulation looks into them
#endif

void accelerator(HWGEN_WEIGHT_PARAMETERS, DataBeat* gmem1, const Arguments& a, Results& r);

}  // namespace hwgen
