// Runs jobs (a task's program on an input) on the accelerator in Verilator, without a reset in between.
// Usage: harness JOBFILE. The job file's commands are in jobs.h; sim/harness.py writes and reads all files.

#include <array>
#include <deque>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

#include "Vhwgen_accelerator.h"
#include "hwgen_regs.h"
#include "jobs.h"
#include "memory.h"
#include "serve.h"
#include "timeline.h"
#include "verilated.h"
#ifndef HWGEN_WEIGHT_PORTS
#define HWGEN_WEIGHT_PORTS 1  // AXI masters for weights of the Verilog
#endif
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

namespace {

class Machine {
public:
    Machine(Options& options, VerilatedContext& context)
        : o(options), context(context), top(new Vhwgen_accelerator(&context, "")) {
#if VM_TRACE
        if (!o.trace.empty()) {
            context.traceEverOn(true);
            trace.reset(new Trace);
            top->trace(trace.get(), 99);
            trace->open(o.trace.c_str());
        }
#endif
        if (!o.dumps.empty()) dumps.open(o.dumps, std::ios::binary);
        results.open(o.results);
        if (!results) give_up("cannot write " + o.results);
        timeline.open(o, context);
        note_bursts();
        randomize_memories();
        for (unsigned port = 0; port < WEIGHT_PORTS; port++)
            weights[port].latency = port < o.weight_latency.size() ? o.weight_latency[port] : o.timing.latency;
        data_read.latency = o.timing.latency;
        reset(0, 0);
    }
    ~Machine() {
#if VM_TRACE
        if (trace) trace->close();
#endif
        top->final();
    }

    bool run(unsigned number) {
        const Job& job = o.jobs[number];
        if (job.weights.size() != WEIGHT_PORTS) give_up("a job must have weights for each of the ports");
        if (!any_silent()) {  // else what a run before asked for may still be accessed
            for (auto& port : weights) port.readable.clear();
            data_read.readable.clear();
            o.dram.writable.clear();
        }
        if (job.heard != NEVER) silence(~0u, NEVER);
        for (uint64_t i = 0; job.heard != NEVER && i < job.heard; i++) tick();
        data_read.readable.insert(data_read.readable.end(), {job.program, job.input, job.output});
        o.dram.writable.push_back(job.output);
        running = number;
#if HWGEN_DEBUG
        for (auto& begun : underway) begun.clear();
#endif
        probes = nullptr;
        auto found = o.probes.find(job.probes);
        if (found != o.probes.end()) probes = &found->second;

        write64(HWGEN_REG_PROGRAM_BASE_LO, job.program.base);
        write64(HWGEN_REG_INPUT_BASE_LO, job.input.base);
        write64(HWGEN_REG_OUTPUT_BASE_LO, job.output.base);
        write(HWGEN_REG_PROGRAM_SIZE, uint32_t(job.program.size));
        uint64_t weights_size = 0;
        for (unsigned port = 0; port < WEIGHT_PORTS; port++) {
            write64(WEIGHTS_BASE[port], job.weights[port].base);
            weights[port].readable.push_back(job.weights[port]);
            weights_size += job.weights[port].size;
        }
        write(HWGEN_REG_WEIGHTS_SIZE, uint32_t(weights_size));
        write(HWGEN_REG_INPUT_SIZE, uint32_t(job.input.size));
        write(HWGEN_REG_OUTPUT_SIZE, uint32_t(job.output.size));
        write(HWGEN_REG_ENTRY, job.entry);
        write(HWGEN_REG_BATCH, job.batch);
        write(HWGEN_REG_INPUT_STRIDE, job.input_stride);
        write(HWGEN_REG_OUTPUT_STRIDE, job.output_stride);
        write(HWGEN_REG_WATCHDOG, job.watchdog);
        write(HWGEN_REG_GIE, HWGEN_GIE_ENABLE_MASK);
        write(HWGEN_REG_IER, HWGEN_IER_DONE_MASK);
        for (unsigned port = 0; port < WEIGHT_PORTS; port++)
            weights[port].fault = job.fault_port == (port ? int(port) + 2 : 0) ? int64_t(job.fault_beat) : -1;
        data_read.fault = job.fault_port == 1 ? int64_t(job.fault_beat) : -1;
        data_write.fault = job.fault_port == 2 ? int64_t(job.fault_beat) : -1;

        start = now;
        timeline.begin(number, job, start);
        if (job.silent_ports) silence(job.silent_ports, start + job.silent);
        write(HWGEN_REG_CTRL, HWGEN_CTRL_START_MASK);
        bool stopped = job.stop == NEVER;
        while ((!top->__SYM__interrupt || job.reset != NEVER) && o.dram.error.empty() && now - start < o.watchdog) {
            if (job.reset != NEVER && now - start >= job.reset) {
                timeline.finish(now);
                reset(job.late_beats, job.late);
                return report(number, 0);
            }
            if (!stopped && now - start >= job.stop) {
                stopped = true;
                write(HWGEN_REG_CTRL, HWGEN_CTRL_STOP_MASK);
            } else {
                tick();
            }
        }
        const uint64_t cycles = now - start;
        timeline.finish(now);
        if (o.dram.error.empty() && !top->__SYM__interrupt) {
            std::ostringstream text;
            text << "no end after " << cycles << " cycles; the last instruction completed was " << last_retired;
            return failed(text.str());
        }
        if (!o.dram.error.empty()) return failed(o.dram.error);
        // Clear-on-read done, toggle-on-write interrupt status: both must be gone for the next job.
        const uint32_t control = read(HWGEN_REG_CTRL), expected = HWGEN_CTRL_DONE_MASK | HWGEN_CTRL_IDLE_MASK;
        if ((control & expected) != expected)
            return failed("interrupt without done and idle in the control register, " + std::to_string(control));
        if (read(HWGEN_REG_CTRL) & HWGEN_CTRL_DONE_MASK) return failed("done is still set after it was read");
        write(HWGEN_REG_ISR, read(HWGEN_REG_ISR));
        tick();
        if (top->__SYM__interrupt) return failed("the interrupt is still set after its status was cleared");
        if (!any_silent() && !data_write.idle()) return failed("done before all write responses were in");
        return report(number, cycles);
    }

private:
    bool report(unsigned number, uint64_t cycles) {
        const Job& job = o.jobs[number];
        results << "job " << number << " cycles " << cycles << " error " << read(HWGEN_REG_ERROR_CODE) << " error_index "
                << read(HWGEN_REG_ERROR_INDEX);
        for (auto& [name, offset] : o.counters)
            results << ' ' << name << ' ' << (read(offset) | uint64_t(read(offset + 4)) << 32);
        results << '\n' << "output ";
        static const char digits[] = "0123456789abcdef";
        for (uint64_t i = 0; i < job.output.size; i++) {
            const uint8_t byte = o.dram.bytes[job.output.base - o.dram.origin + i];
            results << digits[byte >> 4] << digits[byte & 15];
        }
        results << std::endl;
        if (!o.dram.error.empty()) return failed(o.dram.error);
        if (!job.expected.empty() && !as_expected(job)) return false;
        std::cout << "done " << number << ' ' << cycles << std::endl;
        return true;
    }
    bool as_expected(const Job& job) {
        if (const uint32_t error = read(HWGEN_REG_ERROR_CODE)) return failed("error code " + std::to_string(error));
        const uint8_t* output = &o.dram.bytes[job.output.base - o.dram.origin];
        for (uint64_t i = 0; i < job.expected.size(); i++)
            if (output[i / job.row * job.pitch + i % job.row] != job.expected[i])
                return failed("byte " + std::to_string(i % job.row) + " of output row " + std::to_string(i / job.row) +
                              " is not as expected");
        return true;
    }

    friend class Server<Machine>;
    Options& o;
    VerilatedContext& context;
    std::unique_ptr<Vhwgen_accelerator> top;
#if VM_TRACE
    std::unique_ptr<Trace> trace;
#endif
    std::ofstream results, dumps;
    Timeline timeline;
    uint64_t now = 0, start = 0;
    unsigned running = 0;
    int last_retired = -1;
    const Probes* probes = nullptr;

#if HWGEN_DEBUG
    static constexpr unsigned UNITS = 5;  // bits of the debug ports
    struct Begun {
        unsigned index;
        uint64_t cycle;
    };
    std::array<std::deque<Begun>, UNITS> underway;  // instructions of each unit, oldest first
#endif

    static constexpr unsigned WEIGHT_PORTS = HWGEN_WEIGHT_PORTS;
    static constexpr unsigned WEIGHTS_BASE[] = {HWGEN_REG_WEIGHTS_BASE_LO, HWGEN_REG_WEIGHTS_BASE1_LO,
                                                HWGEN_REG_WEIGHTS_BASE2_LO, HWGEN_REG_WEIGHTS_BASE3_LO};

#define READ_PORT(master)                                                                                    \
    {#master, top->master##_ARVALID, top->master##_ARREADY, top->master##_ARADDR, top->master##_ARLEN,       \
     top->master##_ARSIZE, top->master##_ARBURST, top->master##_RVALID, top->master##_RREADY,                \
     top->master##_RDATA, top->master##_RRESP, top->master##_RLAST}
    ReadPort<QData, decltype(Vhwgen_accelerator::m_axi_gmem0_RDATA)> weights[WEIGHT_PORTS] = {
        READ_PORT(m_axi_gmem0),
#if HWGEN_WEIGHT_PORTS > 1
        READ_PORT(m_axi_gmem2),
#endif
#if HWGEN_WEIGHT_PORTS > 2
        READ_PORT(m_axi_gmem3),
        READ_PORT(m_axi_gmem4),
#endif
    };
    ReadPort<QData, decltype(Vhwgen_accelerator::m_axi_gmem1_RDATA)> data_read READ_PORT(m_axi_gmem1);
#undef READ_PORT
    WritePort<QData, decltype(Vhwgen_accelerator::m_axi_gmem1_WDATA), decltype(Vhwgen_accelerator::m_axi_gmem1_WSTRB)>
        data_write{
            "m_axi_gmem1",
            top->m_axi_gmem1_AWVALID, top->m_axi_gmem1_AWREADY, top->m_axi_gmem1_AWADDR, top->m_axi_gmem1_AWLEN,
            top->m_axi_gmem1_AWSIZE, top->m_axi_gmem1_AWBURST, top->m_axi_gmem1_WVALID, top->m_axi_gmem1_WREADY,
            top->m_axi_gmem1_WDATA, top->m_axi_gmem1_WSTRB, top->m_axi_gmem1_WLAST, top->m_axi_gmem1_BVALID,
            top->m_axi_gmem1_BREADY, top->m_axi_gmem1_BRESP};

    // Verilator starts all words of a memory with the same random bits: a wrong address among them would not show.
    void randomize_memories() {
        std::mt19937 random(o.seed);
        for (auto& [name, scope] : *context.scopeNameMap()) {
            VerilatedVar* memory = scope->varFind("mem");
            if (!memory) continue;
            const unsigned bits = memory->entBits(), bytes = (bits + 7) / 8;
            uint8_t* word = static_cast<uint8_t*>(memory->datap());
            for (int i = memory->elements(1); i > 0; i--, word += memory->entSize()) {
                for (unsigned b = 0; b < bytes; b++) word[b] = uint8_t(random());
                word[bytes - 1] &= 0xFF >> (8 * bytes - bits);
            }
        }
    }

    void note_bursts() {
        weights[0].log = {&timeline, 0};
        for (unsigned port = 1; port < WEIGHT_PORTS; port++) weights[port].log = {&timeline, port + 2};
        data_read.log = {&timeline, 1};
        data_write.log = {&timeline, 2};
    }

    // For a host's programs (serve.h): all ports may go everywhere; the given beat is answered with an error.
    void allow(const Range& memory) {
        for (auto& port : weights) port.readable = {memory};
        data_read.readable = o.dram.writable = {memory};
    }
    void fault(unsigned port, uint32_t beat) {
        if (port == 1 || port == 2)
            (port == 1 ? data_read.fault : data_write.fault) = beat;
        else
            weights[port ? port - 2 : 0].fault = beat;
    }

    // Of a run that was ended early, instructions that were begun never retire.
    void forget() {
#if HWGEN_DEBUG
        for (auto& begun : underway) begun.clear();
#endif
    }

    // The slaves forget what they were asked for, but for `beats` beats on each port, `delay` cycles after the reset.
    void reset(unsigned beats, unsigned delay) {
        top->s_axi_control_AWVALID = top->s_axi_control_WVALID = top->s_axi_control_BREADY = 0;
        top->s_axi_control_ARVALID = top->s_axi_control_RREADY = 0;
        for (auto& port : weights) port.clear();
        data_read.clear();
        data_write.clear();
        top->ap_rst_n = 0;
        for (int i = 0; i < 16; i++) tick();
        top->ap_rst_n = 1;
        for (Misbehaviour* bad : of_ports()) {
            bad->late = beats;
            bad->late_from = now + delay;
            bad->begun = false;
        }
        for (int i = 0; i < 4; i++) tick();
    }

    // In the order of a job's numbers for ports: gmem0, gmem1's reads and its writes, the other weight ports.
    std::vector<Misbehaviour*> of_ports() {
        std::vector<Misbehaviour*> all{&weights[0].bad, &data_read.bad, &data_write.bad};
        for (unsigned port = 1; port < WEIGHT_PORTS; port++) all.push_back(&weights[port].bad);
        return all;
    }

    bool any_silent() {
        for (const Misbehaviour* bad : of_ports())
            if (bad->silent(now)) return true;
        return false;
    }

    void silence(unsigned ports, uint64_t from) {
        for (Misbehaviour* bad : of_ports()) {
            if (ports & 1) bad->silent_from = from;
            ports >>= 1;
        }
    }

    bool failed(const std::string& why) {
        results << "failed " << running << ' ' << why << std::endl;
        std::cout << "failed " << running << ": " << why << std::endl;
        return false;
    }

    void half(bool clock) {
        top->ap_clk = clock;
        top->eval();
#if VM_TRACE
        if (trace) trace->dump(2 * now + clock);
#endif
    }

#if HWGEN_DEBUG
    // Ports of 16 bits per unit.
    template <class Wide>
    static unsigned index_of(const Wide& indices, unsigned unit) {
        return indices[unit / 2] >> 16 * (unit % 2) & 0xFFFF;
    }
#endif

    // One cycle: settle, look at the handshakes, clock, then drive what a registered slave would drive.
    void tick() {
        half(false);
        timeline.cycle(now);
#if HWGEN_DEBUG
        const unsigned retires = top->ap_rst_n ? top->debug_retire : 0;
        const auto retired = top->debug_retire_index;
        for (unsigned unit = 0; unit < UNITS; unit++)
            if (top->ap_rst_n && top->debug_begin >> unit & 1)
                underway[unit].push_back({index_of(top->debug_begin_index, unit), now});
#endif
        if (top->ap_rst_n) {
            for (auto& port : weights) port.tick(o.dram, o.timing, now);
            data_read.tick(o.dram, o.timing, now);
            data_write.tick(o.dram, o.timing, now);
        }
        half(true);
#if HWGEN_DEBUG
        for (unsigned unit = 0; unit < UNITS; unit++)  // its last write may be of this very cycle
            if (retires >> unit & 1) retire(unit, index_of(retired, unit));
#endif
        now++;
        context.timeInc(1);
        if (top->ap_rst_n) {
            for (auto& port : weights) port.update(o.dram, o.timing, now);
            data_read.update(o.dram, o.timing, now);
            data_write.update(o.dram, o.timing, now);
        }
    }

#if HWGEN_DEBUG
    void retire(unsigned unit, unsigned index) {
        last_retired = int(index);
        auto& begun = underway[unit];
        if (begun.empty() || begun.front().index != index) {
            if (o.dram.error.empty())
                o.dram.error = "unit " + std::to_string(unit) + " retired instruction " + std::to_string(index) +
                    ", which is not the oldest it has begun";
            return;
        }
        timeline.span(unit, index, begun.front().cycle, now);
        begun.pop_front();
        if (!probes) return;
        auto [from, to] = probes->equal_range(index);
        uint32_t number = 0;
        for (auto it = from; it != to; ++it, ++number) {
            const Probe& probe = it->second;
            const VerilatedScope* scope = context.scopeFind(probe.path.c_str());
            VerilatedVar* memory = scope ? scope->varFind("mem") : nullptr;
            if (!memory) give_up("no memory at " + probe.path);
            const uint32_t word = uint32_t(memory->entSize());
            const uint32_t header[5] = {running, index, number, probe.count, word};
            dumps.write(reinterpret_cast<const char*>(header), sizeof header);
            dumps.write(static_cast<const char*>(memory->datap()) + size_t(probe.first) * word,
                        std::streamsize(probe.count) * word);
        }
    }

#endif

    // The address and data channels are offered together and accepted in any order.
    void write(uint32_t offset, uint32_t value) {
        top->s_axi_control_AWADDR = offset;
        top->s_axi_control_WDATA = value;
        top->s_axi_control_WSTRB = 15;
        top->s_axi_control_AWVALID = top->s_axi_control_WVALID = top->s_axi_control_BREADY = 1;
        for (int i = 0; i < 1000; i++) {
            top->ap_clk = 0;
            top->eval();
            const bool address = top->s_axi_control_AWVALID && top->s_axi_control_AWREADY;
            const bool data = top->s_axi_control_WVALID && top->s_axi_control_WREADY;
            const bool response = top->s_axi_control_BVALID;
            tick();
            if (address) top->s_axi_control_AWVALID = 0;
            if (data) top->s_axi_control_WVALID = 0;
            if (response) {
                top->s_axi_control_BREADY = 0;
                return;
            }
        }
        give_up("s_axi_control does not answer a write");
    }
    void write64(uint32_t offset, uint64_t value) {
        write(offset, uint32_t(value));
        write(offset + 4, uint32_t(value >> 32));
    }
    uint32_t read(uint32_t offset) {
        top->s_axi_control_ARADDR = offset;
        top->s_axi_control_ARVALID = top->s_axi_control_RREADY = 1;
        for (int i = 0; i < 1000; i++) {
            top->ap_clk = 0;
            top->eval();
            const bool address = top->s_axi_control_ARVALID && top->s_axi_control_ARREADY;
            const bool data = top->s_axi_control_RVALID;
            const uint32_t value = top->s_axi_control_RDATA;
            tick();
            if (address) top->s_axi_control_ARVALID = 0;
            if (data) {
                top->s_axi_control_RREADY = 0;
                return value;
            }
        }
        give_up("s_axi_control does not answer a read");
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) give_up("usage: harness JOBFILE");
    Options options = read_jobs(argv[1]);
    VerilatedContext context;
    context.randReset(2);  // registers and memories start with random bits: nothing may rely on them
    context.randSeed(int(options.seed));
    Machine machine(options, context);
    if (!options.serve.empty()) Server<Machine>(machine, options.serve).run();
    for (unsigned i = 0; i < options.jobs.size(); i++)
        if (!machine.run(i)) return 1;
    return 0;
}
