#include "check.h"

namespace hwgen {
namespace {

bool askew(std::uint64_t value) {
#pragma HLS inline
    return value % ALIGN != 0;
}

bool astray(std::uint64_t base, ap_uint<32> size) {
#pragma HLS inline
    return askew(base) || (size != 0 && base > ~std::uint64_t(0) - (size.to_uint64() - 1));
}

bool strays(const Instruction& f) {
#pragma HLS inline
    ap_uint<32> stray = 0;
words:
    for (int word = 0; word < INSTRUCTION_WORDS; word++) {
#pragma HLS unroll
        stray |= f.word[word] & ap_uint<32>(~READ[(f.op() - 1).to_int()][word]);
    }
    return stray != 0;
}

// Bytes of a MATMUL's weights in DRAM.
ap_uint<48> weight_bytes(const Instruction& f) {
#pragma HLS inline
    const ap_uint<12> word = C * K;
    const ap_uint<33> words = f.tiles() * ap_uint<17>(f.k_steps() + PARAM_WORDS);
    // A pair of pieces in one; of words, if a piece is one, the last of an odd number has a piece for itself.
    const ap_uint<17> rounded = PIECE_BYTES == C * K ? ap_uint<17>(f.k_steps() + f.k_steps() % 2) : ap_uint<17>(f.k_steps());
    const ap_uint<33> halves = f.tiles() * ap_uint<17>(rounded + 2 * PARAM_WORDS);
    return f.narrow() ? ap_uint<48>(ap_uint<45>(halves * word) / 2) : ap_uint<48>(words * word);
}

bool legal_matmul(const Instruction& f, bool rows) {
#pragma HLS inline
    const bool fetches = f.bytes() != 0;
    const bool queue = f.use_queue() && f.expert() < MAX_EXPERTS && f.row_begin() == 0;
    const ap_uint<33> words = f.tiles() * ap_uint<17>(f.k_steps() + PARAM_WORDS);
    if (f.use_queue() ? !(queue && fetches && !f.keep()) : !(rows && !f.scatter())) return false;
    if (f.tiles() == 0 || f.k_steps() < PARAM_WORDS || f.dest() > TO_LOGITS || f.source() > FROM_H) return false;
    if (f.gated() && (!f.activate() || f.dest() != TO_H || f.source() != FROM_Y || f.use_queue())) return false;
    if (fetches && weight_bytes(f) != f.bytes()) return false;
    if (f.keep()) return f.ring_offset() <= WEIGHT_DEPTH && words <= ap_uint<21>(WEIGHT_DEPTH) - f.ring_offset();
    return f.k_steps() + PARAM_WORDS <= WEIGHT_DEPTH && f.ring_offset() == 0;
}

bool legal_load(const Instruction& f) {
#pragma HLS inline
    if (f.dest() == TO_ACTIVATION) return f.bytes() == ACTIVATION_ENTRIES && f.d_base() == 0;
    if (f.dest() != TO_X && f.dest() != TO_NORM) return false;
    const ap_uint<21> depth = f.dest() == TO_NORM ? TABLE_DEPTH : X_DEPTH;
    return f.bytes() != 0 && f.bytes() % (2 * C) == 0 && f.d_base() <= depth &&
           f.bytes() / (2 * C) <= depth - f.d_base();
}

bool legal(const Instruction& f) {
#pragma HLS inline
    const bool rows = f.row_begin() < f.row_end() && f.row_end() <= MAX_TOKENS;
    const bool tiles = f.tiles() != 0, steps = f.k_steps() != 0;
    const int align = f.op() == MATMUL ? WEIGHT_ALIGN : ALIGN;
    if (strays(f) || f.offset() % align != 0) return false;
    switch (f.op()) {
        case END: return true;
        case LOAD: return legal_load(f);
        case IMAGE: return tiles && steps && f.a_stride() != 0 && f.bytes() != 0;
        case NORM: return rows && tiles && f.tiles() <= NORM_DEPTH;
        case MATMUL: return legal_matmul(f, rows);
        case ATTENTION:
            return rows && tiles && steps && f.key_tiles() != 0 && f.pv_steps() != 0 &&
                   f.key_tiles() <= KEY_WORDS * PARTS && f.pv_steps() <= KEY_WORDS * (W / K);
        case ROUTE:
            return rows && tiles && steps && f.tiles() <= MAX_EXPERTS && f.k_steps() <= MAX_TOPK &&
                   f.k_steps() <= f.tiles();
        case GATHER: return tiles && f.use_queue() && f.expert() < MAX_EXPERTS && f.row_begin() == 0;
        case MEAN: return rows && tiles;
        default:
            return rows && tiles && (f.source() == FROM_X || f.source() == FROM_Y) &&
                   ap_uint<48>(ap_uint<32>(f.tiles() * ap_uint<16>(f.row_end() - f.row_begin())) * ap_uint<8>(2 * C)) == f.bytes();
    }
}

// The region's end against that of the bytes.
Error range_fault(const Instruction& f, const Arguments& a, const Progress& progress) {
#pragma HLS inline
    ap_uint<32> size = a.weights_size;
    ap_uint<33> moved = 0;
    Error code = WEIGHTS_RANGE;
    switch (f.op()) {
        case MATMUL: break;
        case LOAD:
            size = spilled(f) ? a.output_size : a.program_size;
            moved = spilled(f) ? progress.output_offset : ap_uint<33>(0);
            code = spilled(f) ? OUTPUT_RANGE : PROGRAM_RANGE;
            break;
        case IMAGE:
            size = a.input_size;
            moved = progress.input_offset;
            code = INPUT_RANGE;
            break;
        case STORE:
            size = a.output_size;
            moved = progress.output_offset;
            code = OUTPUT_RANGE;
            break;
        default: return NONE;
    }
    const ap_uint<33> span = f.offset() + f.bytes();
    if (ap_uint<35>(moved + span) > size) return code;
    if (f.op() == STORE && a.batch > 1 && span > a.output_stride) return OUTPUT_STRIDE;
    return NONE;
}

// Words of a MATMUL that would not lie where it looks for them.
bool missing(const Instruction& f, ap_uint<21> kept) {
#pragma HLS inline
    const ap_uint<33> words = f.tiles() * ap_uint<17>(f.k_steps() + PARAM_WORDS);
    if (f.op() != MATMUL) return false;
    if (f.bytes() != 0) return f.ring_offset() != kept;
    return f.ring_offset() > kept || words > kept - f.ring_offset();
}

}  // namespace

Error refusal(const Arguments& a) {
    if (astray(a.program_base, a.program_size)) return PROGRAM_BASE;
ports:
    for (int port = 0; port < WEIGHT_PORTS; port++) {
#pragma HLS unroll
        if (astray(a.weights_base[port], a.weights_size / WEIGHT_PORTS)) return WEIGHTS_BASE;
    }
    if (astray(a.input_base, a.input_size)) return INPUT_BASE;
    if (astray(a.output_base, a.output_size)) return OUTPUT_BASE;
    if (askew(a.input_stride.to_uint64())) return INPUT_STRIDE;
    if (askew(a.output_stride.to_uint64())) return OUTPUT_STRIDE;
    if (askew(a.entry.to_uint64()) || a.entry >= a.program_size) return ENTRY;
    return NONE;
}

Error fault(const Instruction& f, const Arguments& a, const Progress& progress) {
    if (f.op() == 0 || f.op() > OPCODES) return OPCODE;
    if (!legal(f)) return FIELD;
    const Error code = range_fault(f, a, progress);
    if (code != NONE) return code;
    return missing(f, progress.kept) ? NOT_FETCHED : NONE;
}

ap_uint<21> kept_after(const Instruction& f, ap_uint<21> kept) {
#pragma HLS inline
    const ap_uint<21> words = f.tiles() * ap_uint<17>(f.k_steps() + PARAM_WORDS);
    const bool fetches = f.bytes() != 0;
    if (f.op() != MATMUL || fetches != bool(f.keep())) return kept;
    return f.keep() ? ap_uint<21>(kept + words) : ap_uint<21>(kept - words);
}

ap_uint<33> advanced(ap_uint<33> offset, ap_uint<32> stride) {
#pragma HLS inline
    const ap_uint<34> total = offset + stride;
    return offset[32] ? offset : ap_uint<33>(total);
}

}  // namespace hwgen
