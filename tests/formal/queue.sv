// ShiftQueue: what is pushed comes out once, in order; the count is right and never beyond the depth.
module queue #(parameter WIDTH = 8, DEPTH = 4) (
    input clk, rst, clear, push, pop, mark,
    input [WIDTH-1:0] data
);
    localparam BITS = $clog2(DEPTH + 1);
    wire [WIDTH-1:0] head;
    wire [BITS-1:0] count;
    wire some, full;
    dut dut(.*);
    // Up to four; those that are not there are never looked at.
    (* hierconn *) wire [WIDTH-1:0] \dut.cell0 ;
    (* hierconn = DEPTH > 1 *) wire [WIDTH-1:0] \dut.cell1 ;
    (* hierconn = DEPTH > 2 *) wire [WIDTH-1:0] \dut.cell2 ;
    (* hierconn = DEPTH > 3 *) wire [WIDTH-1:0] \dut.cell3 ;
    wire [4*WIDTH-1:0] cells = {\dut.cell3 , \dut.cell2 , \dut.cell1 , \dut.cell0 };

    reg [BITS:0] level, ahead, behind; // entries in it; of those, older and younger ones than the marked one
    reg marked, kept;
    reg [WIDTH-1:0] datum, held;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        if (!rst && !clear) begin
            assume(!(push && level == DEPTH && !pop));
            assume(!(pop && level == 0));
        end
        level <= level + push - pop;
        if (marked) begin
            behind <= behind + push;
            ahead <= ahead - pop;
            if (pop && ahead == 0) marked <= 0;
        end else if (push && mark) begin
            {marked, datum} <= {1'b1, data};
            ahead <= level - pop;
            behind <= 0;
        end
        {kept, held} <= {some && !pop, head};
        if (clear || rst) {level, marked, kept} <= 0;
        if (!rst) begin
            assert(level <= DEPTH);
            assert(count == level);
            assert(some == (level != 0));
            assert(full == (level == DEPTH));
            if (kept) assert(some && head == held);
            if (marked && ahead == 0) assert(head == datum);
`ifdef INVARIANTS
            if (marked) begin
                assert(ahead + behind + 1 == level);
                assert(cells[behind*WIDTH +: WIDTH] == datum);
            end
`endif
            cover(level == DEPTH && push && pop);
            cover(marked && ahead == DEPTH - 1);
            cover(marked && ahead == 0 && behind == DEPTH - 1);
            cover(marked && level == 1 && pop && push && datum == 8'h5a);
        end
    end
endmodule
