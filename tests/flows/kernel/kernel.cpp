// In place of a kernel: writes what it should from the files of the testbench, or, as STUB_KERNEL says, something else:
// byte, error, accepts, writes, stray, nothing.
#include "kernel.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "../tb/tb_data.h"

extern "C" void $top(const hwgen::WeightBeat* gmem0, hwgen::DataBeat* gmem1, std::uint64_t program_base) {
#pragma HLS INTERFACE m_axi port=gmem0 offset=off bundle=gmem0
#pragma HLS INTERFACE m_axi port=gmem1 offset=off bundle=gmem1
#pragma HLS INTERFACE m_axi port=gmem2 offset=off bundle=gmem2
#pragma HLS INTERFACE s_axilite port=program_base offset=0x10 bundle=control
}

static std::vector<std::uint8_t> load(const std::string& name) {
    std::ifstream file(std::string(std::getenv("STUB_DATA")) + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void hwgen::run(const Memory& memory, Registers& registers) {
    const std::string does = std::getenv("STUB_KERNEL");
    std::uint8_t* bytes = memory.data->byte;
    auto holds = [](const std::vector<std::uint8_t>& region, const void* at) {
        return !std::memcmp(at, region.data(), region.size());
    };
    bool loaded = holds(load(tb::PROGRAM_FILE), bytes + registers.program_base) &&
                  holds(load(tb::INPUT_FILE), bytes + registers.input_base) && registers.batch == 1;
    for (int port = 0; port < WEIGHT_PORTS; port++)
        loaded = loaded && holds(load(tb::WEIGHT_FILES[port]), memory.weights[port]->byte);
    registers.error_code = loaded ? 0 : 99;
    registers.cycles = 1234;
    if (does == "stray") bytes[registers.input_base] ^= 1;
    if (registers.entry >= registers.program_size) {
        if (does != "accepts") registers.error_code = tb::ENTRY_ERROR;
        if (does == "writes") bytes[registers.output_base] = 0;
        return;
    }
    for (const tb::Task& task : tb::TASKS) {
        if (task.entry != registers.entry || does == "nothing") continue;
        const auto expected = load(task.file);
        if (registers.output_size != task.size) registers.error_code = 98;
        for (std::size_t i = 0; i < expected.size(); i++)
            bytes[registers.output_base + i / task.row * task.pitch + i % task.row] = expected[i];
        const bool last = &task == std::end(tb::TASKS) - 1;
        if (does == "byte" && last) bytes[registers.output_base + 3] ^= 0x10;
        if (does == "error" && last) registers.error_code = 11, registers.error_index = 7;
    }
}
