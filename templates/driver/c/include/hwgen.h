/* Driver of an accelerator made by hwgen. C11, no heap, no operating system: what it needs of either is in hwgen_ops.
 *
 * Order of use: hwgen_open, hwgen_load; then for each run hwgen_pack, hwgen_run, hwgen_code or hwgen_value; hwgen_close.
 * One run at a time; not for several threads. */
#ifndef HWGEN_H
#define HWGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hwgen_regs.h"
#include "hwgen_tables.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HWGEN_ALIGN 64u

/* Memory that both sides see: at `data` for the host, at `address` for the accelerator. Addresses are multiples of
 * HWGEN_ALIGN. */
typedef struct hwgen_buffer {
    void *data;
    uint64_t address;
    size_t bytes;
} hwgen_buffer;

/* What a system gives the driver; `device` is what hwgen_open was given. */
typedef struct hwgen_ops {
    uint32_t (*read32)(void *device, uint32_t offset);
    void (*write32)(void *device, uint32_t offset, uint32_t value);
    /* Cache maintenance on the first `bytes` of a buffer: after the host has written it, before the host reads it. NULL
     * where the accelerator's ports are coherent with the host's caches. */
    void (*flush)(void *device, const hwgen_buffer *buffer, size_t bytes);
    void (*invalidate)(void *device, const hwgen_buffer *buffer, size_t bytes);
    /* Sleep until the interrupt, at most so long; may return early. NULL: the driver polls. */
    void (*wait)(void *device, uint64_t microseconds);
    /* A clock that never goes back. */
    uint64_t (*microseconds)(void *device);
} hwgen_ops;

/* A file that belongs into a buffer: size and CRC-32 (as in zlib). */
typedef struct hwgen_file {
    const char *name;
    uint32_t bytes, crc;
} hwgen_file;

typedef struct hwgen_task {
    const char *name;
    uint32_t entry;         /* byte offset in the program */
    uint32_t output_bytes;  /* of one run */
    uint32_t rows, columns; /* of one image */
    uint32_t row_pitch;     /* bytes from one row to the next */
    float scale;            /* real value of one step; 0: not known */
} hwgen_task;

/* Of a model that was built without `clear: true`. */
#define HWGEN_NO_CLEAR 0xFFFFFFFFu

/* A model of a build: hwgen_models.h has them. */
typedef struct hwgen_model {
    const char *name;
    uint64_t build_hash;
    uint32_t batch; /* images of one run */
    uint32_t height, width, channels;
    uint32_t image_bytes, image_pitch, input_bytes;
    hwgen_file program, weights[HWGEN_WEIGHT_PORTS_MAX];
    uint32_t weight_ports;
    const hwgen_task *tasks;
    uint32_t task_count;
    uint32_t clear; /* byte offset of the program that clears the buffers, or HWGEN_NO_CLEAR */
} hwgen_model;

/* The registers of one start. */
typedef struct hwgen_job {
    uint64_t program_base, weights_base[HWGEN_WEIGHT_PORTS_MAX], input_base, output_base;
    uint32_t program_size, weights_size, input_size, output_size;
    uint32_t entry, batch, input_stride, output_stride;
} hwgen_job;

/* State of one accelerator; the caller's memory. To be read, not written, by others than the driver. */
typedef struct hwgen {
    const hwgen_ops *ops;
    void *device;
    uint64_t build_hash;
    const hwgen_model *model;
    hwgen_buffer program, weights[HWGEN_WEIGHT_PORTS_MAX];
    uint32_t error_index; /* instruction at fault of the last run that failed */
    bool interrupt;       /* whether runs end with one: ops->wait is there */
} hwgen;

/* HWGEN_NO_DEVICE, HWGEN_NOT_HWGEN or HWGEN_OTHER_VERSION if what answers is not what this driver was made for. */
hwgen_status hwgen_open(hwgen *acc, const hwgen_ops *ops, void *device);
/* Stops a run that is under way. The buffers are the caller's to free. */
void hwgen_close(hwgen *acc);

/* Take a model whose program and weights (one buffer per weight port) the caller has written into the buffers, which
 * must stay as they are. HWGEN_OTHER_BUILD, HWGEN_WRONG_FILES, HWGEN_BAD_BUFFER: the model before stays loaded. */
hwgen_status hwgen_load(hwgen *acc, const hwgen_model *model, const hwgen_buffer *program, const hwgen_buffer *weights);

/* Task of this name, NULL if there is none. */
const hwgen_task *hwgen_find_task(const hwgen_model *model, const char *name);

/* Bytes of the input and output buffers for so many images. */
size_t hwgen_input_bytes(const hwgen_model *model, uint32_t images);
size_t hwgen_output_bytes(const hwgen_model *model, const hwgen_task *task, uint32_t images);

/* Copy images, dense uint8 [images][height][width][channels] of `bytes` bytes, into the input buffer; runs of several
 * images are filled up with the last. HWGEN_WRONG_INPUT unless `bytes` fits, HWGEN_BAD_BUFFER if the buffer is small. */
hwgen_status hwgen_pack(const hwgen_model *model, const uint8_t *pixels, size_t bytes, uint32_t images,
                        const hwgen_buffer *input);

/* The registers for so many packed images; then the start, and the wait for the end. After HWGEN_TIMEOUT the run has
 * been stopped, and the machine can be used again. A code below 256 is that of the register error_code. */
hwgen_status hwgen_prepare(const hwgen *acc, const hwgen_task *task, uint32_t images, const hwgen_buffer *input,
                           const hwgen_buffer *output, hwgen_job *job);
hwgen_status hwgen_start(hwgen *acc, const hwgen_job *job);
hwgen_status hwgen_wait(hwgen *acc, uint64_t microseconds);
hwgen_status hwgen_stop(hwgen *acc);

/* All of these, with the cache maintenance of both buffers. */
hwgen_status hwgen_run(hwgen *acc, const hwgen_task *task, uint32_t images, const hwgen_buffer *input,
                       const hwgen_buffer *output, uint64_t microseconds);

/* Leave nothing of what ran before in the accelerator's buffers; HWGEN_UNKNOWN_TASK if the model has no program to. */
hwgen_status hwgen_clear(hwgen *acc, uint64_t microseconds);

/* One output: the int16, and what it means, code * scale. */
int16_t hwgen_code(const hwgen_model *model, const hwgen_task *task, const hwgen_buffer *output, uint32_t image,
                   uint32_t row, uint32_t column);
float hwgen_value(const hwgen_model *model, const hwgen_task *task, const hwgen_buffer *output, uint32_t image,
                  uint32_t row, uint32_t column);

/* Of the last run, in the order of hwgen_counter_names. */
void hwgen_counters(const hwgen *acc, uint64_t counters[HWGEN_COUNTERS]);
/* Cycles an image may take before the run ends with HWGEN_ERROR_WATCHDOG; 0: any number. */
void hwgen_watchdog(const hwgen *acc, uint32_t cycles);

/* Cut buffers out of a piece of memory; HWGEN_BAD_BUFFER when it is used up. `memory` shrinks. */
hwgen_status hwgen_carve(hwgen_buffer *memory, size_t bytes, hwgen_buffer *buffer);

#ifdef __cplusplus
}
#endif

#endif
