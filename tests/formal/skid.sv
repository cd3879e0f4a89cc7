// Skid: what is taken comes out once, in order; a stalled output stays as it is.
module skid #(parameter WIDTH = 8) (
    input clk, rst, clear, in_valid, out_ready, mark,
    input [WIDTH-1:0] in_data
);
    wire in_ready, out_valid;
    wire [WIDTH-1:0] out_data;
    dut dut(.*);
    (* hierconn *) wire \dut.spare_valid ;
    (* hierconn *) wire [WIDTH-1:0] \dut.spare ;

    wire take = in_valid && in_ready, give = out_valid && out_ready;
    reg [1:0] level, ahead; // words in it; of those, in front of the marked one
    reg marked, stalled;
    reg [WIDTH-1:0] datum, held;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        level <= level + take - give;
        if (marked && give) {marked, ahead} <= {ahead != 0, ahead - 2'd1};
        if (take && mark && !marked) {marked, ahead, datum} <= {1'b1, level - {1'b0, give}, in_data};
        {stalled, held} <= {out_valid && !out_ready, out_data};
        if (clear || rst) {level, marked, stalled} <= 0;
        if (!rst) begin
            assert(level <= 2);
            assert(out_valid == (level != 0));
            assert(in_ready == (level != 2));
            if (stalled) assert(out_valid && out_data == held);
            if (marked && ahead == 0) assert(out_data == datum);
`ifdef INVARIANTS
            assert(\dut.spare_valid == (level == 2));
            if (marked) assert(ahead < level);
            if (marked && ahead == 1) assert(\dut.spare == datum);
`endif
            cover(stalled && level == 2 && give);
            cover(marked && ahead == 1);
            cover(marked && ahead == 0 && give && take && datum == 8'h5a);
        end
    end
endmodule
