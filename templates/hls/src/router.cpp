#include "router.h"

#include "tables.h"

namespace hwgen {
namespace {

// Of a token: all logits, the largest one, and who wins.
struct Choice {
    Logit logit[MAX_EXPERTS];
    Logit most;
    bool winner[MAX_EXPERTS];
};

using GateProbability = ap_uint<16>;

// The winners' probabilities and 2^40 over the denominator.
struct Weighing {
    GateProbability probability[MAX_EXPERTS];
    bool winner[MAX_EXPERTS];
    ap_uint<26> reciprocal;
};

// The k largest so far, in order; an equal one that comes later is behind.
struct Ranking {
    Logit logit[MAX_TOPK];
    ap_uint<8> expert[MAX_TOPK];
    bool taken[MAX_TOPK];
};

void insert(Ranking& ranking, Logit logit, ap_uint<8> expert) {
#pragma HLS inline
    bool before[MAX_TOPK];  // stays in front of the new one
places:
    for (int k = 0; k < MAX_TOPK; k++) {
#pragma HLS unroll
        before[k] = ranking.taken[k] && ranking.logit[k] >= logit;
    }
moves:
    for (int place = 0; place < MAX_TOPK; place++) {
#pragma HLS unroll
        const int k = MAX_TOPK - 1 - place;  // from the end: each takes from the one in front of it
        const bool mine = !before[k] && (k == 0 || before[k > 0 ? k - 1 : 0]);
        if (mine) {
            ranking.logit[k] = logit;
            ranking.expert[k] = expert;
            ranking.taken[k] = true;
        } else if (!before[k]) {
            ranking.logit[k] = ranking.logit[k > 0 ? k - 1 : 0];
            ranking.expert[k] = ranking.expert[k > 0 ? k - 1 : 0];
            ranking.taken[k] = ranking.taken[k > 0 ? k - 1 : 0];
        }
    }
}

void choose(const Instruction& f, const LogitBuffer& logits, stream<Choice>& choices) {
    const Count count = router_iterations(f);
    Choice choice;
#pragma HLS array_partition variable=choice.logit dim=1 type=complete
#pragma HLS array_partition variable=choice.winner dim=1 type=complete
    Ranking ranking;
    Row row = f.row_begin();
    ap_uint<9> expert = 0;
    HWGEN_TRIPS("router", "choose", count);
choose:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=16 max=10000
        const int address = within<LOGIT_DEPTH>((row * GATE_STRIDE + expert / C).to_int());
        const Logit logit = logits[address].lane[(expert % C).to_uint()];
        if (expert == 0) {
        none:
            for (int k = 0; k < MAX_TOPK; k++) {
#pragma HLS unroll
                ranking.taken[k] = false;
            }
        }
        insert(ranking, logit, ap_uint<8>(expert));
        choice.logit[expert] = logit;
        expert++;
        if (expert == f.tiles()) {
            choice.most = ranking.logit[0];
        experts:
            for (int e = 0; e < MAX_EXPERTS; e++) {
#pragma HLS unroll
                bool wins = false;
            winners:
                for (int k = 0; k < MAX_TOPK; k++) {
#pragma HLS unroll
                    wins = wins || (k < f.k_steps() && ranking.taken[k] && ranking.expert[k] == e);
                }
                choice.winner[e] = wins;
            }
            choices.write(choice);
            expert = 0;
            row++;
        }
    }
}

GateProbability gate_probability(Logit most, Logit logit) {
#pragma HLS inline
    const ap_uint<17> u = rshift(ap_int<25>(most - logit), 8);
    const ap_uint<9> shift = u >> 8;
    return shift > 17 ? GateProbability(0) : GateProbability(rshift(ap_int<18>(GATE_EXP[(u & 255).to_uint()]), shift));
}

void weigh(const Instruction& f, stream<Choice>& choices, stream<Weighing>& weighings) {
    const Count count = router_iterations(f);
    Choice choice;
#pragma HLS array_partition variable=choice.logit dim=1 type=complete
#pragma HLS array_partition variable=choice.winner dim=1 type=complete
    Weighing weighing;
#pragma HLS array_partition variable=weighing.probability dim=1 type=complete
    ap_uint<9> expert = 0;
    ap_uint<24> sum = 0;
    HWGEN_TRIPS("router", "weigh", count);
weigh:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=16 max=10000
        if (expert == 0) {
            choice = choices.read();
            sum = 0;
        }
        const GateProbability p = gate_probability(choice.most, choice.logit[expert]);
        if (choice.winner[expert] || !f.renormalize()) sum += p;
        weighing.probability[expert] = p;
        expert++;
        if (expert == f.tiles()) {
        winners:
            for (int e = 0; e < MAX_EXPERTS; e++) {
#pragma HLS unroll
                weighing.winner[e] = choice.winner[e];
            }
            weighing.reciprocal = (ap_uint<41>(1) << 40) / sum;
            weighings.write(weighing);
            expert = 0;
        }
    }
}

void enqueue(const Instruction& f, stream<Weighing>& weighings, Queue& queue, Counts& counts) {
    const Count count = router_iterations(f);
    Weighing weighing;
#pragma HLS array_partition variable=weighing.probability dim=1 type=complete
#pragma HLS array_partition variable=weighing.winner dim=1 type=complete
    Row row = f.row_begin();
    ap_uint<9> expert = 0;
    if (!f.append()) {
    clear:
        for (int e = 0; e < MAX_EXPERTS; e++) {
#pragma HLS unroll
            counts[e] = 0;
        }
    }
    HWGEN_TRIPS("router", "enqueue", count);
enqueue:
    for (Count i = 0; i < count; i++) {
#pragma HLS pipeline II=1
#pragma HLS loop_tripcount min=16 max=10000
        if (expert == 0) weighing = weighings.read();
        if (weighing.winner[expert] && counts[expert] < MAX_TOKENS) {
            QueueEntry entry;
            entry.token = row;
            entry.weight = rshift(ap_int<43>(weighing.probability[expert] * weighing.reciprocal), 24);
            queue[(expert * QUEUE_STRIDE + counts[expert]).to_uint()] = entry;
            counts[expert] = counts[expert] + 1;
        }
        expert++;
        if (expert == f.tiles()) {
            expert = 0;
            row++;
        }
    }
}

}  // namespace

Count router_iterations(const Instruction& f) {
#pragma HLS inline
    return ap_uint<16>(f.row_end() - f.row_begin()) * f.tiles();
}

void router(const Instruction& f, const LogitBuffer& logits, Queue& queue, Counts& counts) {
#pragma HLS dataflow
    stream<Choice> choices("choices");
    stream<Weighing> weighings("weighings");
#pragma HLS stream variable=choices type=fifo depth=2
#pragma HLS stream variable=weighings type=fifo depth=2
    choose(f, logits, choices);
    weigh(f, choices, weighings);
    enqueue(f, weighings, queue, counts);
}

}  // namespace hwgen
