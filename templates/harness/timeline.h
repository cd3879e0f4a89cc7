// What a run is remembered by, if a job file asks for it: instructions on their units, each cycle's cause, bursts.
// Lines of the file, times in cycles since the job's start; sim/harness.py reads them:
//   span JOB UNIT INSTRUCTION BEGIN RETIRE     retire: when all writes had been made
//   cause JOB CAUSE FIRST END                  what the cycles FIRST .. END - 1 went to, number of CAUSES below
//   burst JOB REGION PORT OFFSET BYTES ASKED FIRST LAST   asked: its address was taken; first, last: its beats
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "jobs.h"
#include "verilated.h"
#include "verilated_sym_props.h"
#include "verilated_syms.h"

// Of the register map's counters: one of them counts in each cycle of a run.
static const char* const CAUSES[] = {"array_busy",  "stall_weights", "stall_drain", "stall_pipeline", "stall_issue",
                                     "stall_norm",  "stall_router",  "stall_mover", "stall_data",     "stall_fetch"};

class Timeline {
public:
    // `jobs`: of the first ones. A design that has no such counters is remembered without causes.
    void open(const Options& options, VerilatedContext& context) {
        if (options.timeline.empty()) return;
        file.open(options.timeline);
        jobs = options.timeline_jobs;
        for (auto& [name, scope] : *context.scopeNameMap()) {
            std::vector<const CData*> found;
            for (const char* cause : CAUSES)
                if (VerilatedVar* counted = scope->varFind((std::string(cause) + "_amount").c_str()))
                    found.push_back(static_cast<const CData*>(counted->datap()));
            if (found.size() == sizeof CAUSES / sizeof *CAUSES) counting = found;
        }
    }

    // What lies between `begin` and `finish` of a job is remembered.
    void begin(unsigned number, const Job& what, uint64_t now) {
        if (number >= jobs) return;
        job = &what;
        line = " " + std::to_string(number) + " ";
        start = now;
    }
    void finish(uint64_t now) {
        if (job) end(now);
        cause = NONE;
        job = nullptr;
    }

    void span(unsigned unit, unsigned instruction, uint64_t from, uint64_t now) {
        if (job) file << "span" << line << unit << ' ' << instruction << ' ' << from - start << ' ' << now - start << '\n';
    }
    // In each cycle, before the clock edge. The counters know a cycle's cause LATE cycles later.
    void cycle(uint64_t now) {
        if (!job || counting.empty()) return;
        unsigned counts = NONE;
        for (unsigned number = 0; number < counting.size(); number++)
            if (*counting[number]) counts = number;
        if (counts == cause) return;
        end(now);
        cause = counts;
        since = now;
    }
    // `port`: as numbered in a job's faults.
    void burst(unsigned port, uint64_t address, uint64_t bytes, uint64_t asked, uint64_t first, uint64_t last) {
        if (!job || asked < start) return;
        const bool program = port == 1 && job->program.holds(address, 1);
        const bool spilled = port == 1 && job->output.holds(address, 1);
        const char* region = program ? "program" : port == 2 || spilled ? "output" : port == 1 ? "input" : "weights";
        const Range& range = program                ? job->program
                             : port == 2 || spilled ? job->output
                             : port == 1            ? job->input
                                         : job->weights[port ? port - 2 : 0];
        file << "burst" << line << region << ' ' << port << ' ' << address - range.base << ' ' << bytes << ' '
             << asked - start << ' ' << first - start << ' ' << last - start << '\n';
    }

private:
    static constexpr unsigned NONE = ~0u;
    static constexpr uint64_t LATE = 2;
    std::ofstream file;
    unsigned jobs = 0;
    std::vector<const CData*> counting;
    const Job* job = nullptr;  // the one under way, if it is to be remembered
    std::string line;          // its number, in a line
    uint64_t start = 0, since = 0;
    unsigned cause = NONE;

    void end(uint64_t now) {
        if (cause != NONE)
            file << "cause" << line << cause << ' ' << since - start - LATE << ' ' << now - start - LATE << '\n';
    }
};
