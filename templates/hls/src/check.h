// What must not run: arguments of a run, operands of an instruction, addresses outside their region. The codes are those
// of the register map, found in the order in which the RTL finds them (hwgen/rtl/control).
#pragma once

#include "isa.h"
#include "types.h"

namespace hwgen {

// The registers that a host writes.
struct Arguments {
    std::uint64_t program_base, weights_base[WEIGHT_PORTS], input_base, output_base;
    ap_uint<32> program_size, weights_size, input_size, output_size, entry, batch, input_stride, output_stride, watchdog;
};

// What of a program's run decides whether the next instruction may run.
struct Progress {
    ap_uint<33> input_offset, output_offset;  // of the image; bit 32: outside every region, for good
    ap_uint<21> kept;                         // words of the ring that later MATMULs will use
};

// LOAD: from the output region, where STORE left it.
inline bool spilled(const Instruction& f) { return SPILL && f.spilled() != 0; }

// Why a run must not start, or NONE.
Error refusal(const Arguments& a);

// Why an instruction must not run, or NONE.
Error fault(const Instruction& f, const Arguments& a, const Progress& progress);

// Words in the ring after a MATMUL that may run.
ap_uint<21> kept_after(const Instruction& f, ap_uint<21> kept);

// The offset of the next image.
ap_uint<33> advanced(ap_uint<33> offset, ap_uint<32> stride);

}  // namespace hwgen
