/* The driver's core: registers, nothing of any system. See hwgen.h. */
#include "hwgen.h"

#include <string.h>

#define ALL_ONES 0xFFFFFFFFu
/* After which a machine that was told to stop is given up; it stops within the latency of its memory. */
#define STOP_MICROSECONDS 10000000u

static uint32_t read32(const hwgen *acc, uint32_t offset) { return acc->ops->read32(acc->device, offset); }

static void write32(const hwgen *acc, uint32_t offset, uint32_t value) { acc->ops->write32(acc->device, offset, value); }

/* Of a counter, reading the lower word keeps the upper one still. */
static uint64_t read64(const hwgen *acc, uint32_t offset) {
    const uint64_t low = read32(acc, offset);
    return low | (uint64_t)read32(acc, offset + 4) << 32;
}

static void write64(const hwgen *acc, uint32_t offset, uint64_t value) {
    write32(acc, offset, (uint32_t)value);
    write32(acc, offset + 4, (uint32_t)(value >> 32));
}

static size_t aligned(size_t bytes) { return (bytes + HWGEN_ALIGN - 1) / HWGEN_ALIGN * HWGEN_ALIGN; }

static uint32_t runs_of(const hwgen_model *model, uint32_t images) { return (images + model->batch - 1) / model->batch; }

static size_t input_stride(const hwgen_model *model) { return aligned(model->input_bytes); }

static size_t output_stride(const hwgen_task *task) { return aligned(task->output_bytes); }

static uint32_t crc32(const uint8_t *data, size_t bytes) {
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
        0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    uint32_t crc = ALL_ONES;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static hwgen_status check_file(const hwgen_buffer *buffer, const hwgen_file *file) {
    if (buffer->address % HWGEN_ALIGN) return HWGEN_BAD_BUFFER;
    const bool right = buffer->bytes >= file->bytes && crc32(buffer->data, file->bytes) == file->crc;
    return right ? HWGEN_OK : HWGEN_WRONG_FILES;
}

static void flush(const hwgen *acc, const hwgen_buffer *buffer, size_t bytes) {
    if (acc->ops->flush) acc->ops->flush(acc->device, buffer, bytes);
}

static void invalidate(const hwgen *acc, const hwgen_buffer *buffer, size_t bytes) {
    if (acc->ops->invalidate) acc->ops->invalidate(acc->device, buffer, bytes);
}

/* The control register, or HWGEN_NO_DEVICE. */
static hwgen_status control(const hwgen *acc, uint32_t *value) {
    *value = read32(acc, HWGEN_REG_CTRL);
    return *value == ALL_ONES ? HWGEN_NO_DEVICE : HWGEN_OK;
}

/* Bits of the interrupt status are toggled by writing ones. */
static void acknowledge(const hwgen *acc) { write32(acc, HWGEN_REG_ISR, read32(acc, HWGEN_REG_ISR)); }

hwgen_status hwgen_open(hwgen *acc, const hwgen_ops *ops, void *device) {
    *acc = (hwgen){.ops = ops, .device = device, .interrupt = ops->wait != NULL};
    const uint32_t magic = read32(acc, HWGEN_REG_MAGIC);
    if (magic == ALL_ONES) return HWGEN_NO_DEVICE;
    if (magic != HWGEN_MAGIC) return HWGEN_NOT_HWGEN;
    if (read32(acc, HWGEN_REG_VERSION) != HWGEN_VERSION) return HWGEN_OTHER_VERSION;
    acc->build_hash = read64(acc, HWGEN_REG_BUILD_HASH_LO);
    return HWGEN_OK;
}

void hwgen_close(hwgen *acc) {
    uint32_t value;
    if (control(acc, &value) == HWGEN_OK && !(value & HWGEN_CTRL_IDLE_MASK)) (void)hwgen_stop(acc);
    acc->model = NULL;
}

hwgen_status hwgen_load(hwgen *acc, const hwgen_model *model, const hwgen_buffer *program, const hwgen_buffer *weights) {
    if (model->build_hash != acc->build_hash) return HWGEN_OTHER_BUILD;
    hwgen_status status = check_file(program, &model->program);
    for (uint32_t port = 0; port < model->weight_ports && status == HWGEN_OK; port++)
        status = check_file(&weights[port], &model->weights[port]);
    if (status != HWGEN_OK) return status;
    acc->model = model;
    acc->program = *program;
    flush(acc, program, model->program.bytes);
    for (uint32_t port = 0; port < model->weight_ports; port++) {
        acc->weights[port] = weights[port];
        flush(acc, &weights[port], model->weights[port].bytes);
    }
    return HWGEN_OK;
}

const hwgen_task *hwgen_find_task(const hwgen_model *model, const char *name) {
    for (uint32_t i = 0; i < model->task_count; i++)
        if (strcmp(model->tasks[i].name, name) == 0) return &model->tasks[i];
    return NULL;
}

size_t hwgen_input_bytes(const hwgen_model *model, uint32_t images) { return runs_of(model, images) * input_stride(model); }

size_t hwgen_output_bytes(const hwgen_model *model, const hwgen_task *task, uint32_t images) {
    return runs_of(model, images) * output_stride(task);
}

hwgen_status hwgen_pack(const hwgen_model *model, const uint8_t *pixels, size_t bytes, uint32_t images,
                        const hwgen_buffer *input) {
    if (images == 0 || bytes != (size_t)images * model->image_bytes) return HWGEN_WRONG_INPUT;
    if (input->bytes < hwgen_input_bytes(model, images)) return HWGEN_BAD_BUFFER;
    const uint32_t places = runs_of(model, images) * model->batch;
    for (uint32_t place = 0; place < places; place++) {
        const uint32_t image = place < images ? place : images - 1;
        uint8_t *to = (uint8_t *)input->data + place / model->batch * input_stride(model) +
                      (size_t)(place % model->batch) * model->image_pitch;
        memcpy(to, pixels + (size_t)image * model->image_bytes, model->image_bytes);
    }
    return HWGEN_OK;
}

/* Of a program that reads no input and writes no output. */
static hwgen_job program_job(const hwgen *acc, uint32_t entry) {
    const hwgen_model *model = acc->model;
    hwgen_job job = {.program_base = acc->program.address,
                     .program_size = model->program.bytes,
                     .entry = entry,
                     .batch = 1};
    for (uint32_t port = 0; port < model->weight_ports; port++) {
        job.weights_base[port] = acc->weights[port].address;
        job.weights_size += model->weights[port].bytes; /* of all ports together */
    }
    return job;
}

hwgen_status hwgen_prepare(const hwgen *acc, const hwgen_task *task, uint32_t images, const hwgen_buffer *input,
                           const hwgen_buffer *output, hwgen_job *job) {
    const hwgen_model *model = acc->model;
    if (!model) return HWGEN_NOT_LOADED;
    if (!task || task < model->tasks || task >= model->tasks + model->task_count) return HWGEN_UNKNOWN_TASK;
    if (images == 0) return HWGEN_WRONG_INPUT;
    if (input->bytes < hwgen_input_bytes(model, images) || output->bytes < hwgen_output_bytes(model, task, images) ||
        input->address % HWGEN_ALIGN || output->address % HWGEN_ALIGN)
        return HWGEN_BAD_BUFFER;
    *job = program_job(acc, task->entry);
    job->input_base = input->address;
    job->output_base = output->address;
    job->input_size = (uint32_t)hwgen_input_bytes(model, images);
    job->output_size = (uint32_t)hwgen_output_bytes(model, task, images);
    job->batch = runs_of(model, images);
    job->input_stride = (uint32_t)input_stride(model);
    job->output_stride = (uint32_t)output_stride(task);
    return HWGEN_OK;
}

hwgen_status hwgen_start(hwgen *acc, const hwgen_job *job) {
    if (!acc->model) return HWGEN_NOT_LOADED;
    uint32_t value;
    const hwgen_status status = control(acc, &value);
    if (status != HWGEN_OK) return status;
    if (!(value & HWGEN_CTRL_IDLE_MASK)) return HWGEN_BUSY;
    write64(acc, HWGEN_REG_PROGRAM_BASE_LO, job->program_base);
    write64(acc, HWGEN_REG_INPUT_BASE_LO, job->input_base);
    write64(acc, HWGEN_REG_OUTPUT_BASE_LO, job->output_base);
    write32(acc, HWGEN_REG_PROGRAM_SIZE, job->program_size);
    write32(acc, HWGEN_REG_WEIGHTS_SIZE, job->weights_size);
    write32(acc, HWGEN_REG_INPUT_SIZE, job->input_size);
    write32(acc, HWGEN_REG_OUTPUT_SIZE, job->output_size);
    write32(acc, HWGEN_REG_ENTRY, job->entry);
    write32(acc, HWGEN_REG_BATCH, job->batch);
    write32(acc, HWGEN_REG_INPUT_STRIDE, job->input_stride);
    write32(acc, HWGEN_REG_OUTPUT_STRIDE, job->output_stride);
    for (uint32_t port = 0; port < acc->model->weight_ports; port++)
        write64(acc, hwgen_weights_base[port], job->weights_base[port]);
    write32(acc, HWGEN_REG_ERROR_CODE, 0);
    acknowledge(acc);
    write32(acc, HWGEN_REG_IER, acc->interrupt ? HWGEN_IER_DONE_MASK : 0);
    write32(acc, HWGEN_REG_GIE, acc->interrupt ? HWGEN_GIE_ENABLE_MASK : 0);
    write32(acc, HWGEN_REG_CTRL, HWGEN_CTRL_START_MASK);
    return HWGEN_OK;
}

hwgen_status hwgen_stop(hwgen *acc) {
    const uint64_t begin = acc->ops->microseconds(acc->device);
    write32(acc, HWGEN_REG_CTRL, HWGEN_CTRL_STOP_MASK);
    for (;;) {
        uint32_t value;
        const hwgen_status status = control(acc, &value);
        if (status != HWGEN_OK) return status;
        if (value & HWGEN_CTRL_IDLE_MASK) break;
        if (acc->ops->microseconds(acc->device) - begin > STOP_MICROSECONDS) return HWGEN_HUNG;
    }
    acknowledge(acc);
    return HWGEN_OK;
}

hwgen_status hwgen_wait(hwgen *acc, uint64_t microseconds) {
    const uint64_t begin = acc->ops->microseconds(acc->device);
    for (;;) {
        uint32_t value;
        const hwgen_status status = control(acc, &value);
        if (status != HWGEN_OK) return status;
        if (value & HWGEN_CTRL_DONE_MASK) break;
        const uint64_t elapsed = acc->ops->microseconds(acc->device) - begin;
        if (elapsed > microseconds) {
            const hwgen_status stopped = hwgen_stop(acc);
            if (stopped != HWGEN_OK) return stopped;
            acc->error_index = read32(acc, HWGEN_REG_ERROR_INDEX);
            write32(acc, HWGEN_REG_ERROR_CODE, 0);
            return HWGEN_TIMEOUT;
        }
        if (acc->ops->wait) acc->ops->wait(acc->device, microseconds - elapsed);
    }
    acknowledge(acc);
    const uint32_t code = read32(acc, HWGEN_REG_ERROR_CODE);
    if (code == 0) return HWGEN_OK;
    acc->error_index = read32(acc, HWGEN_REG_ERROR_INDEX);
    write32(acc, HWGEN_REG_ERROR_CODE, 0);
    return (hwgen_status)code;
}

hwgen_status hwgen_run(hwgen *acc, const hwgen_task *task, uint32_t images, const hwgen_buffer *input,
                       const hwgen_buffer *output, uint64_t microseconds) {
    hwgen_job job;
    hwgen_status status = hwgen_prepare(acc, task, images, input, output, &job);
    if (status != HWGEN_OK) return status;
    flush(acc, input, hwgen_input_bytes(acc->model, images));
    invalidate(acc, output, hwgen_output_bytes(acc->model, task, images)); /* what a cache writes back would be last */
    status = hwgen_start(acc, &job);
    if (status != HWGEN_OK) return status;
    status = hwgen_wait(acc, microseconds);
    invalidate(acc, output, hwgen_output_bytes(acc->model, task, images));
    return status;
}

hwgen_status hwgen_clear(hwgen *acc, uint64_t microseconds) {
    if (!acc->model) return HWGEN_NOT_LOADED;
    if (acc->model->clear == HWGEN_NO_CLEAR) return HWGEN_UNKNOWN_TASK;
    const hwgen_job job = program_job(acc, acc->model->clear);
    const hwgen_status status = hwgen_start(acc, &job);
    return status == HWGEN_OK ? hwgen_wait(acc, microseconds) : status;
}

int16_t hwgen_code(const hwgen_model *model, const hwgen_task *task, const hwgen_buffer *output, uint32_t image,
                   uint32_t row, uint32_t column) {
    const size_t slot = (size_t)(image % model->batch) * task->rows + row;
    const uint8_t *at = (const uint8_t *)output->data + image / model->batch * output_stride(task) +
                        slot * task->row_pitch + 2u * (size_t)column;
    const uint16_t bits = (uint16_t)(at[0] | at[1] << 8);
    return bits & 0x8000u ? (int16_t)(bits - 0x10000) : (int16_t)bits;
}

float hwgen_value(const hwgen_model *model, const hwgen_task *task, const hwgen_buffer *output, uint32_t image,
                  uint32_t row, uint32_t column) {
    const float code = hwgen_code(model, task, output, image, row, column);
    return task->scale > 0 ? code * task->scale : code;
}

void hwgen_counters(const hwgen *acc, uint64_t counters[HWGEN_COUNTERS]) {
    for (uint32_t i = 0; i < HWGEN_COUNTERS; i++) counters[i] = read64(acc, hwgen_counter_offsets[i]);
}

void hwgen_watchdog(const hwgen *acc, uint32_t cycles) { write32(acc, HWGEN_REG_WATCHDOG, cycles); }

hwgen_status hwgen_carve(hwgen_buffer *memory, size_t bytes, hwgen_buffer *buffer) {
    const size_t taken = aligned(bytes);
    if (taken > memory->bytes || memory->address % HWGEN_ALIGN) return HWGEN_BAD_BUFFER;
    *buffer = (hwgen_buffer){memory->data, memory->address, bytes};
    *memory = (hwgen_buffer){(uint8_t *)memory->data + taken, memory->address + taken, memory->bytes - taken};
    return HWGEN_OK;
}
