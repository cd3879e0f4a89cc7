// Gearbox from IN to more OUT bits: words of OUT / IN parts, or fewer where in_last ends one, in order, nothing else.
module widening #(parameter IN = 8, OUT = 32) (
    input clk, rst, clear, in_valid, in_last, in_count, out_ready,
    input [IN-1:0] in_data
);
    localparam BITS = $clog2(OUT / IN);
    wire in_ready, out_valid, out_last;
    wire [BITS-1:0] out_count;
    wire [OUT-1:0] out_data;
    dut dut(.*);
    (* hierconn *) wire [BITS-1:0] \dut.part ;
    (* hierconn *) wire \dut.last ;
    (* hierconn *) wire \dut.left ;
    (* hierconn *) wire [OUT-1:0] \dut.data ;

    wire take = in_valid && in_ready, give = out_valid && out_ready;
    reg [OUT-1:0] word; // the parts that came since the last whole word
    reg [BITS-1:0] part, parts; // as many; of a whole word, but one
    reg whole, last, stalled;
    reg [OUT+BITS:0] held;
    // What a word has no parts for holds anything.
    wire [OUT-1:0] mask = {OUT{1'b1}} >> (OUT / IN - 1 - parts) * IN;
    wire [OUT-1:0] came = (1 << part * IN) - 1;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        assume(in_count == 0);
        if (give) whole <= 0;
        if (take) begin
            word[part*IN +: IN] <= in_data;
            part <= part + 1'b1;
            if (in_last || part == OUT / IN - 1) {whole, last, parts, part} <= {1'b1, in_last, part, {BITS{1'b0}}};
        end
        {stalled, held} <= {out_valid && !out_ready, out_last, out_count, out_data};
        if (clear || rst) {whole, part, stalled} <= 0;
        if (!rst) begin
            assert(out_valid == whole);
            assert(in_ready == (!whole || out_ready));
            if (stalled) assert(out_valid && {out_last, out_count, out_data} == held);
            if (whole) begin
                assert(out_count == parts);
                assert(out_last == last);
                assert(((out_data ^ word) & mask) == 0);
            end
`ifdef INVARIANTS
            assert(\dut.part == part);
            assert(!(whole && part != 0));
            if (whole) assert(\dut.left == 0);
            if (!whole) assert(((\dut.data ^ word) & came) == 0);
`endif
            cover(give && parts == OUT / IN - 1 && !last);
            cover(give && take && last && parts == 1);
            cover(stalled && give && parts == 0);
        end
    end
endmodule
