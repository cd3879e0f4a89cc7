// The slaves on the accelerator's AXI masters: latency, random stalls, protocol checks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "dram.h"
#include "timeline.h"

struct Burst {
    uint64_t address;
    unsigned beats;
    uint64_t due;
    // For the timeline.
    uint64_t from = 0, bytes = 0, asked = 0, first = NEVER;
};

// Where a port notes its bursts, if anywhere, and its number there.
struct Log {
    Timeline* timeline = nullptr;
    unsigned port = 0;
    void taken(Burst& burst, uint64_t now, unsigned width) const {
        burst.from = burst.address;
        burst.bytes = uint64_t(burst.beats) * width;
        burst.asked = now;
    }
    // Before the beat is counted.
    void beat(Burst& burst, uint64_t now) const {
        if (burst.first == NEVER) burst.first = now;
        if (timeline && burst.beats == 1)
            timeline->burst(port, burst.from, burst.bytes, burst.asked, burst.first, now);
    }
};

// What a port does that it should not: fall silent, or bring beats (responses) that nobody waits for.
struct Misbehaviour {
    uint64_t silent_from = NEVER, late_from = 0;
    unsigned late = 0;
    bool alien = false;  // what it offers now is one of them
    bool begun = false;  // one was taken: addresses are, too
    bool silent(uint64_t now) const { return now >= silent_from; }
};

inline Burst checked_burst(Dram& dram, const char* port, uint64_t address, unsigned len, unsigned size, unsigned burst,
                           unsigned bytes, uint64_t due) {
    if (burst != 1) dram.fail(port, "a burst that is not INCR", address);
    if (1u << size != bytes) dram.fail(port, "a burst with beats narrower than the bus", address);
    if (len >= dram.longest) dram.fail(port, "a burst longer than the memory takes", address);
    if (address % bytes) dram.fail(port, "an unaligned burst", address);
    if ((address & 4095) + uint64_t(len + 1) * bytes > 4096) dram.fail(port, "a burst that crosses 4 KiB", address);
    return {address, len + 1, due};
}

// The ports of one AXI read channel pair, by reference; `Data` is Verilator's type for the bus.
template <class Address, class Data>
struct ReadPort {
    const char* name;
    CData &arvalid, &arready;
    Address& araddr;
    CData &arlen, &arsize, &arburst, &rvalid, &rready;
    Data& rdata;
    CData &rresp, &rlast;

    std::deque<Burst> bursts;
    std::vector<Range> readable;
    unsigned latency = 0;
    int64_t fault = -1;  // beats until one is answered with an error
    Log log;
    Misbehaviour bad;

    void clear() {
        arready = rvalid = bad.alien = 0;
        bursts.clear();
    }

    // After the rising edge, with the handshakes seen before it.
    void step(Dram& dram, Timing& timing, uint64_t now, bool address_taken, const Burst& burst, bool beat_taken) {
        if (address_taken) bursts.push_back(burst);
        if (beat_taken && bad.alien) {
            bad.late--;
            bad.alien = rvalid = 0;
            bad.begun = true;
            bad.late_from = now + timing.random() % 64;
        } else if (beat_taken) {
            bursts.front().address += sizeof(Data);
            if (--bursts.front().beats == 0) bursts.pop_front();
            rvalid = 0;
        }
        arready = bursts.size() < timing.outstanding && !bad.silent(now) && !(bad.late && !bad.begun) && !timing.stall();
        if (bad.silent(now)) return;
        if (bad.late) {
            if (rvalid || now < bad.late_from || timing.stall()) return;
            for (unsigned i = 0; i < sizeof(Data); i++) reinterpret_cast<uint8_t*>(&rdata)[i] = uint8_t(timing.random());
            rresp = timing.random() & 3;
            rlast = bad.late == 1;
            rvalid = bad.alien = 1;
            return;
        }
        if (!rvalid && !bursts.empty() && bursts.front().due <= now && !timing.stall()) {
            dram.read(name, readable, bursts.front().address, reinterpret_cast<uint8_t*>(&rdata), sizeof(Data));
            rvalid = 1;
            rresp = fault-- == 0 ? 2 : 0;
            rlast = bursts.front().beats == 1;
        }
    }
    void tick(Dram& dram, Timing& timing, uint64_t now) {  // samples, to be finished by `update` after the edge
        taken = arvalid && arready;
        const uint64_t due = now + latency + (taken ? timing.delay() : 0);
        if (taken) pending = checked_burst(dram, name, araddr, arlen, arsize, arburst, sizeof(Data), due);
        log.taken(pending, now, sizeof(Data));
        beat = rvalid && rready;
        if (beat && !bad.alien) log.beat(bursts.front(), now);
    }
    void update(Dram& dram, Timing& timing, uint64_t now) { step(dram, timing, now, taken, pending, beat); }

    bool taken = false, beat = false;
    Burst pending{};
};

template <class Address, class Data, class Strobe>
struct WritePort {
    const char* name;
    CData &awvalid, &awready;
    Address& awaddr;
    CData &awlen, &awsize, &awburst, &wvalid, &wready;
    Data& wdata;
    Strobe& wstrb;
    CData &wlast, &bvalid, &bready, &bresp;

    std::deque<Burst> bursts;
    std::deque<uint64_t> responses;
    int64_t fault = -1;  // responses until one is an error
    Log log;
    Misbehaviour bad;

    void clear() {
        awready = wready = bvalid = bad.alien = 0;
        bursts.clear();
        responses.clear();
    }

    void tick(Dram& dram, Timing& timing, uint64_t now) {
        if (awvalid && awready) {
            bursts.push_back(checked_burst(dram, name, awaddr, awlen, awsize, awburst, sizeof(Data), 0));
            log.taken(bursts.back(), now, sizeof(Data));
        }
        if (wvalid && wready) {
            if (bursts.empty()) return dram.fail(name, "data before its address", 0);
            Burst& burst = bursts.front();
            log.beat(burst, now);
            dram.write(name, burst.address, reinterpret_cast<const uint8_t*>(&wdata), wstrb, sizeof(Data));
            burst.address += sizeof(Data);
            if (bool(wlast) != (--burst.beats == 0)) dram.fail(name, "WLAST at the wrong beat", burst.address);
            if (burst.beats == 0) {
                responses.push_back(now + timing.latency);
                bursts.pop_front();
            }
        }
        answered = bvalid && bready;
    }
    // WREADY only once an address is there: masters must offer addresses without waiting for data to be taken.
    void update(Dram&, Timing& timing, uint64_t now) {
        if (answered && bad.alien) {
            bad.late--;
            bad.alien = bvalid = 0;
            bad.late_from = now + timing.random() % 64;
        } else if (answered) {
            responses.pop_front();
            bvalid = 0;
        }
        if (bad.silent(now) || bad.late) awready = wready = 0;
        if (bad.silent(now)) return;
        if (bad.late) {
            if (bvalid || now < bad.late_from || timing.stall()) return;
            bresp = timing.random() & 3;
            bvalid = bad.alien = 1;
            return;
        }
        awready = bursts.size() < timing.outstanding && !timing.stall();
        wready = !bursts.empty() && !timing.stall();
        if (!bvalid && !responses.empty() && responses.front() <= now) {
            bvalid = 1;
            bresp = fault-- == 0 ? 2 : 0;
        }
    }
    bool idle() const { return bursts.empty() && responses.empty(); }

    bool answered = false;
};
