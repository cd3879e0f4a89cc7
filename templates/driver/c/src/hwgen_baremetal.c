/* Without an operating system. See hwgen_baremetal.h. */
#include "hwgen_baremetal.h"

#include "hwgen_barrier.h"

static uint32_t read32(void *device, uint32_t offset) {
    const uint32_t value = ((hwgen_baremetal *)device)->registers[offset / 4];
    HWGEN_BARRIER();
    return value;
}

static void write32(void *device, uint32_t offset, uint32_t value) {
    HWGEN_BARRIER();
    ((hwgen_baremetal *)device)->registers[offset / 4] = value;
}

static void flush(void *device, const hwgen_buffer *buffer, size_t bytes) {
    const hwgen_baremetal *host = device;
    if (host->flush) host->flush((uintptr_t)buffer->data, bytes);
}

static void invalidate(void *device, const hwgen_buffer *buffer, size_t bytes) {
    const hwgen_baremetal *host = device;
    if (host->invalidate) host->invalidate((uintptr_t)buffer->data, bytes);
}

static uint64_t now(void *device) { return ((hwgen_baremetal *)device)->microseconds(); }

static void wait(void *device, uint64_t microseconds) {
    hwgen_baremetal *host = device;
    const uint64_t begin = now(device);
    while (!host->interrupted && now(device) - begin < microseconds) continue;
    host->interrupted = false;
}

void hwgen_baremetal_interrupt(void *device) {
    hwgen_baremetal *host = device;
    /* The level falls only when the status is cleared, which the driver does; until then it must not come again. */
    write32(device, HWGEN_REG_GIE, 0);
    host->interrupted = true;
}

hwgen_buffer hwgen_baremetal_memory(void *data, size_t bytes) {
    return (hwgen_buffer){data, (uint64_t)(uintptr_t)data, bytes};
}

const hwgen_ops hwgen_baremetal_ops = {read32, write32, flush, invalidate, NULL, now};
const hwgen_ops hwgen_baremetal_interrupt_ops = {read32, write32, flush, invalidate, wait, now};
