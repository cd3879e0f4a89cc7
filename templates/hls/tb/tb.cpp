// Runs every task of a model on the kernel and compares what it writes with the outputs of the golden model, byte by
// byte; then asks for a program where there is none, which must be refused. Exit code 0: all is as expected.
// Usage: tb [DIRECTORY]. The data files are in the directory, or in the working directory, as in csim and cosim.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernel.h"
#include "tb_data.h"

namespace {

namespace data = hwgen::tb;

constexpr std::uint8_t UNTOUCHED = 0xA5;  // what the output region holds before a run
constexpr unsigned SHOWN = 8;             // wrong bytes of a task that are printed

static_assert(std::size(data::WEIGHT_FILES) == hwgen::WEIGHT_PORTS, "the data are of another kernel");
static_assert(sizeof(hwgen::WeightBeat) == data::WEIGHT_BEAT_BYTES, "the data are of another kernel");
static_assert(sizeof(hwgen::DataBeat) == data::DATA_BEAT_BYTES, "the data are of another kernel");

std::vector<std::uint8_t> load(const std::string& directory, const char* name, std::size_t bytes) {
    const std::string path = directory + "/" + name;
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    std::vector<std::uint8_t> found{std::istreambuf_iterator<char>(file), {}};
    if (found.size() != bytes)
        throw std::runtime_error(path + " has " + std::to_string(found.size()) + " bytes, must have " +
                                 std::to_string(bytes));
    return found;
}

class Bench {
public:
    explicit Bench(const std::string& directory) : directory(directory), before(data::OUTPUT_BASE) {
        const auto program = load(directory, data::PROGRAM_FILE, data::PROGRAM_SIZE);
        const auto input = load(directory, data::INPUT_FILE, data::INPUT_SIZE);
        std::copy(program.begin(), program.end(), before.begin() + data::PROGRAM_BASE);
        std::copy(input.begin(), input.end(), before.begin() + data::INPUT_BASE);
        for (int port = 0; port < hwgen::WEIGHT_PORTS; port++) {
            const auto share = load(directory, data::WEIGHT_FILES[port], data::WEIGHTS_SIZE / hwgen::WEIGHT_PORTS);
            weights[port].resize(data::WEIGHT_BEATS);
            std::memcpy(weights[port].data(), share.data(), share.size());
            memory.weights[port] = weights[port].data();
        }
        beats.resize(data::DATA_BEATS);
        memory.data = beats.data();
    }

    bool task(const data::Task& task) {
        const auto expected = load(directory, task.file, task.bytes);
        const hwgen::Registers registers = run(task.entry, task.size);
        std::printf("%s: %llu cycles\n", task.name, static_cast<unsigned long long>(registers.cycles));
        if (registers.error_code) {
            std::printf("%s: error code %u, instruction %u\n", task.name, unsigned(registers.error_code),
                        unsigned(registers.error_index));
            return false;
        }
        unsigned wrong = 0;
        for (std::size_t i = 0; i < expected.size(); i++) {
            const std::size_t offset = i / task.row * task.pitch + i % task.row;
            if (output()[offset] == expected[i]) continue;
            if (++wrong <= SHOWN)
                std::printf("%s: byte %zu of the output is 0x%02X, must be 0x%02X\n", task.name, offset,
                            unsigned(output()[offset]), unsigned(expected[i]));
        }
        if (wrong) std::printf("%s: %u of %zu bytes are wrong\n", task.name, wrong, expected.size());
        return untouched(task.name) && !wrong;
    }

    // An entry behind the last instruction: the start is refused and nothing is written.
    bool refused() {
        const hwgen::Registers registers = run(data::PROGRAM_SIZE, data::TASKS[0].size);
        if (registers.error_code != data::ENTRY_ERROR)
            std::printf("no program: error code %u, must be %u\n", unsigned(registers.error_code), data::ENTRY_ERROR);
        const std::size_t size = data::TASKS[0].size;
        const bool written = std::count(output(), output() + size, UNTOUCHED) != std::ptrdiff_t(size);
        if (written) std::printf("no program: the output region has been written\n");
        return untouched("no program") && !written && registers.error_code == data::ENTRY_ERROR;
    }

private:
    std::string directory;
    std::vector<std::uint8_t> before;  // what lies in front of the output region
    std::vector<hwgen::WeightBeat> weights[hwgen::WEIGHT_PORTS];
    std::vector<hwgen::DataBeat> beats;
    hwgen::Memory memory{};

    std::uint8_t* bytes() { return reinterpret_cast<std::uint8_t*>(beats.data()); }
    const std::uint8_t* output() { return bytes() + data::OUTPUT_BASE; }

    // Every memory begins at address 0, and so do the weights in each of theirs.
    hwgen::Registers run(std::uint32_t entry, std::uint32_t output_size) {
        std::memset(bytes(), UNTOUCHED, beats.size() * sizeof beats[0]);
        std::copy(before.begin(), before.end(), bytes());
        hwgen::Registers registers{};
        registers.program_base = data::PROGRAM_BASE;
        registers.program_size = data::PROGRAM_SIZE;
        registers.weights_size = data::WEIGHTS_SIZE;
        registers.input_base = data::INPUT_BASE;
        registers.input_size = data::INPUT_SIZE;
        registers.output_base = data::OUTPUT_BASE;
        registers.output_size = output_size;
        registers.entry = entry;
        registers.batch = 1;
        hwgen::run(memory, registers);
        return registers;
    }

    bool untouched(const char* name) {
        const auto at = std::mismatch(before.begin(), before.end(), bytes()).first - before.begin();
        if (std::size_t(at) == before.size()) return true;
        std::printf("%s: the kernel has written address %td, outside the output region\n", name, at);
        return false;
    }
};

}  // namespace

int main(int argc, char** argv) {
    try {
        Bench bench(argc > 1 ? argv[1] : ".");
        unsigned failed = 0;
        for (const data::Task& task : data::TASKS) failed += !bench.task(task);
        failed += !bench.refused();
        std::printf(failed ? "FAILED: %u runs are not as expected\n" : "PASSED\n", failed);
        return failed != 0;
    } catch (const std::exception& error) {
        std::printf("FAILED: %s\n", error.what());
        return 1;
    }
}
