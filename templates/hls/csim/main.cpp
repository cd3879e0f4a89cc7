// C-simulation: runs jobs (a task's program on an input) on the kernel, as the harness of the RTL does, without starting
// afresh in between. Usage: csim JOBFILE. The job file is that of ../../harness/jobs.h; of the memory's timing it takes
// nothing, as there are no cycles here.

#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <random>

#include "jobs.h"
#include "kernel.h"
#include "memories.h"

namespace {

using namespace hwgen;

struct Trips {
    std::uint64_t entered, iterations;
};
std::map<std::string, Trips> loops;  // function.label
std::string violation;               // the first of a job
const Probes* probes = nullptr;
std::ofstream dumps;
std::uint32_t running = 0;

// Words as the RTL's memories have them: elements side by side, the first one in the lowest bits.
class Packed {
public:
    explicit Packed(std::vector<std::uint8_t>& bytes) : bytes(bytes) {}
    void add(std::uint64_t value, int bits) {
        for (int bit = 0; bit < bits; bit++, at++) {
            if (at % 8 == 0) bytes.push_back(0);
            bytes.back() |= std::uint8_t((value >> bit & 1) << at % 8);
        }
    }

private:
    std::vector<std::uint8_t>& bytes;
    unsigned at = 0;
};

template <class Word>
void lanes(Packed& out, const Word& word, int bits) {
    for (const auto& lane : word.lane) out.add(std::uint64_t(lane.to_int64()), bits);
}

template <int BANKS, int DEPTH, class Word>
void parts(Packed& out, const Word (&buffer)[BANKS][PARTS][DEPTH], int bank, unsigned word, int bits) {
    for (int part = 0; part < PARTS; part++) lanes(out, buffer[bank][part][word], bits);
}

// A word of the memory that the RTL has at this path (hwgen.rtl.emit.debug_map).
void add_word(Packed& out, const std::string& path, unsigned word) {
    const Buffers& b = memories();
    const auto is = [&](const char* name) { return path.find(std::string(".datapath.") + name + ".") != path.npos; };
    const auto at = path.find(".bank");
    const int bank = at == path.npos ? 0 : std::atoi(path.c_str() + at + 5);
    if (is("x")) return lanes(out, b.x[word], 16);
    if (is("y")) return parts(out, b.y, bank, word, 9);
    if (is("h")) return parts(out, b.h, bank, word, 9);
    if (is("keys")) return parts(out, b.keys, bank, word, 8);
    if (is("values")) return lanes(out, b.values[bank][word], 8);
    if (is("softmax.score_buffer")) return parts(out, b.scores, bank, word, 16);
    if (is("router.logits")) return lanes(out, b.logits[word], 24);
    if (is("router.queue")) {
        out.add(b.queue[word].token.to_uint64(), ROW_BITS);
        return out.add(b.queue[word].weight.to_uint64(), 17);
    }
    if (is("router.counts")) {
        for (const auto& count : b.counts) out.add(count.to_uint64(), ROW_BITS);
        return;
    }
    give_up("no memory at " + path);
}

// Whatever the memories hold at the start, nothing may rely on it.
template <class Word>
void randomize(Word& word, std::mt19937& random) {
    for (auto& lane : word.lane) lane = int(random());
}
void randomize_memories(unsigned seed) {
    std::mt19937 random(seed);
    Buffers& b = memories();
    for (auto& word : b.x) randomize(word, random);
    for (auto& bank : b.y) for (auto& part : bank) for (auto& word : part) randomize(word, random);
    for (auto& bank : b.h) for (auto& part : bank) for (auto& word : part) randomize(word, random);
    for (auto& bank : b.keys) for (auto& part : bank) for (auto& word : part) randomize(word, random);
    for (auto& bank : b.values) for (auto& word : bank) randomize(word, random);
    for (auto& bank : b.scores) for (auto& part : bank) for (auto& word : part) randomize(word, random);
    for (auto& word : b.ring) for (auto& byte : word.byte) byte = std::uint8_t(random());
    for (auto& word : b.logits) randomize(word, random);
    for (auto& entry : b.queue) entry = {random() % MAX_TOKENS, random() >> 15};
    for (auto& count : b.counts) count = random() % MAX_TOKENS;
    for (auto& planes : b.table) for (auto& word : planes) randomize(word, random);
    for (auto& lane : b.activation) for (auto& entry : lane) entry = random();
}

// The regions of a job in address spaces that begin with address 0.
class Spaces {
public:
    explicit Spaces(Options& o) : o(o) {}
    std::uint64_t place(std::uint64_t address) const { return address - o.dram.origin; }
    Memory memory() {
        Memory m;
        for (auto& port : m.weights) port = reinterpret_cast<const WeightBeat*>(o.dram.bytes.data());
        m.data = reinterpret_cast<DataBeat*>(o.dram.bytes.data());
        return m;
    }

private:
    Options& o;
};

class Machine {
public:
    explicit Machine(Options& options) : o(options), spaces(options) {
        if (!o.dumps.empty()) dumps.open(o.dumps, std::ios::binary);
        results.open(o.results);
        if (!results) give_up("cannot write " + o.results);
        randomize_memories(o.seed);
    }

    bool run(unsigned number) {
        const Job& job = o.jobs[number];
        if (job.weights.size() != WEIGHT_PORTS) give_up("a job must have weights for each of the ports");
        if (job.fault_port >= 0 || job.stop != NEVER || job.reset != NEVER || job.silent_ports || job.heard != NEVER)
            return failed(number, "C-simulation has no bus: no faults, stops, resets or silent ports");
        running = number;
        violation.clear();
        const auto found = o.probes.find(job.probes);
        probes = found == o.probes.end() ? nullptr : &found->second;
        Registers r = arguments(job);
        const std::vector<std::uint8_t> before = o.dram.bytes;
        hwgen::run(spaces.memory(), r);
        results << "job " << number << " cycles " << r.cycles << " error " << r.error_code << " error_index "
                << r.error_index;
        for (const auto& [name, offset] : o.counters) results << ' ' << name << ' ' << named(r, offset);
        results << "\noutput ";
        static const char digits[] = "0123456789abcdef";
        const std::uint8_t* output = &o.dram.bytes[job.output.base - o.dram.origin];
        for (std::uint64_t i = 0; i < job.output.size; i++) results << digits[output[i] >> 4] << digits[output[i] & 15];
        results << std::endl;
        if (!violation.empty()) return failed(number, violation);
        const std::uint64_t first = job.output.base - o.dram.origin, end = first + job.output.size;
        if (std::memcmp(before.data(), o.dram.bytes.data(), first) ||
            std::memcmp(&before[end], &o.dram.bytes[end], before.size() - end))
            return failed(number, "a write outside the output of this run");
        std::cout << "done " << number << ' ' << r.cycles << std::endl;
        return true;
    }

private:
    Registers arguments(const Job& job) const {
        Registers r;
        r.program_base = spaces.place(job.program.base);
        r.program_size = job.program.size;
        const auto bases = weight_bases(r);
        for (unsigned port = 0; port < WEIGHT_PORTS; port++) {
            *bases[port] = spaces.place(job.weights[port].base);
            r.weights_size += job.weights[port].size;
        }
        r.input_base = spaces.place(job.input.base);
        r.input_size = job.input.size;
        r.output_base = spaces.place(job.output.base);
        r.output_size = job.output.size;
        r.entry = job.entry;
        r.batch = job.batch;
        r.input_stride = job.input_stride;
        r.output_stride = job.output_stride;
        r.watchdog = job.watchdog;
        return r;
    }
    static std::vector<std::uint64_t*> weight_bases(Registers& r) {
        return {
            &r.weights_base,
#if HWGEN_WEIGHT_PORTS > 1
            &r.weights_base1,
#endif
#if HWGEN_WEIGHT_PORTS > 2
            &r.weights_base2, &r.weights_base3,
#endif
        };
    }
    static std::uint64_t named(const Registers& r, std::uint32_t offset) {
        const auto found = BY_OFFSET.find(offset);
        return found == BY_OFFSET.end() ? 0 : r.*found->second;
    }
    bool failed(unsigned number, const std::string& why) {
        results << "failed " << number << ' ' << why << std::endl;
        std::cout << "failed " << number << ": " << why << std::endl;
        return false;
    }

    Options& o;
    Spaces spaces;
    std::ofstream results;
};

void write_trips(const std::string& path) {
    std::ofstream file(path);
    for (const auto& [name, loop] : loops) file << name << ' ' << loop.entered << ' ' << loop.iterations << '\n';
    if (!file) give_up("cannot write " + path);
}

}  // namespace

namespace hwgen {

void trips(const char* function, const char* label, std::uint64_t iterations) {
    Trips& loop = loops[std::string(function) + '.' + label];
    loop.entered++;
    loop.iterations += iterations;
}

void outside(std::uint64_t index, int depth) {
    if (violation.empty())
        violation = "word " + std::to_string(index) + " of a memory of " + std::to_string(depth);
}

void too_soon(std::uint64_t index) {
    if (violation.empty()) violation = "word " + std::to_string(index) + " is read too soon after it was written";
}

void executed(int index) {
    if (!probes) return;
    const auto [from, to] = probes->equal_range(unsigned(index));
    std::uint32_t number = 0;
    for (auto it = from; it != to; ++it, ++number) {
        const ::Probe& probe = it->second;
        std::vector<std::uint8_t> bytes;
        for (unsigned word = 0; word < probe.count; word++) {
            Packed packed(bytes);
            add_word(packed, probe.path, probe.first + word);
        }
        const auto width = std::uint32_t(bytes.size() / probe.count);
        const std::uint32_t header[5] = {running, std::uint32_t(index), number, probe.count, width};
        dumps.write(reinterpret_cast<const char*>(header), sizeof header);
        dumps.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    }
}

}  // namespace hwgen

int main(int argc, char** argv) {
    if (argc != 2) give_up("usage: csim JOBFILE");
    Options options = read_jobs(argv[1]);
    Machine machine(options);
    for (unsigned i = 0; i < options.jobs.size(); i++)
        if (!machine.run(i)) return 1;
    if (!options.trips.empty()) write_trips(options.trips);
    return 0;
}
