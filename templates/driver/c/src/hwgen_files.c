/* Files into buffers, and a clock: where there is an operating system. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "hwgen_linux.h"

hwgen_status hwgen_read_file(const char *directory, const hwgen_file *file, hwgen_buffer *memory, hwgen_buffer *buffer) {
    char path[1024];
    const int length = snprintf(path, sizeof path, "%s/%s", directory, file->name);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return HWGEN_SYSTEM;
    }
    const hwgen_status status = hwgen_carve(memory, file->bytes, buffer);
    if (status != HWGEN_OK) return status;
    FILE *in = fopen(path, "rb");
    if (!in) return HWGEN_SYSTEM;
    const size_t got = fread(buffer->data, 1, file->bytes, in);
    const bool whole = got == file->bytes && fgetc(in) == EOF;
    fclose(in);
    return whole ? HWGEN_OK : HWGEN_WRONG_FILES;
}

uint64_t hwgen_microseconds(void *device) {
    (void)device;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}
