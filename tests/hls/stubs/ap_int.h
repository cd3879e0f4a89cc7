// Stand-in of Xilinx's header for the lint: our integers, not in our namespace.
#pragma once

#define hwgen hwgen_xilinx
#include "integers.h"
#undef hwgen
using hwgen_xilinx::ap_int;
using hwgen_xilinx::ap_uint;
