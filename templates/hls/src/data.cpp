#include "data.h"

namespace hwgen {
namespace {

constexpr int WORD_BYTES = 2 * C;  // of C int16
// Beats and words of C int16 are taken apart into units, the smaller of both.
constexpr int UNIT_BYTES = WORD_BYTES < DATA_BYTES ? WORD_BYTES : DATA_BYTES;
constexpr int BEAT_UNITS = DATA_BYTES / UNIT_BYTES, WORD_UNITS = WORD_BYTES / UNIT_BYTES;
constexpr int UNIT_LANES = UNIT_BYTES / 2;

Count beats_of(ap_uint<32> bytes) {
#pragma HLS inline
    return ap_uint<33>(bytes + (DATA_BYTES - 1)) / DATA_BYTES;
}

// Counters of plain integers: bursts are found in those.
void read_beats(const DataBeat* gmem1, std::uint64_t address, const Instruction& f, stream<DataBeat>& beats) {
    const std::uint64_t count = beats_of(f.bytes()).to_uint64(), first = address / DATA_BYTES;
    HWGEN_TRIPS("data", "read", count);
beats:
    for (std::uint64_t i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=1 max=10000
        beats.write(gmem1[first + i]);
    }
}

// Bytes of an image that one iteration moves: as many as the C-word has, at most, from one beat and one segment.
struct Position {
    ap_uint<16> column, patch, line;  // byte in its segment; segment in its line of pixels; line in its row of patches
    Row row_of_patches;               // first row of Y of that
};

// As long as there are bytes: those of a segment that lie in one beat and one C-word at a time.
void place(const Instruction& f, stream<DataBeat>& beats, RowBuffer& y) {
    const ap_uint<32> bytes = f.bytes();
    const ap_uint<16> segment = f.k_steps(), patches = f.tiles(), height = f.a_stride();
    // A piece ends with its beat, its segment or its C-word; a segment cuts a C-word at either end.
    const ap_uint<32> segments = ap_uint<32>(ap_uint<33>(bytes + segment - 1) / segment);
    const Count most = beats_of(bytes) + bytes / C + ap_uint<33>(segments * 2);
    Position p{0, 0, 0, f.row_begin()};
    ap_uint<32> offset = 0;  // in a patch: of the segment's first byte
    ap_uint<32> left = bytes;
    ap_uint<8> at = 0;  // byte in its beat
    DataBeat beat;
    Count pieces = 0;
image:
    for (Count i = 0; i < most; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=64 max=100000
        if (left == 0) break;
        pieces++;
        if (at == 0) beat = beats.read();
        const ap_uint<33> channel = offset + p.column;
        const ap_uint<8> lane = channel % C;
        const ap_uint<16> in_segment = segment - p.column;
        const ap_uint<8> in_beat = DATA_BYTES - at, in_word = C - lane;
        const ap_uint<8> fits = in_beat < in_word ? in_beat : in_word;
        const ap_uint<8> in_both = fits < in_segment ? fits : ap_uint<8>(in_segment);
        const ap_uint<8> moved = in_both < left ? in_both : ap_uint<8>(left);
        const Row row = p.row_of_patches + p.patch;
        const Address word = channel / C;
        const Address address =
            within<Y_DEPTH>(Address(f.d_base() + row / T * f.d_stride() + word / PARTS));
    lanes:
        for (int c = 0; c < C; c++) {
#pragma HLS unroll
            const int from = c - lane.to_int() + at.to_int();
            if (c >= lane && c < lane + moved)
                y[(row % T).to_uint()][(word % PARTS).to_uint()][address].lane[c] = beat.byte[from];
        }
        left -= moved;
        at = at + moved == DATA_BYTES ? ap_uint<8>(0) : ap_uint<8>(at + moved);
        p.column += moved;
        if (p.column == segment) {
            p.column = 0;
            p.patch++;
            if (p.patch == patches) {
                p.patch = 0;
                p.line++;
                offset += segment;
                if (p.line == height) {
                    p.line = 0;
                    offset = 0;
                    p.row_of_patches += patches;
                }
            }
        }
    }
    HWGEN_TRIPS("data", "image", pieces.to_uint64());
}

StreamWord with_unit(StreamWord word, int unit, const DataBeat& beat, int place) {
#pragma HLS inline
lanes:
    for (int lane = 0; lane < UNIT_LANES; lane++) {
#pragma HLS unroll
        const int at = place * UNIT_BYTES + 2 * lane;
        word.lane[unit * UNIT_LANES + lane] = Stream(ap_uint<16>(beat.byte[at] | beat.byte[at + 1] << 8));
    }
    return word;
}

void unload(const Instruction& f, stream<DataBeat>& beats, XBuffer& x, NormTable& table) {
    const Count count = data_cost(f).iterations;
    ap_uint<8> place = 0, unit = 0;  // of a unit in its beat, in its word
    Address address = f.d_base();
    DataBeat beat;
    StreamWord word;
    HWGEN_TRIPS("data", "load", count);
load:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=1 max=10000
        if (place == 0) beat = beats.read();
        word = with_unit(word, unit.to_int(), beat, place.to_int());
        place = place + 1 == BEAT_UNITS ? ap_uint<8>(0) : ap_uint<8>(place + 1);
        unit++;
        if (unit == WORD_UNITS) {
            unit = 0;
            if (f.dest() == TO_X) x[within<X_DEPTH>(address)] = word;
            else table[within<TABLE_DEPTH>(address) / 4][address % 4] = word;
            address++;
        }
    }
}

void unload_activation(stream<DataBeat>& beats, ActivationTable& activation) {
    DataBeat beat;
    HWGEN_TRIPS("data", "activation", ACTIVATION_ENTRIES);
entries:
    for (int i = 0; i < ACTIVATION_ENTRIES; i++) {
#pragma HLS pipeline II=1
        if (i % DATA_BYTES == 0) beat = beats.read();
    lanes:
        for (int c = 0; c < C; c++) {
#pragma HLS unroll
            activation[c][i] = beat.byte[i % DATA_BYTES];
        }
    }
}

void load_words(const DataBeat* gmem1, std::uint64_t address, const Instruction& f, XBuffer& x, NormTable& table) {
#pragma HLS dataflow
    stream<DataBeat> beats("load beats");
#pragma HLS stream variable=beats type=fifo depth=64
    read_beats(gmem1, address, f, beats);
    unload(f, beats, x, table);
}

void load_activation(const DataBeat* gmem1, std::uint64_t address, const Instruction& f, ActivationTable& activation) {
#pragma HLS dataflow
    stream<DataBeat> beats("activation beats");
#pragma HLS stream variable=beats type=fifo depth=64
    read_beats(gmem1, address, f, beats);
    unload_activation(beats, activation);
}

// A word as int16: of X, or of Y's nine bits.
StreamWord stored(const Instruction& f, const XBuffer& x, const RowBuffer& y, Row row, ap_uint<16> tile) {
#pragma HLS inline
    if (f.source() == FROM_X)
        return x[within<X_DEPTH>(Address(f.a_base() + (row - f.row_begin()) * f.a_stride() + tile))];
    const Address address = within<Y_DEPTH>(
        Address(f.a_base() + (row / T - f.row_begin() / T) * f.a_stride() + tile / PARTS));
    const OperandWord word = y[(row % T).to_uint()][(tile % PARTS).to_uint()][address];
    StreamWord out;
lanes:
    for (int c = 0; c < C; c++) {
#pragma HLS unroll
        out.lane[c] = word.lane[c];
    }
    return out;
}

void collect(const Instruction& f, const XBuffer& x, const RowBuffer& y, stream<DataBeat>& beats) {
    const Count count = data_cost(f).iterations;
    ap_uint<8> place = 0, unit = 0;
    Row row = f.row_begin();
    ap_uint<16> tile = 0;
    DataBeat beat;
    StreamWord word;
    HWGEN_TRIPS("data", "store", count);
store:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=1 max=10000
        if (unit == 0) word = stored(f, x, y, row, tile);
    lanes:
        for (int lane = 0; lane < UNIT_LANES; lane++) {
#pragma HLS unroll
            const ap_uint<16> value = word.lane[unit.to_int() * UNIT_LANES + lane];
            const int at = place.to_int() * UNIT_BYTES + 2 * lane;
            beat.byte[at] = std::uint8_t((value & 255).to_uint());
            beat.byte[at + 1] = std::uint8_t((value >> 8).to_uint());
        }
        place++;
        if (place == BEAT_UNITS || i + 1 == count) {
            beats.write(beat);
            place = 0;
        }
        unit++;
        if (unit == WORD_UNITS) {
            unit = 0;
            tile++;
            if (tile == f.tiles()) {
                tile = 0;
                row++;
            }
        }
    }
}

void write_beats(DataBeat* gmem1, std::uint64_t address, const Instruction& f, stream<DataBeat>& beats) {
    const std::uint64_t count = ap_uint<32>(f.bytes() / DATA_BYTES).to_uint64(), first = address / DATA_BYTES;
    const int rest = (f.bytes() % DATA_BYTES).to_int();
    HWGEN_TRIPS("data", "write", count);
beats:
    for (std::uint64_t i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=0 max=10000
        gmem1[first + i] = beats.read();
    }
    // There are no strobes here: what lies behind the last bytes is read and written back.
    if (rest != 0) {
        const DataBeat last = beats.read();
        DataBeat merged = gmem1[first + count];
    bytes:
        for (int i = 0; i < DATA_BYTES; i++) {
#pragma HLS unroll
            if (i < rest) merged.byte[i] = last.byte[i];
        }
        gmem1[first + count] = merged;
    }
}

}  // namespace

DataCost data_cost(const Instruction& f) {
#pragma HLS inline
    const Count beats = beats_of(f.bytes());
    const Count bytes = ap_uint<33>(beats) * ap_uint<7>(DATA_BYTES);
    if (f.op() == STORE) return {f.bytes() / UNIT_BYTES, 0, bytes};
    if (f.op() == IMAGE) {  // of patches whose rows end with a C-word; else up to two more for each row of a patch
        const Count words = f.bytes() / C;
        return {beats > words ? beats : words, bytes, 0};
    }
    if (f.dest() == TO_ACTIVATION) return {ACTIVATION_ENTRIES, bytes, 0};
    return {f.bytes() / UNIT_BYTES, bytes, 0};
}

void image(const DataBeat* gmem1, std::uint64_t address, const Instruction& f, RowBuffer& y) {
#pragma HLS dataflow
    stream<DataBeat> beats("image beats");
#pragma HLS stream variable=beats type=fifo depth=64
    read_beats(gmem1, address, f, beats);
    place(f, beats, y);
}

void load(const DataBeat* gmem1, std::uint64_t address, const Instruction& f, XBuffer& x, NormTable& table,
          ActivationTable& activation) {
    if (f.dest() == TO_ACTIVATION) load_activation(gmem1, address, f, activation);
    else load_words(gmem1, address, f, x, table);
}

void store(DataBeat* gmem1, std::uint64_t address, const Instruction& f, const XBuffer& x, const RowBuffer& y) {
#pragma HLS dataflow
    stream<DataBeat> beats("store beats");
#pragma HLS stream variable=beats type=fifo depth=64
    collect(f, x, y, beats);
    write_beats(gmem1, address, f, beats);
}

}  // namespace hwgen
