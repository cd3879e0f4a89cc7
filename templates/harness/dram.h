// DRAM behind the accelerator's AXI masters: one flat image, guarded ranges; when it answers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

constexpr uint64_t NEVER = UINT64_MAX;

struct Range {
    uint64_t base = 0, size = 0;
    bool holds(uint64_t address, uint64_t bytes) const {
        return address >= base && bytes <= size && address - base <= size - bytes;
    }
};

// Everything outside the ranges that a port may use in a job is an error; the first one is kept and ends the run.
class Dram {
public:
    uint64_t origin = 0;
    std::vector<uint8_t> bytes;
    std::vector<Range> writable;
    unsigned longest = 256;  // beats of a burst: AXI3 slaves take 16
    std::string error;

    void fail(const char* port, const char* what, uint64_t address) {
        if (!error.empty()) return;
        char text[160];
        std::snprintf(text, sizeof text, "%s: %s at address 0x%llx", port, what, (unsigned long long)address);
        error = text;
    }
    // Reads of a whole beat: a range may end inside it.
    void read(const char* port, const std::vector<Range>& readable, uint64_t address, uint8_t* out, unsigned count) {
        if (!any(readable, address) || address - origin > bytes.size() - count) {
            fail(port, "read outside the regions that it is for", address);
            std::memset(out, 0xA5, count);
            return;
        }
        std::memcpy(out, &bytes[address - origin], count);
    }
    void write(const char* port, uint64_t address, const uint8_t* in, uint64_t strobe, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
            if (!(strobe >> i & 1)) continue;
            if (!any(writable, address + i)) return fail(port, "write outside the output of this run", address + i);
            bytes[address + i - origin] = in[i];
        }
    }

private:
    static bool any(const std::vector<Range>& ranges, uint64_t address) {
        return std::any_of(ranges.begin(), ranges.end(), [=](const Range& range) { return range.holds(address, 1); });
    }
};

struct Timing {
    unsigned latency = 0;         // cycles from address to first beat, and from last beat to response
    unsigned jitter = 0;          // up to so many cycles more, for each burst that is read
    unsigned stall_percent = 0;   // chance that a port is not served in a cycle
    unsigned outstanding = 32;    // bursts accepted ahead
    std::mt19937 random{1};
    bool stall() { return stall_percent && random() % 100 < stall_percent; }
    unsigned delay() { return jitter ? random() % (jitter + 1) : 0; }
};
