// saturating_counter: it never falls, but by `clear`, and stops within two amounts, of AMOUNT bits, of its largest value.
module counter #(parameter BITS = 48, AMOUNT = 10) (
    input clk, rst, clear,
    input [AMOUNT-1:0] amount
);
    localparam HALF = BITS / 2, MARGIN = AMOUNT + 1;
    wire [BITS-1:0] count;
    dut dut(.*);
    (* hierconn *) wire [HALF-1:0] \dut.total_low , \dut.total_shown ;
    (* hierconn *) wire [BITS-HALF-1:0] \dut.total_high ;
    (* hierconn *) wire \dut.total_carry , \dut.total_full , \dut.total_cleared ;
    (* hierconn *) wire [AMOUNT-1:0] \dut.total_amount ;

    // The sum of all amounts, or enough to fill the counter; and what became of it one, two and three cycles later.
    reg [BITS:0] sum, late, later;
    reg [AMOUNT-1:0] taken;
    reg clearing, cleared, steady;
    reg [BITS-1:0] before;
    localparam [BITS:0] FULL = {1'b0, {BITS{1'b1}}};
    wire [BITS-1:0] most = FULL - (1 << MARGIN) + 1;
    wire [BITS:0] inside = {\dut.total_high , {HALF{1'b0}}} + ({1'b0, \dut.total_carry } << HALF) + \dut.total_low ;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        {taken, clearing, cleared} <= {amount, clear, clearing};
        if (clearing) sum <= 0;
        else if (sum <= FULL) sum <= sum + taken;
        {late, later} <= {clearing ? {BITS+1{1'b0}} : sum, clearing ? {BITS+1{1'b0}} : late};
        {steady, before} <= {!clearing, count};
        if (rst) {sum, late, later, clearing, cleared, steady, taken} <= 0;
        if (!rst) begin
            if (steady) assert(count >= before);
            if (late < most) assert(count == late);
            else assert(count >= most);
`ifdef INVARIANTS
            assert(\dut.total_cleared == clearing && \dut.total_amount == taken);
            assert({\dut.total_high , \dut.total_shown } == count);
            if (\dut.total_carry ) assert(\dut.total_low < 1 << AMOUNT);
            if (sum < most) assert(inside == sum && !\dut.total_full );
            else assert(inside >= most && inside <= FULL && (\dut.total_full || inside < most + (1 << AMOUNT)));
            assert(count <= inside && late <= sum);
`endif
            cover(count == 7 && late == 7 && sum == 9);
            cover(steady && before == most - 1 && count > before);
        end
    end
endmodule
