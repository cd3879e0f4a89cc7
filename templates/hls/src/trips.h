// What hwgen's C-simulation (csim/main.cpp) counts and checks: iterations of loops, addresses. Nothing of it is
// synthesized, nor is it in the tool's own simulation.
#pragma once

#include <cstdint>

#include "params.h"

#if defined(HWGEN_CSIM)
namespace hwgen {

// The loop `label` of `function` is about to run so many iterations.
void trips(const char* function, const char* label, std::uint64_t iterations);
// The instruction of this number is done: what it wrote may be looked at.
void executed(int index);
// An address that a memory does not have; the first one of a run is reported.
void outside(std::uint64_t index, int depth);
// A word is read that was written just before.
void too_soon(std::uint64_t index);

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

// What a loop writes to a memory and reads from it, whose pipeline takes it for granted that they are far apart.
class Apart {
#if defined(HWGEN_CSIM)
public:
    void written(std::uint64_t iteration, std::uint64_t address) { last_[iteration % APART] = {iteration + 1, address}; }
    void read(std::uint64_t iteration, std::uint64_t address) const {
        for (const auto& one : last_)
            if (one.count > 0 && one.address == address && iteration + 1 - one.count < APART) too_soon(address);
    }

private:
    struct {
        std::uint64_t count, address;  // iterations until then; 0: none
    } last_[APART] = {};
#else
public:
    void written(std::uint64_t, std::uint64_t) {}
    void read(std::uint64_t, std::uint64_t) const {}
#endif
};

}  // namespace hwgen
