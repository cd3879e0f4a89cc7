#include "postprocess.h"

namespace hwgen {

void postprocess(const Accumulators& row, const Parameters& p, const Requantization& r, const ActivationTable& table,
                 Logit out[C]) {
#pragma HLS inline
lanes:
    for (int c = 0; c < C; c++) {
#pragma HLS unroll
        const ap_int<33> sum = row.lane[c] + p.bias[c];
        const Factor mult = r.use_factor ? Factor(ap_uint<33>(r.factor * p.mult[c]) >> 16) : Factor(p.mult[c]);
        const ap_int<52> scaled = rshift(ap_int<51>(sum * mult), p.shift[c]);
        switch (r.mode) {
            case Mode::BYTE: out[c] = saturate<8>(scaled); break;
            case Mode::HALF: out[c] = saturate<16>(scaled); break;
            case Mode::LOGIT: out[c] = saturate<24>(scaled); break;
            case Mode::OPERAND: out[c] = operand(scaled); break;
            case Mode::ACTIVATION: {
                const ap_int<18> by = r.gated ? gated(r.activation, r.gates.lane[c]) : ap_int<18>(r.activation.mult);
                out[c] = activate(saturate<13>(scaled), by, r.activation, table[c]);
            }
        }
    }
}

}  // namespace hwgen
