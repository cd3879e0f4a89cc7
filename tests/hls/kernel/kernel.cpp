// One of everything that kernels may do: the lint accepts it, and finds each mistake that is made in it.
#include "kernel.h"

constexpr int twice(int n) { return 2 * n; }

template <int N>
static int dot(const ap_int<8>* a, const ap_int<8>* b) {
#pragma HLS inline
    ap_int<32> sum = 0;
terms:
    for (int i = 0; i < N; i++) {
#pragma HLS unroll
        sum += a[i] * b[i];
    }
    return sum.to_int();
}

static ap_uint<64> sum_of(const ap_uint<64>* words) {
#pragma HLS pipeline II=1
    ap_uint<64> sum = 0;
eight:
    for (int i = 0; i < 8; i++) {
        sum += words[i];
    }
    return sum;
}

// A template's loops are checked once, whatever it is made with.
template <class Sizes>
struct Sums {
    ap_int<32> of[Sizes::TERMS];
    int used;
    void add(const ap_int<8>* values) {
#pragma HLS array_partition variable=of type=cyclic factor=Sizes::TERMS
    sums:
        for (int i = 0; i < Sizes::TERMS; i++) {
#pragma HLS pipeline II=1
            of[i] += values[i];
        }
    }
};
struct Four {
    static constexpr int TERMS = 4;
    int last = 3;
};

static void load(const ap_uint<64>* memory, int count, stream<ap_uint<64>>& out) {
words:
    for (int i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=1 max=LANES
        out.write(memory[i]);
    }
}

static void eat(stream<ap_uint<64>>& in, int count, ap_uint<64>* out) {
    ap_uint<64> table[LANES];
#pragma HLS bind_storage variable=table type=ram_2p impl=uram
#pragma HLS array_partition variable=table type=complete dim=1
tiles:
    for (int t = 0; t < count; t += LANES) {
#pragma HLS loop_tripcount max=8
    lanes:
        for (int i = 0; i < twice(LANES) / 2; i++) {
#pragma HLS pipeline II=1
            table[i] = in.read();
            out[t + i] = table[i];
            if (table[i] == 3) break;
        }
    }
}

static ap_int<32> first_sum(const ap_int<8>* values) {
    static Sums<Four> sums;
    sums.add(values);
    return sums.of[0];
}

// A loop around functions that loop needs no pipeline.
static void twice_over(const ap_uint<64>* memory, int count, stream<ap_uint<64>>& out) {
rounds:
    for (int i = 0; i < 2; i++) {
        load(memory, count, out);
    }
}

extern "C" void top(const ap_uint<64>* memory, ap_uint<64>* out, int count, const ap_int<8>* a) {
#pragma HLS interface mode=m_axi port=memory offset=slave bundle=gmem0 max_read_burst_length=64
#pragma HLS interface mode=s_axilite port=return  // and of the scalars
#pragma HLS dataflow
    stream<ap_uint<64>> words("words");
#pragma HLS stream variable=words depth=16
    twice_over(memory, count, words);
    eat(words, count + sum_of(memory).to_int() + dot<4>(a, a) + first_sum(a).to_int(), out);
}
