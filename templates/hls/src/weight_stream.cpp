#include "weight_stream.h"

namespace hwgen {
namespace {

constexpr int BEAT_PIECES = WEIGHT_BYTES / PIECE_BYTES, WORD_PARTS = C * K / PIECE_BYTES;

struct Piece {
    std::uint8_t byte[PIECE_BYTES];
};

Piece piece_of(const PortsBeat& beat, int number) {
#pragma HLS inline
    Piece piece;
bytes:
    for (int i = 0; i < PIECE_BYTES; i++) {
#pragma HLS unroll
        const int at = number * PIECE_BYTES + i;
        piece.byte[i] = beat.port[at / PORT_BYTES].byte[at % PORT_BYTES];
    }
    return piece;
}

// The low nibbles of a piece as signed bytes, or the high ones.
Piece nibbles(const Piece& piece, bool high) {
#pragma HLS inline
    Piece out;
bytes:
    for (int i = 0; i < PIECE_BYTES; i++) {
#pragma HLS unroll
        const ap_int<4> nibble = high ? piece.byte[i] >> 4 : piece.byte[i] & 15;
        out.byte[i] = std::uint8_t(ap_uint<8>(ap_int<8>(nibble)).to_uint());
    }
    return out;
}

void place(RingWord& word, int part, const Piece& piece) {
#pragma HLS inline
bytes:
    for (int i = 0; i < PIECE_BYTES; i++) {
#pragma HLS unroll
        word.byte[part * PIECE_BYTES + i] = piece.byte[i];
    }
}

// Iterations for a tile's weight words. Two parts of a word come out of a packed piece at once, two words one by one.
ap_uint<24> tile_parts(bool narrow, ap_uint<16> k_steps) {
#pragma HLS inline
    return narrow && WORD_PARTS > 1 ? ap_uint<24>(k_steps * (WORD_PARTS / 2)) : ap_uint<24>(k_steps * WORD_PARTS);
}

}  // namespace

Count weight_beats(const WeightCommand& command) {
#pragma HLS inline
    return ap_uint<33>(command.bytes + (WEIGHT_BYTES - 1)) / WEIGHT_BYTES;
}

Count weight_parts(const WeightCommand& command) {
#pragma HLS inline
    const ap_uint<25> tile = tile_parts(command.narrow, command.k_steps) + PARAM_WORDS * WORD_PARTS;
    return command.bytes == 0 ? Count(0) : Count(command.tiles * tile);
}

void read_weights(HWGEN_WEIGHT_PARAMETERS, const WeightCommand& command, stream<PortsBeat>& beats) {
    const std::uint64_t count = weight_beats(command).to_uint64();  // a plain integer, as bursts are found with those
    std::uint64_t first[WEIGHT_PORTS];
#pragma HLS array_partition variable=first dim=1 type=complete
ports:
    for (int port = 0; port < WEIGHT_PORTS; port++) {
#pragma HLS unroll
        first[port] = command.address[port] / PORT_BYTES;
    }
    HWGEN_TRIPS("read_weights", "beats", count);
beats:
    for (std::uint64_t i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=0 max=100000
        PortsBeat beat;
        beat.port[0] = gmem0[first[0] + i];
#if HWGEN_WEIGHT_PORTS > 1
        beat.port[1] = gmem2[first[1] + i];
#endif
#if HWGEN_WEIGHT_PORTS > 2
        beat.port[2] = gmem3[first[2] + i];
        beat.port[3] = gmem4[first[3] + i];
#endif
        beats.write(beat);
    }
}

void widen(const WeightCommand& command, stream<PortsBeat>& beats, stream<RingWord>& words) {
    const Count count = weight_parts(command);
    const ap_uint<24> parameters = PARAM_WORDS * WORD_PARTS, weights = tile_parts(command.narrow, command.k_steps);
    PortsBeat beat;
    RingWord word;
    ap_uint<7> piece = 0, part = 0;  // of the beat, of the word
    ap_uint<24> left = parameters;   // parts of a kind: a tile's parameters, then its weights
    bool in_weights = false, second = false;
    HWGEN_TRIPS("widen", "parts", count);
parts:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=0 max=100000
        const bool packed = command.narrow && in_weights;
        const bool ends = left == 1;
        if (piece == 0 && !second) beat = beats.read();
        const Piece taken = piece_of(beat, piece.to_int());
        if (packed) {
            place(word, part.to_int(), nibbles(taken, WORD_PARTS == 1 && second));
            if (WORD_PARTS > 1) place(word, part.to_int() + 1 < WORD_PARTS ? part.to_int() + 1 : 0, nibbles(taken, true));
        } else {
            place(word, part.to_int(), taken);
        }
        const bool stays = packed && WORD_PARTS == 1 && !second && !ends;  // its high nibbles are the next word
        if (!stays) piece = piece + 1 == BEAT_PIECES ? ap_uint<7>(0) : ap_uint<7>(piece + 1);
        second = stays;
        part += packed && WORD_PARTS > 1 ? 2 : 1;
        if (part >= WORD_PARTS) {
            words.write(word);
            part = 0;
        }
        left = ends ? (in_weights ? parameters : weights) : ap_uint<24>(left - 1);
        in_weights = in_weights != ends;
    }
}

}  // namespace hwgen
