// The machine as a board: a host on the other end of a socket reads and writes registers and memory.
//
// A request is {operation, bytes, address} and, of writes, the bytes; the answer is a word and, of reads, the bytes.
// Simulated time passes with each access to a register, as on a board, and while the host waits for the interrupt.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "hwgen_regs.h"
#include "jobs.h"

struct Request {
    uint32_t operation, bytes;
    uint64_t address;
};

template <class Machine>
class Server {
public:
    Server(Machine& machine, const std::string& path) : m(machine) {
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        if (path.size() >= sizeof name.sun_path) give_up("too long a name for a socket: " + path);
        std::memcpy(name.sun_path, path.data(), path.size());
        listener = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(listener, reinterpret_cast<sockaddr*>(&name), sizeof name) || listen(listener, 1))
            give_up("cannot listen on " + path);
        m.allow({m.o.dram.origin, m.o.dram.bytes.size()});
        std::cout << "listening on " << path << std::endl;
    }

    // One host after another, until standard input ends: with the process that started this one.
    void run() {
        while (ready(listener)) {
            client = accept(listener, nullptr, nullptr);
            Request request;
            while (ready(client) && get(&request, sizeof request)) answer(request);
            close(client);
            unplugged = false;
            m.silence(ALL, NEVER);
        }
    }

private:
    static constexpr int PACE = 100;  // cycles of an access to a register
    static constexpr unsigned ALL = ~0u;  // ports
    Machine& m;
    int listener = -1, client = -1;
    bool unplugged = false;

    static bool ready(int socket) {
        pollfd ends[2] = {{socket, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        while (poll(ends, 2, -1) > 0) {
            if (ends[0].revents) return true;
            char ignored[64];
            if (ends[1].revents && ::read(STDIN_FILENO, ignored, sizeof ignored) <= 0) return false;
        }
        return false;
    }

    bool get(void* data, size_t bytes) {
        auto* to = static_cast<uint8_t*>(data);
        for (ssize_t got; bytes > 0; to += got, bytes -= size_t(got))
            if ((got = recv(client, to, bytes, 0)) <= 0) return false;
        return true;
    }

    void put(uint32_t word, const void* data = nullptr, size_t bytes = 0) {
        std::vector<uint8_t> all(sizeof word + bytes);
        std::memcpy(all.data(), &word, sizeof word);
        if (bytes) std::memcpy(&all[sizeof word], data, bytes);
        for (size_t done = 0; done < all.size();) {
            const ssize_t sent = send(client, &all[done], all.size() - done, MSG_NOSIGNAL);
            if (sent <= 0) return;
            done += size_t(sent);
        }
    }

    uint8_t* memory(const Request& r) {
        const Range whole{m.o.dram.origin, m.o.dram.bytes.size()};
        if (!whole.holds(r.address, r.bytes)) give_up("the host leaves the memory");
        return &m.o.dram.bytes[r.address - whole.base];
    }

    void tick(uint64_t cycles) {
        while (cycles--) m.tick();
        if (!m.o.dram.error.empty()) give_up(m.o.dram.error);
    }

    void answer(const Request& r) {
        uint32_t word = 0;
        switch (r.operation) {
        case 'r':  // a register
            tick(PACE);
            return put(unplugged ? ~0u : m.read(uint32_t(r.address)));
        case 'w':
            if (!get(&word, sizeof word)) return;
            tick(PACE);
            if (unplugged) return put(0);
            if (r.address == HWGEN_REG_CTRL && word & HWGEN_CTRL_START_MASK) m.forget();
            m.write(uint32_t(r.address), word);
            return put(0);
        case 'R':  // memory
            return put(0, memory(r), r.bytes);
        case 'W':
            if (get(memory(r), r.bytes)) put(0);
            return;
        case 'i':  // wait for the interrupt, `address` cycles at most
            for (uint64_t i = 0; i < r.address && !m.top->__SYM__interrupt; i++) tick(1);
            return put(m.top->__SYM__interrupt);
        case 'o':  // where the memory begins
            return put(0, &m.o.dram.origin, sizeof m.o.dram.origin);
        case 'f':  // answer this beat of port `address` with an error
            if (!get(&word, sizeof word)) return;
            m.fault(unsigned(r.address), word);
            return put(0);
        case 'm':  // no port is served
            m.silence(ALL, r.address ? m.now : NEVER);
            return put(0);
        case 'u':
            unplugged = r.address;
            return put(0);
        case 'z':
            m.reset(0, 0);
            return put(0);
        default: give_up("unknown request of the host");
        }
    }
};
