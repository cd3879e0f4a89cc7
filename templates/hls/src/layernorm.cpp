#include "layernorm.h"

#include "tables.h"

namespace hwgen {
namespace {

// Of a row: sum of x (of RMSNorm: zero), and y1 with the shift behind the multiplication by it.
struct Statistics {
    ap_int<32> sum;
    ap_uint<17> inverse;
    ap_uint<5> shift;
};

ap_uint<6> leading_zeros(ap_uint<52> value) {
#pragma HLS inline
    ap_uint<6> zeros = 0;
    bool found = false;
pairs:  // of bits from the top: rounded down to even
    for (int pair = 0; pair < 26; pair++) {
#pragma HLS unroll
        found = found || value[51 - 2 * pair] || value[50 - 2 * pair];
        if (!found) zeros += 2;
    }
    return zeros;
}

// 1 / sqrt of D^2 times the variance: a table and a Newton step.
Statistics statistics_of(ap_int<32> sum, ap_uint<47> squares, ap_uint<16> dim, ap_uint<48> eps) {
#pragma HLS inline
    const ap_uint<52> v = ap_uint<52>(dim * squares) - ap_uint<52>(ap_uint<64>(sum * sum)) + eps;
    const ap_uint<6> zeros = leading_zeros(v);
    const ap_uint<52> vn = v << zeros;
    const ap_uint<18> m = vn >> 34;
    const ap_uint<16> y0 = RSQRT[ap_uint<6>(vn >> 46).to_uint()];
    const ap_uint<16> q = ap_uint<32>(y0 * y0) >> 16;
    const ap_uint<18> error = ap_uint<18>(3 << 16) - (ap_uint<34>(m * q) >> 16);
    return {sum, ap_uint<34>(y0 * error) >> 17, ap_uint<5>(31 - zeros / 2)};
}

void measure(const Instruction& f, const XBuffer& x, stream<StreamWord>& words, stream<Statistics>& statistics) {
    const Count count = layernorm_iterations(f);
    const ap_uint<48> eps = (ap_uint<48>(f.eps_high()) << 32) | f.eps_low();
    Address base = f.a_base();
    ap_uint<16> tile = 0;
    ap_int<32> sum = 0;
    ap_uint<47> squares = 0;
    HWGEN_TRIPS("layernorm", "measure", count);
measure:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=24 max=10000
        const StreamWord word = x[within<X_DEPTH>(Address(base + tile))];
        ap_int<22> total = 0;
        ap_uint<37> square = 0;
    lanes:
        for (int c = 0; c < C; c++) {
#pragma HLS unroll
            total += word.lane[c];
            square += ap_uint<32>(word.lane[c] * word.lane[c]);
        }
        sum = (tile == 0 ? ap_int<32>(0) : sum) + total;
        squares = (tile == 0 ? ap_uint<47>(0) : squares) + square;
        words.write(word);
        tile++;
        if (tile == f.tiles()) {
            const bool mean = !(RMS_NORM && f.rms());
            statistics.write(statistics_of(mean ? sum : ap_int<32>(0), squares, f.dim(), eps));
            tile = 0;
            base += f.a_stride();
        }
    }
}

void scale(const Instruction& f, const NormTable& table, stream<StreamWord>& words, stream<Statistics>& statistics,
           RowBuffer& y) {
    const Count count = layernorm_iterations(f);
    const int first = f.table() ? TABLE_WORDS : 0;
    Statistics s;
    Row row = f.row_begin();
    ap_uint<16> tile = 0;
    HWGEN_TRIPS("layernorm", "scale", count);
scale:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=24 max=10000
        if (tile == 0) s = statistics.read();
        const StreamWord word = words.read();
        const int at = first + tile.to_int();
        const StreamWord low = table[at][0], high = table[at][1], gamma = table[at][2];
        OperandWord out;
        const Address address =
            within<Y_DEPTH>(Address(f.d_base() + row / T * f.d_stride() + tile / PARTS));
    lanes:
        for (int c = 0; c < C; c++) {
#pragma HLS unroll
            const ap_int<34> deviation = f.dim() * word.lane[c] - s.sum;
            const ap_int<18> normalized = saturate<18>(rshift(ap_int<51>(deviation * s.inverse), s.shift));
            const ap_int<18> value = f.statistics() ? normalized : ap_int<18>(word.lane[c]);
            const ap_int<32> beta = (ap_int<32>(high.lane[c]) << 16) | ap_uint<16>(low.lane[c]);
            const ap_int<36> scaled = ap_int<34>(value * gamma.lane[c]) + beta;
            out.lane[c] = operand(rshift(scaled, ap_uint<5>(f.norm_shift())));
        }
        y[(row % T).to_uint()][(tile % PARTS).to_uint()][address] = out;
        tile++;
        if (tile == f.tiles()) {
            tile = 0;
            row++;
        }
    }
}

}  // namespace

Count layernorm_iterations(const Instruction& f) {
#pragma HLS inline
    return ap_uint<16>(f.row_end() - f.row_begin()) * f.tiles();
}

void layernorm(const Instruction& f, const XBuffer& x, const NormTable& table, RowBuffer& y) {
#pragma HLS dataflow
    stream<StreamWord> words("words");
    stream<Statistics> statistics("statistics");
// A row, and what comes behind it while its statistics are on their way through the pipeline, which stands still, with
// them in it, when no word leaves.
#pragma HLS stream variable=words type=fifo depth=NORM_DEPTH+64
#pragma HLS stream variable=statistics type=fifo depth=4
    measure(f, x, words, statistics);
    scale(f, table, words, statistics, y);
}

}  // namespace hwgen
