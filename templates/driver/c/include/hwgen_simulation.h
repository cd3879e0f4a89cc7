/* The Verilated accelerator instead of a board: `python -m sim.board BUILD` prints the socket to give here. */
#ifndef HWGEN_SIMULATION_H
#define HWGEN_SIMULATION_H

#include "hwgen.h"

typedef struct hwgen_simulation {
    int socket;
    hwgen_buffer memory; /* hwgen_carve cuts buffers out of it */
} hwgen_simulation;

extern const hwgen_ops hwgen_simulation_ops;

/* `data`, of `bytes` bytes, is the host's side of the memory; flush and invalidate copy. HWGEN_NO_DEVICE: nobody listens
 * at this socket. A simulation that breaks off ends the process: there is no board to go on with. */
hwgen_status hwgen_simulation_open(hwgen_simulation *host, const char *path, void *data, size_t bytes);
void hwgen_simulation_close(hwgen_simulation *host);

/* What no host can do to a board: answer the given beat of a port with an error (0: weights, 1: reads, 2: writes), keep
 * the memory from answering, take the card out. */
void hwgen_simulation_fault(hwgen_simulation *host, uint32_t port, uint32_t beat);
void hwgen_simulation_mute(hwgen_simulation *host, bool mute);
void hwgen_simulation_unplug(hwgen_simulation *host, bool unplug);
void hwgen_simulation_reset(hwgen_simulation *host);

#endif
