/* Without an operating system: registers and memory at their addresses, caches and clock by the platform's functions. */
#ifndef HWGEN_BAREMETAL_H
#define HWGEN_BAREMETAL_H

#include "hwgen.h"

typedef struct hwgen_baremetal {
    volatile uint32_t *registers;
    /* Of the platform; standalone BSP: Xil_DCacheFlushRange, Xil_DCacheInvalidateRange in functions of this form. NULL
     * where the ports are coherent. */
    void (*flush)(uintptr_t address, size_t bytes);
    void (*invalidate)(uintptr_t address, size_t bytes);
    uint64_t (*microseconds)(void);
    /* Set by the interrupt's handler, hwgen_baremetal_interrupt. */
    volatile bool interrupted;
} hwgen_baremetal;

/* Polls. */
extern const hwgen_ops hwgen_baremetal_ops;
/* Waits for hwgen_baremetal_interrupt. */
extern const hwgen_ops hwgen_baremetal_interrupt_ops;

/* To be called by the handler of the accelerator's interrupt, with its hwgen_baremetal. */
void hwgen_baremetal_interrupt(void *device);

/* Memory that host and accelerator see at the same address. */
hwgen_buffer hwgen_baremetal_memory(void *data, size_t bytes);

#endif
