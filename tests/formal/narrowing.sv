// Gearbox from IN to fewer OUT bits: of each word parts 0 to in_count, once each, in order, nothing else.
module narrowing #(parameter IN = 32, OUT = 8) (
    input clk, rst, clear, in_valid, in_last, out_ready,
    input [IN-1:0] in_data,
    input [(IN > OUT ? $clog2(IN / OUT) : 1)-1:0] in_count
);
    localparam BITS = IN > OUT ? $clog2(IN / OUT) : 1;
    wire in_ready, out_valid, out_last, out_count;
    wire [OUT-1:0] out_data;
    dut dut(.*);
    (* hierconn *) wire [BITS-1:0] \dut.left ;
    (* hierconn *) wire [IN-1:0] \dut.data ;
    (* hierconn *) wire \dut.last ;
    (* hierconn *) wire \dut.part ; // of widening

    wire take = in_valid && in_ready, give = out_valid && out_ready;
    reg [IN-1:0] word; // the one in it, that it ends a row, its parts but one, and the part that is next
    reg last, busy, stalled;
    reg [BITS-1:0] parts, part;
    reg [OUT:0] held;
    wire [IN-1:0] rest = word >> part * OUT;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        if (IN == OUT) assume(in_count == 0);
        if (give) {busy, part} <= {part != parts, part + 1'b1};
        if (take) {busy, word, last, parts, part} <= {1'b1, in_data, in_last, in_count, {BITS{1'b0}}};
        {stalled, held} <= {out_valid && !out_ready, out_last, out_data};
        if (clear || rst) {busy, stalled} <= 0;
        if (!rst) begin
            assert(out_valid == busy);
            assert(in_ready == (!busy || out_ready && part == parts)); // none is dropped, and no cycle is lost
            if (stalled) assert(out_valid && {out_last, out_data} == held);
            if (busy) begin
                assert(out_data == rest[OUT-1:0]);
                assert(out_last == (last && part == parts));
            end
`ifdef INVARIANTS
            assert(\dut.part == 0);
            if (busy) begin
                if (IN == OUT) assert(parts == 0);
                assert(part <= parts);
                assert(\dut.left == (parts - part));
                assert(\dut.last == last);
                assert((\dut.data ^ rest) << part * OUT == 0);
            end
`endif
            cover(give && out_last && part == IN / OUT - 1);
            cover(give && take && parts == 0 && out_last);
            cover(stalled && give && part == parts && !last);
        end
    end
endmodule
