// Integers of explicit widths, streams, beats of the memory ports, rows: what all units speak.
#pragma once

#include <cstdint>

#include "params.h"

#if defined(__SYNTHESIS__)
#include <ap_int.h>
#include <hls_stream.h>
namespace hwgen {
using ::ap_int;
using ::ap_uint;
template <class T>
using stream = hls::stream<T>;
}  // namespace hwgen
#else
#include "stream.h"
#if defined(HWGEN_XILINX_TYPES)  // C-simulation with the vendor's integers, to show that ours are the same
#include <ap_int.h>
namespace hwgen {
using ::ap_int;
using ::ap_uint;
}  // namespace hwgen
#else
#include "integers.h"
#endif
#endif

#include "trips.h"

namespace hwgen {

using Operand = ap_int<9>;       // a row operand of the array: -255..255
using Weight = ap_int<8>;        // a column operand
using Accumulator = ap_int<32>;  // of a dot product
using Stream = ap_int<16>;       // the residual stream
using Logit = ap_int<24>;
using Factor = ap_uint<17>;      // of a row: gate weights, reciprocals
using Address = ap_uint<16>;     // of a word in a buffer, as instructions have them
using Row = ap_uint<16>;
using Count = ap_uint<48>;       // iterations of a loop; counters

struct WeightBeat {
    std::uint8_t byte[PORT_BYTES];
};
struct DataBeat {
    std::uint8_t byte[DATA_BYTES];
};
struct RingWord {
    std::uint8_t byte[C * K];  // channel c's lane l is byte c * K + l
};

// C neighbouring channels of a row (a C-word), as each buffer has them.
struct OperandWord {
    Operand lane[C];
};
struct ByteWord {
    Weight lane[C];
};
struct StreamWord {
    Stream lane[C];
};
struct LogitWord {
    Logit lane[GATE_LANES];
};

// The weight ports' address spaces, as parameters and as arguments of functions.
#if HWGEN_WEIGHT_PORTS == 1
#define HWGEN_WEIGHT_PARAMETERS const WeightBeat* gmem0
#define HWGEN_WEIGHT_ARGUMENTS gmem0
#elif HWGEN_WEIGHT_PORTS == 2
#define HWGEN_WEIGHT_PARAMETERS const WeightBeat *gmem0, const WeightBeat *gmem2
#define HWGEN_WEIGHT_ARGUMENTS gmem0, gmem2
#else
#define HWGEN_WEIGHT_PARAMETERS \
    const WeightBeat *gmem0, const WeightBeat *gmem2, const WeightBeat *gmem3, const WeightBeat *gmem4
#define HWGEN_WEIGHT_ARGUMENTS gmem0, gmem2, gmem3, gmem4
#endif

// Buffers, see docs/architecture.md. A word of W = max(C, K) channels is PARTS C-words, each in a memory of its own, as
// one C-word is written at a time.
using XBuffer = StreamWord[X_DEPTH];
using RowBuffer = OperandWord[T][PARTS][Y_DEPTH];
using HBuffer = OperandWord[T][PARTS][H_DEPTH];
using KeyBuffer = ByteWord[C][PARTS][K_DEPTH];
using ValueBuffer = ByteWord[K][V_DEPTH];
using ScoreBuffer = StreamWord[T][PARTS][SCORE_DEPTH];
using LogitBuffer = LogitWord[LOGIT_DEPTH];
using Ring = RingWord[RING_DEPTH];
using NormTable = StreamWord[2 * TABLE_WORDS][4];  // of a word of channels: beta's low and high halves, gamma, nothing
using ActivationTable = ap_uint<8>[C][ACTIVATION_ENTRIES];  // a copy for each lane

struct QueueEntry {
    ap_uint<ROW_BITS> token;
    Factor weight;
};
using Queue = QueueEntry[QUEUE_DEPTH];  // expert e's begin at e * QUEUE_STRIDE
using Counts = ap_uint<ROW_BITS>[MAX_EXPERTS];

// Arithmetic shift, ties towards +infinity. The last bit shifted out, added to a one, carries: exact for every shift.
template <int N>
ap_int<N + 1> rshift(ap_int<N> value, ap_uint<6> shift) {
#pragma HLS inline
    const ap_int<N + 1> doubled = ap_int<N + 1>(value) << 1;
    return ap_int<N + 2>((doubled >> shift) + 1) >> 1;
}

// The nearest value that BITS bits hold.
template <int BITS, int N>
ap_int<BITS> saturate(ap_int<N> value) {
#pragma HLS inline
    const ap_int<BITS> least = ap_int<BITS>(1) << (BITS - 1), most = ~least;
    return value > most ? most : value < least ? least : ap_int<BITS>(value);
}

// The nearest row operand; -256 is none.
template <int N>
Operand operand(ap_int<N> value) {
#pragma HLS inline
    return value > 255 ? Operand(255) : value < -255 ? Operand(-255) : Operand(value);
}

}  // namespace hwgen
