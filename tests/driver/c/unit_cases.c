/* The driver on fakes of devices: unit_cases ROOT, below which a UIO device and a u-dma-buf are plain files. */
#include <errno.h>
#include <string.h>

#include "cases.h"
#include "hwgen_baremetal.h"
#include "hwgen_linux.h"
#include "hwgen_models.h"

static uint32_t registers[HWGEN_REGS_BYTES / 4];
static uint64_t clock_us, flushed, invalidated;
static bool finishes;

/* A device that takes up a start at once, and ends it if `finishes`. */
static uint32_t read32(void *device, uint32_t offset) {
    (void)device;
    uint32_t value = registers[offset / 4];
    if (offset == HWGEN_REG_CTRL) registers[offset / 4] &= ~HWGEN_CTRL_DONE_MASK;
    return value;
}

static void write32(void *device, uint32_t offset, uint32_t value) {
    (void)device;
    if (offset != HWGEN_REG_CTRL)
        registers[offset / 4] = value;
    else if (value & HWGEN_CTRL_START_MASK)
        registers[0] = finishes ? HWGEN_CTRL_DONE_MASK | HWGEN_CTRL_IDLE_MASK : HWGEN_CTRL_START_MASK;
}

static uint64_t now(void *device) {
    (void)device;
    return clock_us += 1000;
}

static const hwgen_ops ops = {read32, write32, NULL, NULL, NULL, now};

static void healthy(void) {
    memset(registers, 0, sizeof registers);
    registers[HWGEN_REG_MAGIC / 4] = HWGEN_MAGIC;
    registers[HWGEN_REG_VERSION / 4] = HWGEN_VERSION;
    registers[HWGEN_REG_BUILD_HASH_LO / 4] = (uint32_t)hwgen_models[0]->build_hash;
    registers[HWGEN_REG_BUILD_HASH_HI / 4] = (uint32_t)(hwgen_models[0]->build_hash >> 32);
    registers[HWGEN_REG_CTRL / 4] = HWGEN_CTRL_IDLE_MASK;
    finishes = true;
}

static void identity(void) {
    hwgen acc;
    healthy();
    EXPECT_STATUS("open", hwgen_open(&acc, &ops, NULL), HWGEN_OK);
    EXPECT("hash", acc.build_hash == hwgen_models[0]->build_hash);
    EXPECT("no wait, no interrupt", !acc.interrupt);
    registers[HWGEN_REG_VERSION / 4]++;
    EXPECT_STATUS("another version", hwgen_open(&acc, &ops, NULL), HWGEN_OTHER_VERSION);
    registers[HWGEN_REG_MAGIC / 4] ^= 1;
    EXPECT_STATUS("another circuit", hwgen_open(&acc, &ops, NULL), HWGEN_NOT_HWGEN);
    registers[HWGEN_REG_MAGIC / 4] = 0xFFFFFFFFu;
    EXPECT_STATUS("nothing there", hwgen_open(&acc, &ops, NULL), HWGEN_NO_DEVICE);
}

static void ends(void) {
    static uint8_t dram[4096];
    hwgen_buffer input = {dram, 0x1000, 2048}, output = {dram + 2048, 0x1800, 2048};
    hwgen acc;
    healthy();
    EXPECT_STATUS("open", hwgen_open(&acc, &ops, NULL), HWGEN_OK);
    acc.model = hwgen_models[0];
    const hwgen_task *task = acc.model->tasks;
    EXPECT_STATUS("run", hwgen_run(&acc, task, 1, &input, &output, 1000000), HWGEN_OK);
    EXPECT("addresses", registers[HWGEN_REG_INPUT_BASE_LO / 4] == 0x1000 && registers[HWGEN_REG_ENTRY / 4] == task->entry);
    finishes = false;
    EXPECT_STATUS("it does not stop", hwgen_run(&acc, task, 1, &input, &output, 1000), HWGEN_HUNG);
    EXPECT_STATUS("it is still busy", hwgen_run(&acc, task, 1, &input, &output, 1000), HWGEN_BUSY);
    healthy();
    hwgen_job job;
    EXPECT_STATUS("prepare", hwgen_prepare(&acc, task, 1, &input, &output, &job), HWGEN_OK);
    EXPECT_STATUS("start", hwgen_start(&acc, &job), HWGEN_OK);
    registers[HWGEN_REG_ERROR_CODE / 4] = 99;
    const hwgen_status unknown = hwgen_wait(&acc, 1000000);
    EXPECT("unknown code", (int)unknown == 99 && strstr(hwgen_meaning(unknown), "does not know"));
    EXPECT("code cleared", registers[HWGEN_REG_ERROR_CODE / 4] == 0);
    output.bytes = 16;
    EXPECT_STATUS("small output", hwgen_run(&acc, task, 1, &input, &output, 1000), HWGEN_BAD_BUFFER);
    hwgen_close(&acc);
    EXPECT("closed", acc.model == NULL);
}

/* Each weight port's share has a file, a buffer and a register; the size is that of all. */
static void weight_ports(void) {
#if HWGEN_WEIGHT_PORTS_MAX > 1
    static _Alignas(64) uint8_t dram[4096];
    hwgen_model model = *hwgen_models[0];
    hwgen_buffer program = {dram, 0x1000, 64}, shares[2] = {{dram + 64, 0x2000, 128}, {dram + 192, 0x3000, 128}};
    const hwgen_buffer region = {dram + 1024, 0x4000, 1024};
    const hwgen_file zeros = {"zeros", 128, 0xC2A8FA9Du};
    model.program = (hwgen_file){"program", 64, 0x758D6336u};
    model.weights[0] = model.weights[1] = zeros;
    model.weight_ports = 2;
    hwgen acc;
    healthy();
    EXPECT_STATUS("open", hwgen_open(&acc, &ops, NULL), HWGEN_OK);
    EXPECT_STATUS("shares", hwgen_load(&acc, &model, &program, shares), HWGEN_OK);
    EXPECT_STATUS("run", hwgen_run(&acc, model.tasks, 1, &region, &region, 1000000), HWGEN_OK);
    EXPECT("bases", registers[hwgen_weights_base[0] / 4] == 0x2000 && registers[hwgen_weights_base[1] / 4] == 0x3000);
    EXPECT("size of all", registers[HWGEN_REG_WEIGHTS_SIZE / 4] == 256);
    dram[200] = 1;
    EXPECT_STATUS("second share", hwgen_load(&acc, &model, &program, shares), HWGEN_WRONG_FILES);
#endif
}

/* Runs of three images: those of the layout in test_c_programs.py, which compares. */
static void packing(void) {
    hwgen_model model = *hwgen_models[0];
    model.batch = 3;
    model.image_pitch = 64;
    model.input_bytes = 2 * 64 + model.image_bytes;
    static uint8_t pixels[4 * 64], packed[1024];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i % 251);
    memset(packed, 0xEE, sizeof packed);
    hwgen_buffer input = {packed, 0, hwgen_input_bytes(&model, 4)};
    EXPECT("two runs", input.bytes == 2 * 192);
    EXPECT_STATUS("pack", hwgen_pack(&model, pixels, 4u * model.image_bytes, 4, &input), HWGEN_OK);
    for (uint32_t place = 0; place < 6; place++) {
        const uint32_t image = place < 4 ? place : 3;
        EXPECT("place", memcmp(packed + 64 * place, pixels + image * model.image_bytes, model.image_bytes) == 0);
    }
    bool beyond = false;
    for (size_t i = input.bytes; i < sizeof packed; i++) beyond |= packed[i] != 0xEE;
    EXPECT("nothing behind the input", !beyond);
    hwgen_task task = {.name = "t", .output_bytes = 3 * 2 * 16, .rows = 2, .columns = 5, .row_pitch = 16, .scale = 0.5f};
    static uint8_t out[2 * 128];
    out[128 + 16 + 4] = 0xFE; /* image 3 is the first of the second run; row 1, column 2 */
    out[128 + 16 + 5] = 0xFF;
    hwgen_buffer output = {out, 0, hwgen_output_bytes(&model, &task, 4)};
    EXPECT("output", output.bytes == sizeof out && hwgen_code(&model, &task, &output, 3, 1, 2) == -2);
    EXPECT("real", hwgen_value(&model, &task, &output, 3, 1, 2) < -0.99f);
    hwgen_buffer memory = {packed, 64, 200}, first, second;
    EXPECT_STATUS("carve", hwgen_carve(&memory, 65, &first), HWGEN_OK);
    EXPECT("carved", first.bytes == 65 && memory.address == 64 + 128 && memory.bytes == 72);
    EXPECT_STATUS("used up", hwgen_carve(&memory, 65, &second), HWGEN_BAD_BUFFER);
}

static void on_flush(uintptr_t address, size_t bytes) { flushed += address ? bytes : 0; }
static void on_invalidate(uintptr_t address, size_t bytes) { invalidated += address ? bytes : 0; }
static uint64_t bare_now(void) { return clock_us += 10; }

static void bare_metal(void) {
    static uint32_t device[HWGEN_REGS_BYTES / 4];
    static _Alignas(64) uint8_t dram[4096];
    hwgen_baremetal host = {device, on_flush, on_invalidate, bare_now, false};
    hwgen acc;
    device[HWGEN_REG_MAGIC / 4] = HWGEN_MAGIC;
    device[HWGEN_REG_VERSION / 4] = HWGEN_VERSION;
    EXPECT_STATUS("bare metal", hwgen_open(&acc, &hwgen_baremetal_interrupt_ops, &host), HWGEN_OK);
    EXPECT("interrupt", acc.interrupt);
    hwgen_buffer memory = hwgen_baremetal_memory(dram, sizeof dram), input, output;
    EXPECT("same address", memory.address == (uint64_t)(uintptr_t)dram);
    acc.model = hwgen_models[0];
    const hwgen_task *task = acc.model->tasks;
    EXPECT_STATUS("input", hwgen_carve(&memory, hwgen_input_bytes(acc.model, 1), &input), HWGEN_OK);
    EXPECT_STATUS("output", hwgen_carve(&memory, hwgen_output_bytes(acc.model, task, 1), &output), HWGEN_OK);
    /* Memory keeps what is written: done and idle with the start, as if the run took no time. */
    device[HWGEN_REG_CTRL / 4] = HWGEN_CTRL_IDLE_MASK;
    hwgen_job job;
    EXPECT_STATUS("prepare", hwgen_prepare(&acc, task, 1, &input, &output, &job), HWGEN_OK);
    EXPECT_STATUS("start", hwgen_start(&acc, &job), HWGEN_OK);
    EXPECT("enabled", device[HWGEN_REG_GIE / 4] == HWGEN_GIE_ENABLE_MASK && device[0] == HWGEN_CTRL_START_MASK);
    hwgen_baremetal_interrupt(&host);
    EXPECT("masked by the handler", device[HWGEN_REG_GIE / 4] == 0 && host.interrupted);
    device[HWGEN_REG_CTRL / 4] = HWGEN_CTRL_DONE_MASK | HWGEN_CTRL_IDLE_MASK;
    EXPECT_STATUS("wait", hwgen_wait(&acc, 100), HWGEN_OK);
    EXPECT_STATUS("run", hwgen_run(&acc, task, 1, &input, &output, 100), HWGEN_HUNG);
    EXPECT("caches", flushed == input.bytes && invalidated == 2 * output.bytes /* before and after */);
    acc.ops->wait(acc.device, 50);
    EXPECT("a wait ends", !host.interrupted);
}

static void on_linux(const char *root) {
    hwgen_linux host;
    hwgen acc;
    EXPECT_STATUS("UIO by directory", hwgen_linux_open(&host, root, "uio1", "udmabuf0"), HWGEN_OK);
    EXPECT("memory", host.memory.address == 0x70000000u && host.memory.bytes == 65536);
    EXPECT_STATUS("what the file says", hwgen_open(&acc, &hwgen_linux_ops, &host), HWGEN_OK);
    EXPECT("hash", acc.build_hash == hwgen_models[0]->build_hash);
    ((uint8_t *)host.memory.data)[100] = 42;
    hwgen_buffer memory = host.memory, first, second;
    EXPECT_STATUS("carve", hwgen_carve(&memory, 128, &first), HWGEN_OK);
    EXPECT_STATUS("carve", hwgen_carve(&memory, 256, &second), HWGEN_OK);
    acc.ops->flush(acc.device, &second, 200);
    acc.ops->invalidate(acc.device, &first, 100);
    hwgen_linux_close(&host);
    EXPECT_STATUS("UIO by name", hwgen_linux_open(&host, root, "hwgen_accelerator_0", "udmabuf0"), HWGEN_OK);
    EXPECT("kept", ((uint8_t *)host.memory.data)[100] == 42);
    hwgen_linux_close(&host);
    EXPECT_STATUS("no such UIO device", hwgen_linux_open(&host, root, "uio9", "udmabuf0"), HWGEN_NO_DEVICE);
    EXPECT_STATUS("no such u-dma-buf", hwgen_linux_open(&host, root, "uio1", "udmabuf9"), HWGEN_NO_DEVICE);
    EXPECT_STATUS("no UIO at all", hwgen_linux_open(&host, "/nowhere", "uio1", "udmabuf0"), HWGEN_NO_DEVICE);
    EXPECT_STATUS("no file in /dev", hwgen_linux_open(&host, root, "uio2", "udmabuf0"), HWGEN_SYSTEM);
    EXPECT("errno", errno == ENOENT);
    const hwgen_file absent = {"absent.bin", 64, 0};
    uint8_t bytes[64];
    memory = (hwgen_buffer){bytes, 0, sizeof bytes};
    EXPECT_STATUS("no such file", hwgen_read_file(root, &absent, &memory, &first), HWGEN_SYSTEM);
    const hwgen_file large = {"dev/udmabuf0", 32, 0};
    memory = (hwgen_buffer){bytes, 0, sizeof bytes};
    EXPECT_STATUS("too large a file", hwgen_read_file(root, &large, &memory, &first), HWGEN_WRONG_FILES);
}

int main(int count, char **words) {
    if (count != 2) return 2;
    identity();
    ends();
    weight_ports();
    packing();
    bare_metal();
    on_linux(words[1]);
    return failures != 0;
}
