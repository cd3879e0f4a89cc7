/* Linux: registers through UIO, memory through u-dma-buf. A device tree fragment is in docs/board.md. */
#ifndef HWGEN_LINUX_H
#define HWGEN_LINUX_H

#include "hwgen.h"

typedef struct hwgen_linux {
    int uio, sync; /* file descriptors */
    volatile uint32_t *registers;
    hwgen_buffer memory; /* of the u-dma-buf; hwgen_carve cuts buffers out of it */
    void *mapped;
    size_t mapped_bytes;
    uint64_t base; /* address of the memory's first byte */
    char sysfs[160];
} hwgen_linux;

extern const hwgen_ops hwgen_linux_ops;
/* The same for ports that are coherent with the caches (ZynqMP's HPC ports with AxCACHE 1111). */
extern const hwgen_ops hwgen_linux_coherent_ops;

/* Open the UIO device and the u-dma-buf of these names (as in their sysfs files `name`, or directories: "uio0",
 * "udmabuf0"). `root` is "" but for tests. HWGEN_NO_DEVICE: no such device; HWGEN_SYSTEM: see errno. */
hwgen_status hwgen_linux_open(hwgen_linux *host, const char *root, const char *uio, const char *udmabuf);
void hwgen_linux_close(hwgen_linux *host);

/* The whole file `directory`/`name` into a buffer of exactly its size, cut out of `memory`. HWGEN_SYSTEM: see errno;
 * HWGEN_WRONG_FILES: of another size. */
hwgen_status hwgen_read_file(const char *directory, const hwgen_file *file, hwgen_buffer *memory, hwgen_buffer *buffer);

/* The operating system's clock, for hwgen_ops. */
uint64_t hwgen_microseconds(void *device);

#endif
