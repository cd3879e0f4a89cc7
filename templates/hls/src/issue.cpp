#include "issue.h"

namespace hwgen {
namespace {

// Where the K lanes of a step lie in a row: C-words from `word` on, in the first of them from `lane` on.
struct Slice {
    Address word;
    int lane;
};

Slice slice_of(ap_uint<16> step) {
#pragma HLS inline
    if (K >= C) return {Address(step), 0};
    return {Address(step / (W / K)), int((step % (W / K)).to_uint()) * K};
}

// A step's lanes of the rows that a word address names, one in each bank.
template <int BANKS, int DEPTH, class Word, class Lane>
void lanes_of(const Word (&buffer)[BANKS][PARTS][DEPTH], Address base, const Slice& slice, Lane lanes[BANKS][K]) {
#pragma HLS inline
    const Address address = within<DEPTH>(Address(base + slice.word));
banks:
    for (int bank = 0; bank < BANKS; bank++) {
#pragma HLS unroll
        Word word[PARTS];
    parts:
        for (int part = 0; part < PARTS; part++) {
#pragma HLS unroll
            word[part] = buffer[bank][part][address];
        }
    lanes:
        for (int lane = 0; lane < K; lane++) {
#pragma HLS unroll
            lanes[bank][lane] = word[lane / C].lane[K >= C ? lane % C : slice.lane + lane];
        }
    }
}

void unpack(const RingWord& word, Weight b[C][K]) {
#pragma HLS inline
channels:
    for (int c = 0; c < C; c++) {
#pragma HLS unroll
    lanes:
        for (int lane = 0; lane < K; lane++) {
#pragma HLS unroll
            b[c][lane] = Weight(word.byte[c * K + lane]);
        }
    }
}

// Byte b of a channel's parameters is lane b % K of parameter word b / K: bias, multiplier, shift.
void set_byte(Parameters& p, int c, int number, std::uint8_t value) {
#pragma HLS inline
    if (number < 4) {
        const ap_uint<32> mask = ap_uint<32>(255) << (8 * number), set = ap_uint<32>(value) << (8 * number);
        p.bias[c] = Accumulator((ap_uint<32>(p.bias[c]) & ~mask) | set);
    } else if (number < 6) {
        const ap_uint<16> mask = ap_uint<16>(255) << (8 * (number - 4)), set = ap_uint<16>(value) << (8 * (number - 4));
        p.mult[c] = (p.mult[c] & ~mask) | set;
    } else if (number == 6) {
        p.shift[c] = value;
    }
}

void set_parameters(Parameters& p, int word, const RingWord& bytes) {
#pragma HLS inline
channels:
    for (int c = 0; c < C; c++) {
#pragma HLS unroll
    lanes:
        for (int lane = 0; lane < K; lane++) {
#pragma HLS unroll
            set_byte(p, c, word * K + lane, bytes.byte[c * K + lane]);
        }
    }
}

// Each of the first row tile's steps takes the next word of the stream, unless it came already; it goes to the ring, too,
// for the other row tiles. As soon as a tile's words are all there, the next ones' are taken as they come.
void matmul(const Pass& pass, const RowBuffer& y, const HBuffer& h, Ring& ring, stream<RingWord>& weights,
            stream<Step>& steps, stream<Parameters>& parameters) {
    const Section& s = pass.section[0];
    const Instruction& f = pass.instruction;
    const Count count = issue_iterations(s);
    ap_uint<33> taken = 0, tile_first = 0, tile_end = pass.tile_words;
    Apart apart;
    ap_uint<33> room = f.keep() ? pass.arriving : ap_uint<33>(WEIGHT_DEPTH);  // words may be taken up to there
    ap_uint<16> step = 0, group = 0;
    Address base = f.a_base();
    ap_uint<4> parameter_word = 0;
    Parameters p;
    bool in_parameters = true;
    HWGEN_TRIPS("issue", "matmul", count);
matmul:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=9 max=1000000
// A word of this tile is taken when it is wanted, and wanted again a period later; one of the next tile's is not taken in
// this one's last cycles.
#pragma HLS dependence variable=ring type=inter dependent=false
        const bool valid = in_parameters || step < s.steps;
        const ap_uint<33> wanted =
            tile_first + (in_parameters ? ap_uint<17>(parameter_word) : ap_uint<17>(step + PARAM_WORDS));
        const bool next = valid && wanted == taken && taken < pass.arriving;
        const bool row_ends = step + 1 == s.period, tile_ends = row_ends && group + 1 == s.row_tiles;
        const bool ends_soon = group + 1 == s.row_tiles && step + APART >= s.period;
        const bool ahead = !in_parameters && taken >= tile_end && taken < pass.arriving && taken < room && !ends_soon &&
                           !weights.empty();
        const ap_uint<20> from = ap_uint<20>(pass.ring_first + wanted) & (RING_DEPTH - 1);
        const ap_uint<20> to = ap_uint<20>(pass.ring_first + taken) & (RING_DEPTH - 1);
        RingWord word = ring[from];
        if (valid && !next) apart.read(i, from);
        if (next || ahead) {
            const RingWord come = weights.read();
            ring[to] = come;
            apart.written(i, to);
            if (next) word = come;
            taken++;
        }
        if (in_parameters) {
            set_parameters(p, parameter_word.to_int(), word);
            if (parameter_word + 1 == PARAM_WORDS) {
                parameters.write(p);
                in_parameters = false;
                parameter_word = 0;
            } else {
                parameter_word++;
            }
        } else {
            Step out;
            out.valid = step < s.steps;
            out.first = step == 0;
            out.last = step + 1 == s.steps;
            if (out.valid) {
                const Slice slice = slice_of(step);
                if (f.source() == FROM_Y) lanes_of<T, Y_DEPTH>(y, base, slice, out.a);
                else lanes_of<T, H_DEPTH>(h, base, slice, out.a);
                unpack(word, out.b);
            }
            steps.write(out);
            step = row_ends ? ap_uint<16>(0) : ap_uint<16>(step + 1);
            if (row_ends) {
                base = tile_ends ? Address(f.a_base()) : Address(base + f.a_stride());
                group = tile_ends ? ap_uint<16>(0) : ap_uint<16>(group + 1);
            }
            if (tile_ends) {
                tile_first = tile_end;
                tile_end += pass.tile_words;
                if (!f.keep()) room += pass.tile_words;
                in_parameters = true;
            }
        }
    }
}

// Where in a period scores and context are: the cycles without a step come in front, so that a period's last step is
// its end, whatever comes next.
struct Pace {
    ap_uint<16> idle, step, waited;
};

Pace pace_of(const Section& s) {
#pragma HLS inline
    return {ap_uint<16>(s.period - s.steps), 0, 0};
}

// The next step, without its operands.
Step next_step(const Pace& pace, const Section& s) {
#pragma HLS inline
    Step out;
    out.valid = pace.waited == pace.idle;
    out.first = pace.step == 0;
    out.last = out.valid && pace.step + 1 == s.steps;
    return out;
}

void advance(Pace& pace, const Step& out) {
#pragma HLS inline
    if (out.last) pace = {pace.idle, 0, 0};
    else if (out.valid) pace.step++;
    else pace.waited++;
}

void scores_of(const Pass& pass, const Section& s, const HBuffer& h, const KeyBuffer& keys, stream<Step>& steps) {
    const Instruction& f = pass.instruction;
    const Count count = issue_iterations(s);
    const Address base = f.a_base() + ap_uint<16>(s.first_group - pass.row_begin / T) * f.a_stride();
    Address key_base = f.k_base();
    Pace pace = pace_of(s);
    HWGEN_TRIPS("issue", "scores", count);
scores:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=8 max=10000
        Step out = next_step(pace, s);
        if (out.valid) {
            const Slice slice = slice_of(pace.step);
            lanes_of<T, H_DEPTH>(h, base, slice, out.a);
            lanes_of<C, K_DEPTH>(keys, key_base, slice, out.b);
        }
        steps.write(out);
        advance(pace, out);
        if (out.last) key_base += f.k_stride();
    }
}

void context_of(const Pass& pass, const Section& s, const ValueBuffer& values, const ScoreBuffer& scores,
                const Maxima& maxima, stream<Step>& steps, stream<Sums>& sums) {
    const Instruction& f = pass.instruction;
    const Count count = issue_iterations(s);
    const Row first_key = pass.row_begin % W, end_key = first_key + (pass.row_end - pass.row_begin);
    Sums total;
    Pace pace = pace_of(s);
    ap_uint<16> tile = 0;
    Address value_base = f.v_base();
    HWGEN_TRIPS("issue", "context", count);
context:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=8 max=10000
        Step out = next_step(pace, s);
        if (out.valid) {
            Slice slice = slice_of(pace.step);
            slice.word = Address(slice.word * 2) + s.half;  // the halves' words take turns
            Stream score[T][K];
            lanes_of<T, SCORE_DEPTH>(scores, Address(0), slice, score);
            const Address address = within<V_DEPTH>(Address(value_base + tile));
            ByteWord value[K];
        words:
            for (int lane = 0; lane < K; lane++) {
#pragma HLS unroll
                value[lane] = values[lane][address];
            }
        rows:
            for (int t = 0; t < T; t++) {
#pragma HLS unroll
                ProbabilitySum sum = 0;  // of this step alone, as the next one waits for the total
            lanes:
                for (int lane = 0; lane < K; lane++) {
#pragma HLS unroll
                    const Row key = pace.step * K + lane;
                    const bool counts = key >= first_key && key < end_key;
                    const Probability p = probability(score[t][lane], maxima.row[t], ap_uint<5>(key - first_key));
                    out.a[t][lane] = counts ? Operand(p) : Operand(0);
                    sum += counts ? p : Probability(0);
                }
                total.row[t] = (out.first ? ProbabilitySum(0) : total.row[t]) + sum;
            }
        channels:
            for (int c = 0; c < C; c++) {
#pragma HLS unroll
            tokens:
                for (int lane = 0; lane < K; lane++) {
#pragma HLS unroll
                    out.b[c][lane] = value[lane].lane[c];
                }
            }
            if (out.last && tile == 0) sums.write(total);
            value_base += f.v_stride();
        }
        steps.write(out);
        advance(pace, out);
        if (out.last) {
            value_base = f.v_base();
            tile++;
        }
    }
}

}  // namespace

void issue(const Pass& pass, const RowBuffer& y, const HBuffer& h, const KeyBuffer& keys, const ValueBuffer& values,
           const ScoreBuffer& scores, const Maxima& maxima, Ring& ring, stream<RingWord>& weights, stream<Step>& steps,
           stream<Parameters>& parameters, stream<Sums>& sums) {
sections:
    for (int number = 0; number < SECTIONS; number++) {
        if (number < pass.sections) {
            const Section& s = pass.section[number];
            if (s.kind == Kind::MATMUL) matmul(pass, y, h, ring, weights, steps, parameters);
            else if (s.kind == Kind::SCORES) scores_of(pass, s, h, keys, steps);
            else context_of(pass, s, values, scores, maxima, steps, sums);
        }
    }
}

}  // namespace hwgen
