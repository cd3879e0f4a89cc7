/* A photo through both tasks: mnist BUILD photo.pgm FRAMES (uio UIO UDMABUF | simulation SOCKET)
 *
 * BUILD is what `hwgen build` wrote; photo.py makes photo.pgm; `python -m sim.board BUILD` prints SOCKET. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hwgen_linux.h"
#include "hwgen_models.h"
#include "hwgen_simulation.h"

enum { BACKGROUND = 10, SECONDS = 60 };

static _Alignas(4096) uint8_t simulated[4 << 20];

static void check(hwgen_status status, const char *what) {
    if (status == HWGEN_OK) return;
    fprintf(stderr, "%s: %s\n  to do: %s\n", what, hwgen_meaning(status), hwgen_advice(status));
    exit(2);
}

static void read_photo(const char *path, const hwgen_model *model, uint8_t *pixels) {
    unsigned width, height;
    FILE *in = fopen(path, "rb");
    if (!in || fscanf(in, "P5 %u %u 255", &width, &height) != 2 || fgetc(in) == EOF || width != model->width ||
        height != model->height || fread(pixels, 1, model->image_bytes, in) != model->image_bytes) {
        fprintf(stderr, "%s: expected a PGM picture of %u x %u\n", path, model->width, model->height);
        exit(2);
    }
    fclose(in);
}

/* The column of a row with the largest output. */
static uint32_t best(const hwgen_model *model, const hwgen_task *task, const hwgen_buffer *output, uint32_t row) {
    uint32_t found = 0;
    for (uint32_t column = 1; column < task->columns; column++)
        if (hwgen_code(model, task, output, 0, row, column) > hwgen_code(model, task, output, 0, row, found))
            found = column;
    return found;
}

int main(int count, char **words) {
    const bool simulation = count == 6 && strcmp(words[4], "simulation") == 0;
    if (!simulation && !(count == 7 && strcmp(words[4], "uio") == 0)) {
        fprintf(stderr, "usage: %s BUILD photo.pgm FRAMES (uio UIO UDMABUF | simulation SOCKET)\n", words[0]);
        return 2;
    }
    const char *build = words[1];
    const int frames = atoi(words[3]);
    const hwgen_model *model = &hwgen_model_mnist_m3vit;
    hwgen_simulation simulated_host;
    hwgen_linux linux_host;
    hwgen_buffer memory;
    hwgen acc;
    if (simulation) {
        check(hwgen_simulation_open(&simulated_host, words[5], simulated, sizeof simulated), words[5]);
        check(hwgen_open(&acc, &hwgen_simulation_ops, &simulated_host), words[5]);
        memory = simulated_host.memory;
    } else {
        check(hwgen_linux_open(&linux_host, "", words[5], words[6]), words[5]);
        check(hwgen_open(&acc, &hwgen_linux_ops, &linux_host), words[5]);
        memory = linux_host.memory;
    }

    hwgen_buffer program, weights[HWGEN_WEIGHT_PORTS_MAX], input, output;
    check(hwgen_read_file(build, &model->program, &memory, &program), model->program.name);
    for (uint32_t port = 0; port < model->weight_ports; port++)
        check(hwgen_read_file(build, &model->weights[port], &memory, &weights[port]), model->weights[port].name);
    check(hwgen_load(&acc, model, &program, weights), "load");
    const hwgen_task *digit = hwgen_find_task(model, "digit"), *segment = hwgen_find_task(model, "segment");
    check(hwgen_carve(&memory, hwgen_input_bytes(model, 1), &input), "memory");
    check(hwgen_carve(&memory, hwgen_output_bytes(model, segment, 1), &output), "memory");

    uint8_t pixels[28 * 28];
    read_photo(words[2], model, pixels);
    check(hwgen_pack(model, pixels, sizeof pixels, 1, &input), "image");
    check(hwgen_run(&acc, digit, 1, &input, &output, SECONDS * 1000000u), "digit");
    const uint32_t found = best(model, digit, &output, 0);
    printf("digit: %u, logit %.3f\n", found, (double)hwgen_value(model, digit, &output, 0, 0, found));

    check(hwgen_run(&acc, segment, 1, &input, &output, SECONDS * 1000000u), "segment");
    for (uint32_t patch = 0; patch < segment->rows; patch++) {
        const uint32_t class = best(model, segment, &output, patch);
        printf("%c%c", class == BACKGROUND ? '.' : (char)('0' + class), patch % 7 == 6 ? '\n' : ' ');
    }

    const uint64_t begin = acc.ops->microseconds(acc.device);
    for (int run = 0; run < frames; run++) check(hwgen_run(&acc, digit, 1, &input, &output, SECONDS * 1000000u), "digit");
    printf("%.1f frames per second\n", frames * 1e6 / (double)(acc.ops->microseconds(acc.device) - begin));
    uint64_t counters[HWGEN_COUNTERS];
    hwgen_counters(&acc, counters);
    for (uint32_t i = 0; i < HWGEN_COUNTERS; i++)
        printf("%-20s %12llu\n", hwgen_counter_names[i], (unsigned long long)counters[i]);

    hwgen_close(&acc);
    if (simulation)
        hwgen_simulation_close(&simulated_host);
    else
        hwgen_linux_close(&linux_host);
    return 0;
}
