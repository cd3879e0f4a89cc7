// What the testbench sees of a kernel: $comment.
#pragma once

#include <cstdint>

namespace hwgen {

struct WeightBeat { std::uint8_t byte[$weight_beat]; };
struct DataBeat { std::uint8_t byte[$data_beat]; };
inline constexpr int WEIGHT_PORTS = $ports;
struct Memory {
    const WeightBeat* weights[WEIGHT_PORTS];
    DataBeat* data;
};
struct Registers { std::uint64_t $registers; };
void run(const Memory& memory, Registers& registers);

}  // namespace hwgen

extern "C" void $top(const hwgen::WeightBeat* gmem0, hwgen::DataBeat* gmem1, std::uint64_t program_base);
