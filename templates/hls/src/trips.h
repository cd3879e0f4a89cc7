// What hwgen's C-simulation (csim/main.cpp) counts and checks: iterations of loops, addresses. Nothing of it is
// synthesized, nor is it in the tool's own simulation.
#pragma once

#include <cstdint>

#if defined(HWGEN_CSIM)
namespace hwgen {

// The loop `label` of `function` is about to run so many iterations.
void trips(const char* function, const char* label, std::uint64_t iterations);
// The instruction of this number is done: what it wrote may be looked at.
void executed(int index);
// An address that a memory does not have; the first one of a run is reported.
void outside(std::uint64_t index, int depth);

}  // namespace hwgen
#define HWGEN_TRIPS(function, label, iterations) hwgen::trips(function, label, iterations)
#define HWGEN_EXECUTED(index) hwgen::executed(index)
#else
#define HWGEN_TRIPS(function, label, iterations)
#define HWGEN_EXECUTED(index)
#endif

namespace hwgen {

// An address of a memory with so many words.
template <int DEPTH, class Index>
Index within(Index index) {
#if defined(HWGEN_CSIM)
    if (!(index < DEPTH)) {
        outside(std::uint64_t(index), DEPTH);
        return Index(0);
    }
#endif
    return index;
}

}  // namespace hwgen
