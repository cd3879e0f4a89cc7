#include "mover.h"

namespace hwgen {

Count mover_iterations(const Instruction& f, Row rows) {
#pragma HLS inline
    return (f.op() == GATHER ? rows : Row(f.row_end() - f.row_begin())) * f.tiles();
}

void gather(const Instruction& f, Row rows, const Queue& queue, const RowBuffer& y, HBuffer& h) {
    const Count count = mover_iterations(f, rows);
    Row row = 0;
    ap_uint<16> tile = 0;
    HWGEN_TRIPS("mover", "gather", count);
gather:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=0 max=10000
        const Row token = queue[(f.expert() * QUEUE_STRIDE + row).to_uint()].token;
        const Address from = within<Y_DEPTH>(Address(f.a_base() + token / T * f.a_stride() + tile / PARTS));
        const Address to = within<H_DEPTH>(Address(f.d_base() + row / T * f.d_stride() + tile / PARTS));
        const int part = (tile % PARTS).to_int();
        h[(row % T).to_uint()][part][to] = y[(token % T).to_uint()][part][from];
        tile++;
        if (tile == f.tiles()) {
            tile = 0;
            row++;
        }
    }
}

// Word by word, all rows of it.
void mean(const Instruction& f, const RowBuffer& y, HBuffer& h) {
    const Count count = mover_iterations(f, 0);
    const Row first_group = f.row_begin() / T;
    Row row = f.row_begin();
    ap_uint<16> tile = 0;
    ap_int<26> sum[C];
#pragma HLS array_partition variable=sum dim=1 type=complete
    HWGEN_TRIPS("mover", "mean", count);
mean:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=24 max=10000
        const Address from =
            within<Y_DEPTH>(Address(f.a_base() + (row / T - first_group) * f.a_stride() + tile / PARTS));
        const Address to = within<H_DEPTH>(Address(f.d_base() + tile / PARTS));
        const int part = (tile % PARTS).to_int();
        const OperandWord word = y[(row % T).to_uint()][part][from];
        OperandWord out;
    lanes:
        for (int c = 0; c < C; c++) {
#pragma HLS unroll
            sum[c] = (row == f.row_begin() ? ap_int<26>(0) : sum[c]) + word.lane[c];
            out.lane[c] = operand(rshift(ap_int<50>(sum[c] * f.out_mult()), f.out_shift()));
        }
        row++;
        if (row == f.row_end()) {
            h[0][part][to] = out;
            row = f.row_begin();
            tile++;
        }
    }
}

}  // namespace hwgen
