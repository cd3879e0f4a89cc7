// WeightFetch, for whatever beats come: the ring is not overrun, and a word that `level` counts is what was written to
// its place, although a read of a word that is being written gives anything. One word is followed, whichever.
module ring #(parameter WIDTH = 64, WORDS = 4) (
    input clk, rst, clear, mark,
    input ring__pop, ring__en, ring__param_en,
    input [$clog2(WORDS+1)-1:0] ring__pop_count,
    input [$clog2(WORDS)-1:0] ring__index, ring__param_index
);
    localparam BITS = $clog2(WORDS);
    wire [BITS:0] level;
    wire [WIDTH-1:0] ring__data, ring__param_data;
    wire ring__written;
    dut dut(.clk, .rst, .clear, .abort(1'b0), .ring__pop, .ring__en, .ring__param_en, .ring__pop_count, .ring__index,
        .ring__param_index, .level, .ring__data, .ring__param_data, .ring__written);
    (* hierconn *) wire \dut.complete ;
    (* hierconn *) wire [WIDTH-1:0] \dut.out_data ;
    (* hierconn *) wire [BITS-1:0] \dut.fill ;
    (* hierconn *) wire \dut.even.ram.chosen , \dut.odd.ram.chosen ;
`ifdef INVARIANTS
    (* hierconn *) wire [BITS-1:0] \dut.base , \dut.w_addr ;
    (* hierconn *) wire [BITS:0] \dut.room ;
    (* hierconn *) wire \dut.w_en , \dut.from_odd , \dut.from_odd_99 ;
    (* hierconn *) wire [WIDTH-1:0] \dut.w_data , \dut.even.ram.word , \dut.odd.ram.word ;
    (* hierconn *) wire [WIDTH-1:0] \dut.even.ram.r_data , \dut.odd.ram.r_data ;
`endif

    wire pushed = \dut.complete && !clear;
    wire [BITS:0] popped = ring__pop ? ring__pop_count : 0;
    reg [BITS:0] total, ahead; // words in it; of those, in front of the one that is followed
    reg followed, odd;
    reg [WIDTH-1:0] datum;
    // A read of it, one and two cycles ago; the same of the other port.
    reg [1:0] read, beside;
    reg [WIDTH-1:0] due, due_beside, later, later_beside;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        if (!rst) begin
            assume(popped <= level);
            if (ring__en) assume(ring__index < level);
            if (ring__param_en) assume(ring__param_index < level);
            if (ring__en && ring__param_en) assume(ring__index[0] != ring__param_index[0]);
        end
        total <= total + pushed - popped;
        if (followed) begin
            ahead <= ahead - popped;
            if (ahead < popped) followed <= 0;
        end else if (pushed && mark && (\dut.fill [0] ? \dut.odd.ram.chosen : \dut.even.ram.chosen ) == \dut.fill >> 1) begin
            {followed, odd, datum} <= {1'b1, \dut.fill [0], \dut.out_data };
            ahead <= total - popped;
        end
        read <= {read[0], followed && ring__en && ring__index == ahead};
        beside <= {beside[0], followed && ring__param_en && ring__param_index == ahead};
        {due, due_beside, later, later_beside} <= {datum, datum, due, due_beside};
        if (clear) {total, followed} <= 0;
        if (rst) {total, followed, read, beside} <= 0;
        if (!rst) begin
            assert(total <= WORDS && level <= total);
            assert(level + ring__written == total);
            if (total == WORDS) assert(!pushed);
            if (read[1]) assert(ring__data == later);
            if (beside[1]) assert(ring__param_data == later_beside);
`ifdef INVARIANTS
            assert(\dut.room + total == WORDS);
            assert(\dut.base + total[BITS-1:0] == \dut.fill );
            if (ring__written) assert(\dut.w_en );
            else if (\dut.w_en ) assert(total == 0); // of the cycle of `clear`
            if (ring__written) assert(\dut.w_addr == \dut.fill - 1'b1);
            if (followed) begin
                assert(ahead < total && \dut.base [0] + ahead[0] == odd);
                assert((odd ? \dut.odd.ram.chosen : \dut.even.ram.chosen ) == (\dut.base + ahead[BITS-1:0]) >> 1);
                if (ring__written && ahead == total - 1) assert(\dut.w_data == datum);
                else assert((odd ? \dut.odd.ram.word : \dut.even.ram.word ) == datum);
            end
            if (read[0]) assert((\dut.from_odd ? \dut.odd.ram.r_data : \dut.even.ram.r_data ) == due);
            if (beside[0]) assert((\dut.from_odd_99 ? \dut.odd.ram.r_data : \dut.even.ram.r_data ) == due_beside);
`endif
            cover(total == WORDS && read[1] && beside[0]);
            cover(beside[1] && ring__written && popped == 3);
            cover(read[1] && later == 64'h5a && ahead == 2);
        end
    end
endmodule
