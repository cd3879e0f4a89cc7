#include "array.h"

namespace hwgen {
namespace {

// Products added before the two tokens' fields are parted: 4 * 255 * 128 = 130,560 < 2^17.
constexpr int GROUP = K < 4 ? K : 4, FIELD = 18;

using Dot = ap_int<32>;

// Dot products of two tokens with the same weights, a DSP slice per lane: the second token's operand is shifted in front
// of the first one's, so their products lie side by side.
void packed(const Operand low[K], const Operand high[K], const Weight weight[K], Dot& low_dot, Dot& high_dot) {
#pragma HLS inline
    low_dot = 0;
    high_dot = 0;
groups:
    for (int group = 0; group < K; group += GROUP) {
#pragma HLS unroll
        ap_int<36> chain = 0;
    lanes:
        for (int lane = 0; lane < GROUP; lane++) {
#pragma HLS unroll
            const ap_int<27> pair = ap_int<27>(ap_int<27>(high[group + lane]) << FIELD) + low[group + lane];
            const ap_int<35> product = pair * weight[group + lane];
#pragma HLS bind_op variable=product op=mul impl=dsp
            chain += product;
        }
        const ap_int<FIELD> below = chain;
        low_dot += below;
        high_dot += ap_int<FIELD>(ap_int<37>(chain - below) >> FIELD);
    }
}

Dot single(const Operand a[K], const Weight weight[K]) {
#pragma HLS inline
    Dot dot = 0;
lanes:
    for (int lane = 0; lane < K; lane++) {
#pragma HLS unroll
        const ap_int<17> product = a[lane] * weight[lane];
#pragma HLS bind_op variable=product op=mul impl=dsp
        dot += product;
    }
    return dot;
}

Accumulators row_of(const Accumulator row[C]) {
#pragma HLS inline
    Accumulators out;
columns:
    for (int c = 0; c < C; c++) {
#pragma HLS unroll
        out.lane[c] = row[c];
    }
    return out;
}

void shift(Accumulator shadow[T][C]) {
#pragma HLS inline
rows:
    for (int t = 0; t < T - 1; t++) {
#pragma HLS unroll
    columns:
        for (int c = 0; c < C; c++) {
#pragma HLS unroll
            shadow[t][c] = shadow[t + 1][c];
        }
    }
}

}  // namespace

void array(const Pass& pass, stream<Step>& in, stream<Accumulators>& rows) {
    const Count steps = pass.steps;
    Accumulator accumulator[T][C], shadow[T][C];
#pragma HLS array_partition variable=accumulator dim=0 type=complete
#pragma HLS array_partition variable=shadow dim=0 type=complete
    ap_uint<8> pending = 0;  // rows that have not left
    HWGEN_TRIPS("array", "steps", steps);
steps:
    for (Count i = 0; i < steps; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=64 max=1000000
        const Step step = in.read();
        if (pending != 0) {
            rows.write(row_of(shadow[0]));
            shift(shadow);
            pending--;
        }
        if (step.valid) {
        columns:
            for (int c = 0; c < C; c++) {
#pragma HLS unroll
            pairs:
                for (int t = 0; t < T; t += 2) {
#pragma HLS unroll
                    Dot dot[2];
                    if (PACKED) {
                        packed(step.a[t], step.a[t + 1], step.b[c], dot[0], dot[1]);
                    } else {
                        dot[0] = single(step.a[t], step.b[c]);
                        dot[1] = single(step.a[t + 1], step.b[c]);
                    }
                both:
                    for (int side = 0; side < 2; side++) {
#pragma HLS unroll
                        Accumulator& sum = accumulator[t + side][c];
                        sum = (step.first ? Accumulator(0) : sum) + dot[side];
                    }
                }
            }
        }
        if (step.last) {
        capture:
            for (int t = 0; t < T; t++) {
#pragma HLS unroll
            captured:
                for (int c = 0; c < C; c++) {
#pragma HLS unroll
                    shadow[t][c] = accumulator[t][c];
                }
            }
            pending = T;
        }
    }
rest:
    for (int t = 0; t < T; t++) {
#pragma HLS pipeline II=1
        if (t < pending) {
            rows.write(row_of(shadow[0]));
            shift(shadow);
        }
    }
}

}  // namespace hwgen
