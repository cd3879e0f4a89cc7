#include "drain.h"

namespace hwgen {
namespace {

Mode mode_of(const Instruction& f) {
#pragma HLS inline
    if (f.activate()) return Mode::ACTIVATION;
    switch (f.dest()) {
        case TO_Y:
        case TO_H: return Mode::OPERAND;
        case TO_K:
        case TO_V: return Mode::BYTE;
        case TO_LOGITS: return Mode::LOGIT;
        default: return Mode::HALF;
    }
}

// Words are written as a whole: lane by lane would be to read the word, to change it and to write it back.
template <class Word, int LANES = C>
Word lanes_of(const Logit out[C]) {
#pragma HLS inline
    Word word;
lanes:
    for (int c = 0; c < LANES; c++) {
#pragma HLS unroll
        word.lane[c] = out[c];
    }
    return word;
}

// A C-word of a row, where `put` puts it.
template <int DEPTH>
OperandWord get(const OperandWord (&buffer)[T][PARTS][DEPTH], Address base, Address stride, Row row, Address word) {
#pragma HLS inline
    const Address address = within<DEPTH>(Address(base + row / T * stride + word / PARTS));
    return buffer[(row % T).to_uint()][(word % PARTS).to_uint()][address];
}

// A C-word of a row, as a banked buffer has it.
template <int BANKS, int DEPTH, class Word>
void put(Word (&buffer)[BANKS][PARTS][DEPTH], Address base, Address stride, Row row, Address word, const Logit out[C]) {
#pragma HLS inline
    const Address address = within<DEPTH>(Address(base + row / BANKS * stride + word / PARTS));
    buffer[(row % BANKS).to_uint()][(word % PARTS).to_uint()][address] = lanes_of<Word>(out);
}

void put_stream(const Instruction& f, XBuffer& x, Row row, Address word, const Logit out[C], Count i, Apart& apart) {
#pragma HLS inline
    const Address address = within<X_DEPTH>(Address(f.d_base() + row * f.d_stride() + word));
    const StreamWord old = x[address];
    apart.read(i, address);
    StreamWord sum;
lanes:
    for (int c = 0; c < C; c++) {
#pragma HLS unroll
        const ap_int<18> added = rshift(old.lane[c], f.x_shift()) + Stream(out[c]);
        sum.lane[c] = f.dest() == TO_X_ADD ? saturate<16>(added) : Stream(out[c]);
    }
    x[address] = sum;
    apart.written(i, address);
}

void matmul(const Pass& pass, const Section& s, stream<Accumulators>& rows, stream<Parameters>& parameters,
            const ActivationTable& table, const Queue& queue, XBuffer& x, RowBuffer& y, HBuffer& h, KeyBuffer& keys,
            ValueBuffer& values, LogitBuffer& logits) {
    const Instruction& f = pass.instruction;
    const Count count = drained_rows(s);
    const Row row_first = s.first_group * T;
    Requantization r;
    r.mode = mode_of(f);
    r.use_factor = f.scatter();
    r.activation = {f.act_mult(), f.act_shift(), ap_int<12>(f.act_zero())};
    r.gated = GATED_MLP && f.gated();
    Parameters p;
    Row row = row_first;
    ap_uint<16> place = 0, tile = 0;  // of the row in its tile of all rows; output tile
    const ap_uint<16> height = s.row_tiles * T;
    Apart apart;
    HWGEN_TRIPS("drain", "matmul", count);
matmul:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=8 max=100000
// Each word of X is written once, as a token is at most once in a queue.
#pragma HLS dependence variable=x type=inter dependent=false
        if (place == 0) p = parameters.read();
        const Accumulators sums = rows.read();
        if (row >= pass.row_begin && row < pass.row_end) {
            const int entry = (f.expert() * QUEUE_STRIDE + row).to_int();
            const QueueEntry queued = queue[f.scatter() ? within<QUEUE_DEPTH>(entry) : 0];
            const Row target = f.scatter() ? Row(queued.token) : row;
            const Address word = f.d_word() + tile;
            Logit out[C];
            r.factor = queued.weight;
            if (r.gated) r.gates = get<H_DEPTH>(h, f.d_base(), f.d_stride(), target, word);
            postprocess(sums, p, r, table, out);
            switch (f.dest()) {
                case TO_Y: put<T, Y_DEPTH>(y, f.d_base(), f.d_stride(), target, word, out); break;
                case TO_H: put<T, H_DEPTH>(h, f.d_base(), f.d_stride(), target, word, out); break;
                case TO_K: put<C, K_DEPTH>(keys, f.d_base(), f.d_stride(), target, word, out); break;
                case TO_V: {
                    const Address address =
                        within<V_DEPTH>(Address(f.d_base() + target / K * f.d_stride() + word));
                    values[(target % K).to_uint()][address] = lanes_of<ByteWord>(out);
                    break;
                }
                case TO_LOGITS: {
                    const int address = within<LOGIT_DEPTH>((target * GATE_STRIDE + word).to_int());
                    logits[address] = lanes_of<LogitWord, GATE_LANES>(out);
                    break;
                }
                default: put_stream(f, x, target, word, out, i, apart);
            }
        }
        row++;
        place++;
        if (place == height) {
            row = row_first;
            place = 0;
            tile++;
        }
    }
}

// With their maximum; keys of other images do not count. Rows that are not asked for have scores of what lies beside.
void scores_of(const Pass& pass, const Section& s, stream<Accumulators>& rows, const ActivationTable& table,
               ScoreBuffer& scores, Maxima& maxima) {
    const Instruction& f = pass.instruction;
    const Count count = drained_rows(s);
    const Row first_key = pass.row_begin % W, end_key = first_key + (pass.row_end - pass.row_begin);
    const Requantization r{Mode::HALF, false, 0, {0, 0, 0}, false, {}};
    Parameters p;
parameters:
    for (int c = 0; c < C; c++) {
#pragma HLS unroll
        p.bias[c] = 0;
        p.mult[c] = f.score_mult();
        p.shift[c] = f.score_shift();
    }
    ap_uint<8> t = 0;
    Address tile = 0;
    Maxima found;
#pragma HLS array_partition variable=found.row dim=1 type=complete
    HWGEN_TRIPS("drain", "scores", count);
scores:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=8 max=10000
        Logit out[C];
        postprocess(rows.read(), p, r, table, out);
        const Address address = within<SCORE_DEPTH>(Address(ap_uint<16>(tile / PARTS) * 2 + s.half));
        Stream most = -32768;  // of this word alone, as the next one waits for the row's
    lanes:
        for (int c = 0; c < C; c++) {
#pragma HLS unroll
            const Row key = tile * C + c;
            const Stream score = out[c];
            if (key >= first_key && key < end_key && score > most) most = score;
        }
        scores[t][(tile % PARTS).to_uint()][address] = lanes_of<StreamWord>(out);
        if (tile == 0 || most > found.row[t]) found.row[t] = most;
        t++;
        if (t == T) {
            t = 0;
            tile++;
        }
    }
    maxima = found;
}

void context_of(const Pass& pass, const Section& s, stream<Accumulators>& rows, stream<Sums>& sums,
                const ActivationTable& table, RowBuffer& y) {
    const Instruction& f = pass.instruction;
    const Count count = drained_rows(s);
    Requantization r{Mode::OPERAND, true, 0, {0, 0, 0}, false, {}};
    Parameters p;
parameters:
    for (int c = 0; c < C; c++) {
#pragma HLS unroll
        p.bias[c] = 0;
        p.mult[c] = f.out_mult();
        p.shift[c] = f.out_shift();
    }
    Factor factor[T];
#pragma HLS array_partition variable=factor dim=1 type=complete
    Sums total;
#pragma HLS array_partition variable=total.row dim=1 type=complete
    ap_uint<8> t = 0;
    Address tile = 0;
    HWGEN_TRIPS("drain", "context", count);
context:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=8 max=10000
        if (i == 0) total = sums.read();
        if (tile == 0) factor[t] = reciprocal(total.row[t]);
        r.factor = factor[t];
        Logit out[C];
        postprocess(rows.read(), p, r, table, out);
        const Row row = s.first_group * T + t;
        if (row >= pass.row_begin && row < pass.row_end)
            put<T, Y_DEPTH>(y, f.d_base(), f.d_stride(), row, Address(f.d_word() + tile), out);
        t++;
        if (t == T) {
            t = 0;
            tile++;
        }
    }
}

}  // namespace

void drain(const Pass& pass, stream<Accumulators>& rows, stream<Parameters>& parameters, stream<Sums>& sums,
           const ActivationTable& table, const Queue& queue, XBuffer& x, RowBuffer& y, HBuffer& h, KeyBuffer& keys,
           ValueBuffer& values, ScoreBuffer& scores, Maxima& maxima, LogitBuffer& logits) {
sections:
    for (int number = 0; number < SECTIONS; number++) {
        if (number < pass.sections) {
            const Section& s = pass.section[number];
            if (s.kind == Kind::MATMUL)
                matmul(pass, s, rows, parameters, table, queue, x, y, h, keys, values, logits);
            else if (s.kind == Kind::SCORES) scores_of(pass, s, rows, table, scores, maxima);
            else context_of(pass, s, rows, sums, table, y);
        }
    }
}

}  // namespace hwgen
