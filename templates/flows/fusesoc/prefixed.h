// The harness knows the model of the accelerator by the name it has without a prefix.
#pragma once
#include "V{{ design.top }}.h"
using Vhwgen_accelerator = V{{ design.top }};
