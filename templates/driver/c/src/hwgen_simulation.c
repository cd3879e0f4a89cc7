/* A socket to the simulated board. See hwgen_simulation.h; the other end is harness/serve.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hwgen_linux.h"
#include "hwgen_simulation.h"

/* A request: operation, bytes of data behind it or wanted, address. The answer is a word, then the data wanted. */
typedef struct request {
    uint32_t operation, bytes;
    uint64_t address;
} request;

static void all(bool done) {
    if (done) return;
    fputs("the simulation has ended\n", stderr);
    exit(3);
}

static void put(const hwgen_simulation *host, const void *data, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        const ssize_t sent = send(host->socket, (const uint8_t *)data + done, bytes - done, MSG_NOSIGNAL);
        all(sent > 0);
        done += (size_t)sent;
    }
}

static void get(const hwgen_simulation *host, void *data, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = recv(host->socket, (uint8_t *)data + done, bytes - done, 0);
        all(got > 0);
        done += (size_t)got;
    }
}

static uint32_t ask(const hwgen_simulation *host, char operation, uint64_t address, const void *data, size_t bytes) {
    const request what = {(uint32_t)operation, (uint32_t)bytes, address};
    put(host, &what, sizeof what);
    if (data) put(host, data, bytes);
    uint32_t answer;
    get(host, &answer, sizeof answer);
    return answer;
}

hwgen_status hwgen_simulation_open(hwgen_simulation *host, const char *path, void *data, size_t bytes) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof name.sun_path) return HWGEN_NO_DEVICE;
    memcpy(name.sun_path, path, strlen(path));
    host->socket = socket(AF_UNIX, SOCK_STREAM, 0);
    if (host->socket < 0) return HWGEN_SYSTEM;
    if (connect(host->socket, (const struct sockaddr *)&name, sizeof name) != 0) {
        close(host->socket);
        return HWGEN_NO_DEVICE;
    }
    uint64_t origin;
    ask(host, 'o', 0, NULL, 0);
    get(host, &origin, sizeof origin);
    host->memory = (hwgen_buffer){data, origin, bytes};
    return HWGEN_OK;
}

void hwgen_simulation_close(hwgen_simulation *host) { close(host->socket); }

void hwgen_simulation_fault(hwgen_simulation *host, uint32_t port, uint32_t beat) { ask(host, 'f', port, &beat, 4); }

void hwgen_simulation_mute(hwgen_simulation *host, bool mute) { ask(host, 'm', mute, NULL, 0); }

void hwgen_simulation_unplug(hwgen_simulation *host, bool unplug) { ask(host, 'u', unplug, NULL, 0); }

void hwgen_simulation_reset(hwgen_simulation *host) { ask(host, 'z', 0, NULL, 0); }

static uint32_t read32(void *device, uint32_t offset) { return ask(device, 'r', offset, NULL, 0); }

static void write32(void *device, uint32_t offset, uint32_t value) { ask(device, 'w', offset, &value, sizeof value); }

static void flush(void *device, const hwgen_buffer *buffer, size_t bytes) {
    ask(device, 'W', buffer->address, buffer->data, bytes);
}

static void invalidate(void *device, const hwgen_buffer *buffer, size_t bytes) {
    ask(device, 'R', buffer->address, NULL, bytes);
    get(device, buffer->data, bytes);
}

/* Simulated time does not run by itself; the driver's clock decides how often it comes back. */
static void wait(void *device, uint64_t microseconds) {
    (void)microseconds;
    ask(device, 'i', 20000, NULL, 0);
}

const hwgen_ops hwgen_simulation_ops = {read32, write32, flush, invalidate, wait, hwgen_microseconds};
