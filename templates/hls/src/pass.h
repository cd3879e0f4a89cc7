// What the array does between two of its drains: a MATMUL, or of an ATTENTION a query tile's scores beside the context of
// the tile before.
#pragma once

#include "isa.h"
#include "softmax.h"
#include "weight_stream.h"

namespace hwgen {

enum class Kind : std::uint8_t { MATMUL, SCORES, CONTEXT };

// Output tile by output tile, in each row tile by row tile, in each `steps` steps of the array, `period` cycles apart.
struct Section {
    Kind kind;
    ap_uint<16> tiles, row_tiles, steps, period;
    Row first_group;  // row / T of the first row tile
    bool half;        // SCORES, CONTEXT: of the score buffer
};

constexpr int SECTIONS = 2;

struct Pass {
    Instruction instruction;
    Section section[SECTIONS];
    ap_uint<2> sections;
    Row row_begin, row_end;
    WeightCommand command;
    // MATMUL: its words begin there in the ring; so many arrive with this instruction; words of a tile.
    ap_uint<20> ring_first;
    ap_uint<33> arriving;
    ap_uint<17> tile_words;
    Count steps;  // of the array, all sections'
};

// The denominators of a query tile.
struct Sums {
    ProbabilitySum row[T];
};

// The largest scores of a query tile.
struct Maxima {
    Stream row[T];
};

inline Count row_iterations(const Section& s) {
#pragma HLS inline
    return ap_uint<32>(s.tiles * s.row_tiles) * ap_uint<16>(s.period);
}

// Iterations of `issue` for a section: the parameter words of each tile are read first.
inline Count issue_iterations(const Section& s) {
#pragma HLS inline
    return row_iterations(s) + (s.kind == Kind::MATMUL ? ap_uint<24>(s.tiles * PARAM_WORDS) : ap_uint<24>(0));
}

// Rows of accumulators that a section brings forth.
inline Count drained_rows(const Section& s) {
#pragma HLS inline
    return ap_uint<32>(s.tiles * s.row_tiles) * T;
}

}  // namespace hwgen
