/* The driver on the simulated board: board_cases SOCKET BUILD DATA [second].
 *
 * DATA has images, the golden model's outputs of them, and programs that are not as they should be; `second` runs the
 * second model, too, which takes some seconds. tests/driver/test_c_programs.py writes all of it. */
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "hwgen_linux.h"
#include "hwgen_models.h"
#include "hwgen_simulation.h"

enum { IMAGES = 4, LONG = 120 * 1000000 };

static _Alignas(4096) uint8_t dram[4 << 20];
static uint8_t images[4096], found[1 << 16], expected[1 << 16];
static const char *build, *data;
static hwgen_simulation host;
static hwgen acc;
static const hwgen_model *model;
static const hwgen_task *digit, *segment;
static hwgen_buffer memory, program, weights[HWGEN_WEIGHT_PORTS_MAX], input, output;

static size_t read_data(const char *name, void *to, size_t most) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", data, name);
    FILE *in = fopen(path, "rb");
    if (!in) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(3);
    }
    const size_t bytes = fread(to, 1, most, in);
    fclose(in);
    return bytes;
}

/* Whether the output buffer holds what the golden model says, from image `first` on. */
static bool same(const hwgen_task *task, const char *golden, uint32_t first, uint32_t count) {
    const size_t words = (size_t)task->rows * task->columns;
    read_data(golden, expected, sizeof expected);
    for (uint32_t image = 0; image < count; image++)
        for (uint32_t i = 0; i < words; i++) {
            int16_t right;
            memcpy(&right, expected + 2 * ((first + image) * words + i), 2);
            if (hwgen_code(acc.model, task, &output, image, i / task->columns, i % task->columns) != right) return false;
        }
    return true;
}

static hwgen_status run(const hwgen_task *task, uint32_t first, uint32_t count, uint64_t microseconds) {
    const size_t bytes = acc.model->image_bytes;
    const hwgen_status status = hwgen_pack(acc.model, images + first * bytes, count * bytes, count, &input);
    return status == HWGEN_OK ? hwgen_run(&acc, task, count, &input, &output, microseconds) : status;
}

/* An undisturbed run. */
static bool good(void) { return run(segment, 1, 1, LONG) == HWGEN_OK && same(segment, "segment.bin", 1, 1); }

static void load(const hwgen_model *wanted) {
    memory = host.memory;
    hwgen_status status = hwgen_read_file(build, &wanted->program, &memory, &program);
    for (uint32_t port = 0; port < wanted->weight_ports && status == HWGEN_OK; port++)
        status = hwgen_read_file(build, &wanted->weights[port], &memory, &weights[port]);
    EXPECT_STATUS("read files", status, HWGEN_OK);
    EXPECT_STATUS("load", hwgen_load(&acc, wanted, &program, weights), HWGEN_OK);
    EXPECT_STATUS("input", hwgen_carve(&memory, 64 * 1024, &input), HWGEN_OK);
    EXPECT_STATUS("output", hwgen_carve(&memory, 64 * 1024, &output), HWGEN_OK);
}

static void outputs(void) {
    for (uint32_t image = 0; image < IMAGES; image++) {
        EXPECT_STATUS("digit", run(digit, image, 1, LONG), HWGEN_OK);
        EXPECT("digit's bytes", same(digit, "digit.bin", image, 1));
        EXPECT_STATUS("segment", run(segment, image, 1, LONG), HWGEN_OK);
        EXPECT("segment's bytes", same(segment, "segment.bin", image, 1));
    }
    EXPECT_STATUS("batch", run(digit, 0, IMAGES, LONG), HWGEN_OK);
    EXPECT("the batch's bytes", same(digit, "digit.bin", 0, IMAGES));
    EXPECT("interrupt cleared", acc.ops->read32(acc.device, HWGEN_REG_ISR) == 0);
    const float code = hwgen_code(model, digit, &output, 3, 0, 1), value = hwgen_value(model, digit, &output, 3, 0, 1);
    EXPECT("real unit", code * digit->scale - value == 0 && digit->scale > 0);
    EXPECT("no scale", hwgen_value(model, segment, &output, 0, 0, 0) - (float)hwgen_code(model, segment, &output, 0, 0, 0) == 0);
    uint64_t counters[HWGEN_COUNTERS];
    hwgen_counters(&acc, counters);
    EXPECT("cycles", strcmp(hwgen_counter_names[0], "cycles") == 0 && counters[0] > 1000);
    acc.interrupt = false; /* as ops without `wait` */
    static hwgen_ops polling;
    polling = hwgen_simulation_ops;
    polling.wait = NULL;
    acc.ops = &polling;
    EXPECT("polling", good());
    EXPECT_STATUS("clear", hwgen_clear(&acc, LONG), HWGEN_OK);
    EXPECT("good after it", good());
    acc.ops = &hwgen_simulation_ops;
    acc.interrupt = true;
}

static void refusals(void) {
    uint8_t *bytes = program.data;
    bytes[77] ^= 1;
    EXPECT_STATUS("changed program", hwgen_load(&acc, model, &program, weights), HWGEN_WRONG_FILES);
    bytes[77] ^= 1;
    bytes = weights[0].data;
    bytes[weights[0].bytes - 1] ^= 0x80;
    EXPECT_STATUS("changed weights", hwgen_load(&acc, model, &program, weights), HWGEN_WRONG_FILES);
    bytes[weights[0].bytes - 1] ^= 0x80;
    EXPECT_STATUS("weights of another model", hwgen_load(&acc, hwgen_models[1], &program, weights), HWGEN_WRONG_FILES);
    hwgen_model other = *model;
    other.build_hash ^= 1;
    EXPECT_STATUS("another build", hwgen_load(&acc, &other, &program, weights), HWGEN_OTHER_BUILD);
    hwgen_buffer aside = program;
    aside.address += 8;
    EXPECT_STATUS("misaligned", hwgen_load(&acc, model, &aside, weights), HWGEN_BAD_BUFFER);
    EXPECT_STATUS("too short an image", hwgen_pack(model, images, model->image_bytes - 1, 1, &input), HWGEN_WRONG_INPUT);
    EXPECT_STATUS("no image", hwgen_pack(model, images, 0, 0, &input), HWGEN_WRONG_INPUT);
    EXPECT_STATUS("too many images", run(digit, 0, 1, LONG) ? HWGEN_OK : hwgen_run(&acc, digit, 2000, &input, &output, LONG),
                  HWGEN_BAD_BUFFER);
    EXPECT_STATUS("no task", hwgen_run(&acc, hwgen_find_task(model, "depth"), 1, &input, &output, LONG), HWGEN_UNKNOWN_TASK);
    EXPECT_STATUS("another model's task", hwgen_run(&acc, hwgen_models[1]->tasks, 1, &input, &output, LONG),
                  HWGEN_UNKNOWN_TASK);
    hwgen fresh;
    EXPECT_STATUS("open again", hwgen_open(&fresh, &hwgen_simulation_ops, &host), HWGEN_OK);
    EXPECT_STATUS("not loaded", hwgen_run(&fresh, digit, 1, &input, &output, LONG), HWGEN_NOT_LOADED);
    EXPECT("the model before is still there", good());
}

/* Registers other than they should be; the next run is right. */
static void wrong_registers(void) {
    hwgen_job right, job;
    EXPECT_STATUS("prepare", hwgen_prepare(&acc, digit, 2, &input, &output, &right), HWGEN_OK);
#define WRONG(field, value, code)                                         \
    job = right;                                                          \
    job.field = value;                                                    \
    EXPECT_STATUS("start with " #field, hwgen_start(&acc, &job), HWGEN_OK); \
    EXPECT_STATUS(#field, hwgen_wait(&acc, LONG), code);                  \
    EXPECT("good after " #field, good());
    WRONG(entry, right.entry + 64 * 1000, HWGEN_RUN_ENTRY)
    WRONG(program_size, right.entry + 64 * 3, HWGEN_RUN_PROGRAM_RANGE)
    EXPECT("instruction at fault", acc.error_index > 0 && acc.error_index <= 3);
    WRONG(weights_size, 0, HWGEN_RUN_WEIGHTS_RANGE)
    WRONG(input_size, 0, HWGEN_RUN_INPUT_RANGE)
    WRONG(output_size, 0, HWGEN_RUN_OUTPUT_RANGE)
    WRONG(program_base, right.program_base + 8, HWGEN_RUN_PROGRAM_BASE)
    WRONG(weights_base[0], right.weights_base[0] + 8, HWGEN_RUN_WEIGHTS_BASE)
    WRONG(input_base, right.input_base + 8, HWGEN_RUN_INPUT_BASE)
    WRONG(output_base, right.output_base + 8, HWGEN_RUN_OUTPUT_BASE)
    WRONG(input_stride, 8, HWGEN_RUN_INPUT_STRIDE)
    WRONG(output_stride, 8, HWGEN_RUN_OUTPUT_STRIDE)
    hwgen_watchdog(&acc, 100);
    EXPECT_STATUS("watchdog", run(digit, 0, 1, LONG), HWGEN_RUN_WATCHDOG);
    hwgen_watchdog(&acc, 0);
    EXPECT("good after the watchdog", good());
}

/* A program of the same size in the place of the right one; `microseconds` until it is given up. */
static void wrong_program(const char *name, hwgen_status code, uint64_t microseconds) {
    uint8_t *right = memcpy(found, program.data, program.bytes);
    read_data(name, program.data, program.bytes);
    acc.ops->flush(acc.device, &program, program.bytes);
    EXPECT_STATUS(name, run(digit, 0, 1, microseconds), code);
    memcpy(program.data, right, program.bytes);
    acc.ops->flush(acc.device, &program, program.bytes);
    EXPECT("good after a wrong program", good());
}

static void board_faults(void) {
    static const hwgen_status codes[] = {HWGEN_RUN_READ_GMEM0, HWGEN_RUN_READ_GMEM1, HWGEN_RUN_WRITE_GMEM1};
    for (uint32_t port = 0; port < 3; port++) {
        hwgen_simulation_fault(&host, port, 0);
        EXPECT_STATUS("error response", run(digit, 0, 1, LONG), codes[port]);
        EXPECT("good after an error response", good());
    }
    hwgen_job job;
    EXPECT_STATUS("prepare", hwgen_prepare(&acc, digit, 4, &input, &output, &job), HWGEN_OK);
    EXPECT_STATUS("start", hwgen_start(&acc, &job), HWGEN_OK);
    EXPECT_STATUS("start twice", hwgen_start(&acc, &job), HWGEN_BUSY);
    EXPECT_STATUS("stop", hwgen_stop(&acc), HWGEN_OK);
    EXPECT("stopped", acc.ops->read32(acc.device, HWGEN_REG_ERROR_CODE) == HWGEN_RUN_STOPPED);
    EXPECT("good after a stop", good());

    hwgen_watchdog(&acc, 5000);
    hwgen_simulation_mute(&host, true);
    EXPECT_STATUS("silent memory", run(digit, 0, 1, LONG), HWGEN_RUN_WATCHDOG);
    EXPECT_STATUS("it still owes data", run(digit, 0, 1, LONG), HWGEN_RUN_PORTS);
    hwgen_simulation_mute(&host, false);
    hwgen_simulation_reset(&host);
    EXPECT("good after a reset", good());

    hwgen_simulation_unplug(&host, true);
    hwgen gone;
    EXPECT_STATUS("open without a device", hwgen_open(&gone, &hwgen_simulation_ops, &host), HWGEN_NO_DEVICE);
    EXPECT_STATUS("run without a device", run(digit, 0, 1, LONG), HWGEN_NO_DEVICE);
    EXPECT_STATUS("wait without a device", hwgen_wait(&acc, LONG), HWGEN_NO_DEVICE);
    EXPECT_STATUS("stop without a device", hwgen_stop(&acc), HWGEN_NO_DEVICE);
    hwgen_simulation_unplug(&host, false);
    EXPECT("good after it is back", good());
}

int main(int count, char **words) {
    if (count < 4) return 2;
    build = words[2];
    data = words[3];
    model = hwgen_models[0];
    EXPECT_STATUS("no simulation", hwgen_simulation_open(&host, "/nowhere", dram, sizeof dram), HWGEN_NO_DEVICE);
    EXPECT_STATUS("simulation", hwgen_simulation_open(&host, words[1], dram, sizeof dram), HWGEN_OK);
    hwgen_simulation_reset(&host);
    EXPECT_STATUS("open", hwgen_open(&acc, &hwgen_simulation_ops, &host), HWGEN_OK);
    digit = hwgen_find_task(model, "digit");
    segment = hwgen_find_task(model, "segment");
    read_data("images.bin", images, sizeof images);
    load(model);
    outputs();
    refusals();
    wrong_registers();
    wrong_program("opcode.bin", HWGEN_RUN_OPCODE, LONG);
    wrong_program("field.bin", HWGEN_RUN_FIELD, LONG);
    wrong_program("not_fetched.bin", HWGEN_RUN_NOT_FETCHED, LONG);
    wrong_program("endless.bin", HWGEN_TIMEOUT, 300000);
    board_faults();
    if (count > 4) {
        load(hwgen_models[1]);
        read_data("digits.bin", images, sizeof images);
        const hwgen_task *task = hwgen_find_task(hwgen_models[1], "digit");
        EXPECT_STATUS("second model", run(task, 0, 1, LONG), HWGEN_OK);
        EXPECT("the second model's bytes", same(task, "second.bin", 0, 1));
        read_data("images.bin", images, sizeof images);
        load(model);
        EXPECT("good after a second model", good());
    }
    hwgen_close(&acc);
    hwgen_simulation_close(&host);
    return failures != 0;
}
