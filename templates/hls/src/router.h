// The router: logits to gate weights and the experts' queues of tokens. docs/numerics.md, "Mixture of experts".
#pragma once

#include "isa.h"
#include "types.h"

namespace hwgen {

Count router_iterations(const Instruction& f);

void router(const Instruction& f, const LogitBuffer& logits, Queue& queue, Counts& counts);

}  // namespace hwgen
