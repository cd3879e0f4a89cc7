// What hwgen's C-simulation (csim/main.cpp) counts and checks: iterations of loops, addresses. Nothing of it is
// synthesized, nor is it in the tool's own simulation.
#pragma once

#include <cstdint>

namespace hwgen {

#if !defined(HWGEN_CSIM)
inline void trips(const char*, const char*, std::uint64_t) {}
inline void executed(int) {}
template <int DEPTH, class Index>
Index within(Index index, const char*) {
    return index;
}
#else
// The loop `label` of `function` is about to run so many iterations.
void trips(const char* function, const char* label, std::uint64_t iterations);
// The instruction of this number is done: what it wrote may be looked at.
void executed(int index);
// An address that a memory does not have; the first one of a run is reported.
void outside(const char* memory, std::uint64_t index, int depth);

template <int DEPTH, class Index>
Index within(Index index, const char* memory) {
    if (index < DEPTH) return index;
    outside(memory, std::uint64_t(index), DEPTH);
    return Index(0);
}
#endif

}  // namespace hwgen
