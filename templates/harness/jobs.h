// The job file: what to run on the accelerator, and where the results go. sim/harness.py writes it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "dram.h"

struct Probe {
    std::string path;  // of a memory instance
    unsigned first, count;
};
using Probes = std::multimap<unsigned, Probe>;  // by instruction

struct Job {
    std::string probes;
    uint32_t entry;
    Range program, input, output;
    std::vector<Range> weights;  // of each weight port
    uint32_t batch, input_stride, output_stride;
    // Answers one beat with an error: 0, 1: reads of gmem0, gmem1; 2: write responses of gmem1; 3, 4, 5: reads of gmem2,
    // gmem3, gmem4; else none.
    int fault_port;
    uint64_t fault_beat;
    uint32_t watchdog = 0;              // the register
    uint64_t stop = NEVER;              // cycles from the start to the write of the stop bit,
    uint64_t reset = NEVER;             // to a reset, after which
    unsigned late_beats = 0, late = 0;  // each port gets so many beats that nobody waits for, so many cycles later
    unsigned silent_ports = 0;          // a bit for each port that answers nothing any more
    uint64_t silent = NEVER;            // from this cycle on
    uint64_t heard = NEVER;             // before the start all ports answer again, for so many cycles
    std::vector<uint8_t> expected;      // outputs, if it must end without an error and with these: rows of `row` bytes,
    uint64_t row = 0, pitch = 0;        // `pitch` apart in the output region
};

struct Options {
    Dram dram;
    Timing timing;
    Range program;
    std::vector<Range> weights;
    std::vector<unsigned> weight_latency;  // of each weight port
    uint64_t watchdog = 0;
    unsigned seed = 1;
    std::map<std::string, Probes> probes;
    std::vector<std::pair<std::string, uint32_t>> counters;
    std::vector<Job> jobs;
    std::string results, dumps, timeline, trace;
    unsigned timeline_jobs = 0;  // the first ones
    std::string trips;  // of C-simulation (../hls): iterations of each loop
    std::string serve;  // a socket: a host's programs instead of jobs
};

[[noreturn]] inline void give_up(const std::string& why) {
    std::cerr << why << std::endl;
    std::exit(3);
}

inline Options read_jobs(const char* path) {
    Options o;
    std::ifstream file(path);
    if (!file) give_up(std::string("cannot read the job file ") + path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream in(line);
        in >> std::setbase(0);
        std::string command, name;
        in >> command;
        if (command == "dram") {
            uint64_t size;
            in >> o.dram.origin >> size;
            o.dram.bytes.resize(size);
        } else if (command == "load") {
            uint64_t address;
            in >> address >> std::ws;
            std::getline(in, name);
            std::ifstream data(name, std::ios::binary | std::ios::ate);
            uint64_t size = data ? uint64_t(data.tellg()) : 0;
            if (!data || !Range{o.dram.origin, o.dram.bytes.size()}.holds(address, size)) give_up("cannot load " + name);
            data.seekg(0);
            data.read(reinterpret_cast<char*>(&o.dram.bytes[address - o.dram.origin]), std::streamsize(size));
        } else if (command == "program") {
            in >> o.program.base >> o.program.size;
        } else if (command == "weights") {
            size_t ports = 0;
            in >> ports;
            o.weights.assign(ports, {});
            for (Range& range : o.weights) in >> range.base >> range.size;
        } else if (command == "timing") {
            size_t ports = 0;
            in >> o.timing.latency >> o.timing.stall_percent >> o.seed >> o.watchdog >> o.timing.jitter >> ports;
            o.timing.random.seed(o.seed);
            o.weight_latency.assign(ports, 0);
            for (unsigned& latency : o.weight_latency) in >> latency;
        } else if (command == "burst") {
            in >> o.dram.longest;
        } else if (command == "counter") {
            uint32_t offset;
            in >> name >> offset;
            o.counters.emplace_back(name, offset);
        } else if (command == "probe") {
            unsigned instruction;
            Probe probe;
            in >> name >> instruction >> probe.first >> probe.count >> probe.path;
            o.probes[name].emplace(instruction, probe);
        } else if (command == "job") {
            Job job;
            job.program = o.program;  // those named last
            job.weights = o.weights;
            in >> job.probes >> job.entry >> job.input.base >> job.input.size >> job.output.base >> job.output.size >>
                job.batch >> job.input_stride >> job.output_stride >> job.fault_port >> job.fault_beat;
            while (in >> name) {
                if (name == "watchdog") in >> job.watchdog;
                else if (name == "stop") in >> job.stop;
                else if (name == "reset") in >> job.reset >> job.late_beats >> job.late;
                else if (name == "silent") in >> job.silent_ports >> job.silent;
                else if (name == "heard") in >> job.heard;
                else give_up("unknown word in the job file: " + line);
                if (in.fail()) give_up("malformed line in the job file: " + line);
            }
            in.clear();  // the end of the line
            o.jobs.push_back(job);
        } else if (command == "expect" && !o.jobs.empty()) {  // of the job named last
            Job& job = o.jobs.back();
            in >> job.row >> job.pitch >> std::ws;
            std::getline(in, name);
            std::ifstream data(name, std::ios::binary);
            if (!data) give_up("cannot read " + name);
            job.expected.assign(std::istreambuf_iterator<char>(data), {});
            if (!job.row || job.expected.size() / job.row * job.pitch > job.output.size) give_up("malformed " + name);
        } else if (command == "results") {
            in >> std::ws;
            std::getline(in, o.results);
        } else if (command == "dumps") {
            in >> std::ws;
            std::getline(in, o.dumps);
        } else if (command == "timeline") {
            in >> o.timeline_jobs >> std::ws;
            std::getline(in, o.timeline);
        } else if (command == "trips") {
            in >> std::ws;
            std::getline(in, o.trips);
        } else if (command == "serve") {
            in >> std::ws;
            std::getline(in, o.serve);
        } else if (command == "trace") {
            in >> std::ws;
            std::getline(in, o.trace);
        } else if (!command.empty()) {
            give_up("unknown command in the job file: " + line);
        }
        if (in.fail()) give_up("malformed line in the job file: " + line);
    }
    return o;
}
