/* What a run costs the host: the C driver on a device that ends each run at once. driver_null RUNS prints nanoseconds of
 * processor time per run: an image packed, a run, all outputs read. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "hwgen_models.h"

static uint32_t read32(void *device, uint32_t offset) {
    (void)device;
    switch (offset) {
    case HWGEN_REG_CTRL: return HWGEN_CTRL_DONE_MASK | HWGEN_CTRL_IDLE_MASK;
    case HWGEN_REG_MAGIC: return HWGEN_MAGIC;
    case HWGEN_REG_VERSION: return HWGEN_VERSION;
    default: return 0;
    }
}

static volatile uint32_t sink;

static void write32(void *device, uint32_t offset, uint32_t value) {
    (void)device;
    sink = offset ^ value;
}

static uint64_t now(void *device) {
    (void)device;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}

static uint64_t processor_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(int count, char **words) {
    static const hwgen_ops ops = {read32, write32, NULL, NULL, NULL, now};
    const hwgen_model *model = hwgen_models[0];
    const hwgen_task *task = &model->tasks[model->task_count - 1];
    const unsigned runs = count > 1 ? (unsigned)atoi(words[1]) : 100000;
    static _Alignas(64) uint8_t dram[1 << 20], pixels[1 << 18];
    hwgen_buffer memory = {dram, 0, sizeof dram}, input, output;
    hwgen acc;
    if (hwgen_open(&acc, &ops, NULL) != HWGEN_OK) return 1;
    acc.model = model;
    if (hwgen_carve(&memory, hwgen_input_bytes(model, 1), &input) != HWGEN_OK ||
        hwgen_carve(&memory, hwgen_output_bytes(model, task, 1), &output) != HWGEN_OK)
        return 1;
    float sum = 0;
    const uint64_t begin = processor_ns();
    for (unsigned run = 0; run < runs; run++) {
        if (hwgen_pack(model, pixels, model->image_bytes, 1, &input) != HWGEN_OK ||
            hwgen_run(&acc, task, 1, &input, &output, 1000000) != HWGEN_OK)
            return 1;
        for (uint32_t row = 0; row < task->rows; row++)
            for (uint32_t column = 0; column < task->columns; column++)
                sum += hwgen_value(model, task, &output, 0, row, column);
    }
    printf("%llu\n", (unsigned long long)((processor_ns() - begin) / runs));
    return sum != 0;
}
