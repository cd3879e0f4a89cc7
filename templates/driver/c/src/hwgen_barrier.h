/* Order of accesses to memory and to registers, which the processor may otherwise change: a start must come after what it
 * starts on, outputs after the end they belong to. */
#ifndef HWGEN_BARRIER_H
#define HWGEN_BARRIER_H

#if defined(__aarch64__) || defined(__arm__)
#define HWGEN_BARRIER() __asm__ volatile("dsb sy" ::: "memory")
#else
#include <stdatomic.h>
#define HWGEN_BARRIER() atomic_thread_fence(memory_order_seq_cst)
#endif

#endif
