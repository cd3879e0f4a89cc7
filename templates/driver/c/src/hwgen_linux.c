/* Linux: UIO and u-dma-buf. See hwgen_linux.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hwgen_barrier.h"
#include "hwgen_linux.h"

#define UIO "/sys/class/uio"
#define UDMABUF "/sys/class/u-dma-buf"
enum { PATH = 256, TO_DEVICE = 1, FROM_DEVICE = 2 };

/* The first line of a file, without its end. */
static bool read_line(const char *directory, const char *name, char *line, size_t size) {
    char path[2 * PATH];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *in = fopen(path, "r");
    if (!in) return false;
    const bool got = fgets(line, (int)size, in) != NULL;
    fclose(in);
    if (got) line[strcspn(line, "\n")] = 0;
    return got;
}

static bool read_number(const char *directory, const char *name, uint64_t *value) {
    char line[64];
    return read_line(directory, name, line, sizeof line) && sscanf(line, "%" SCNi64, (int64_t *)value) == 1;
}

/* The device of a class whose directory, or whose file `name`, is called `wanted`. */
static bool find_device(const char *class, const char *wanted, char *found, size_t size) {
    DIR *directory = opendir(class);
    if (!directory) return false;
    bool hit = false;
    for (const struct dirent *entry; !hit && (entry = readdir(directory));) {
        char path[2 * PATH], name[PATH];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", class, entry->d_name);
        hit = strcmp(entry->d_name, wanted) == 0 ||
              (read_line(path, "name", name, sizeof name) && strcmp(name, wanted) == 0);
        if (hit) snprintf(found, size, "%s", entry->d_name);
    }
    closedir(directory);
    return hit;
}

/* Map a device's file; MAP_FAILED with errno. `file` stays open. */
static void *map_device(const char *root, const char *name, size_t bytes, int *file) {
    char path[2 * PATH];
    snprintf(path, sizeof path, "%s/dev/%s", root, name);
    *file = open(path, O_RDWR);
    return *file < 0 ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
}

hwgen_status hwgen_linux_open(hwgen_linux *host, const char *root, const char *uio, const char *udmabuf) {
    char class[PATH], name[PATH];
    *host = (hwgen_linux){.uio = -1, .sync = -1};
    snprintf(class, sizeof class, "%s" UIO, root);
    if (!find_device(class, uio, name, sizeof name)) return HWGEN_NO_DEVICE;
    void *registers = map_device(root, name, HWGEN_REGS_BYTES, &host->uio);
    if (registers == MAP_FAILED) goto refused;
    host->registers = registers;

    snprintf(class, sizeof class, "%s" UDMABUF, root);
    if (!find_device(class, udmabuf, name, sizeof name)) {
        hwgen_linux_close(host);
        return HWGEN_NO_DEVICE;
    }
    if ((size_t)snprintf(host->sysfs, sizeof host->sysfs, "%s/%s", class, name) >= sizeof host->sysfs) {
        errno = ENAMETOOLONG;
        goto refused;
    }
    uint64_t bytes;
    if (!read_number(host->sysfs, "phys_addr", &host->base) || !read_number(host->sysfs, "size", &bytes)) goto refused;
    host->mapped_bytes = (size_t)bytes;
    void *memory = map_device(root, name, host->mapped_bytes, &host->sync);
    if (memory == MAP_FAILED) goto refused;
    host->mapped = memory;
    host->memory = (hwgen_buffer){memory, host->base, host->mapped_bytes};
    return HWGEN_OK;

refused:;
    const int why = errno;
    hwgen_linux_close(host);
    errno = why;
    return HWGEN_SYSTEM;
}

void hwgen_linux_close(hwgen_linux *host) {
    if (host->mapped) munmap(host->mapped, host->mapped_bytes);
    if (host->registers) munmap((void *)(uintptr_t)host->registers, HWGEN_REGS_BYTES);
    if (host->uio >= 0) close(host->uio);
    if (host->sync >= 0) close(host->sync);
    *host = (hwgen_linux){.uio = -1, .sync = -1};
}

static uint32_t read32(void *device, uint32_t offset) {
    const uint32_t value = ((hwgen_linux *)device)->registers[offset / 4];
    HWGEN_BARRIER();
    return value;
}

static void write32(void *device, uint32_t offset, uint32_t value) {
    HWGEN_BARRIER();
    ((hwgen_linux *)device)->registers[offset / 4] = value;
}

static void write_number(const hwgen_linux *host, const char *name, uint64_t value) {
    char path[2 * PATH];
    snprintf(path, sizeof path, "%s/%s", host->sysfs, name);
    FILE *out = fopen(path, "w");
    if (!out) return;
    fprintf(out, "%" PRIu64, value);
    fclose(out);
}

static void synchronize(const hwgen_linux *host, const hwgen_buffer *buffer, size_t bytes, int direction) {
    write_number(host, "sync_offset", buffer->address - host->base);
    write_number(host, "sync_size", bytes);
    write_number(host, "sync_direction", (uint64_t)direction);
    write_number(host, direction == TO_DEVICE ? "sync_for_device" : "sync_for_cpu", 1);
}

static void flush(void *device, const hwgen_buffer *buffer, size_t bytes) {
    synchronize(device, buffer, bytes, TO_DEVICE);
}

static void invalidate(void *device, const hwgen_buffer *buffer, size_t bytes) {
    synchronize(device, buffer, bytes, FROM_DEVICE);
}

/* The kernel masks the interrupt when it comes; writing 1 lets it through again. */
static void wait(void *device, uint64_t microseconds) {
    const hwgen_linux *host = device;
    const uint32_t unmask = 1;
    if (write(host->uio, &unmask, sizeof unmask) != sizeof unmask) return;
    struct pollfd waited = {.fd = host->uio, .events = POLLIN};
    const uint64_t milliseconds = microseconds / 1000 + 1;
    uint32_t count;
    if (poll(&waited, 1, milliseconds < 1000 ? (int)milliseconds : 1000) == 1)
        (void)!read(host->uio, &count, sizeof count);
}

const hwgen_ops hwgen_linux_ops = {read32, write32, flush, invalidate, wait, hwgen_microseconds};
const hwgen_ops hwgen_linux_coherent_ops = {read32, write32, NULL, NULL, wait, hwgen_microseconds};
