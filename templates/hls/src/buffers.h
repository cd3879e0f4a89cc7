// All memories on the chip. Their pragmas are in memories.cpp, where they live.
#pragma once

#include "types.h"

namespace hwgen {

struct Buffers {
    XBuffer x;
    RowBuffer y;
    HBuffer h;
    KeyBuffer keys;
    ValueBuffer values;
    ScoreBuffer scores;
    Ring ring;
    LogitBuffer logits;
    Queue queue;
    Counts counts;
    NormTable table;
    ActivationTable activation;
};

}  // namespace hwgen
