// BurstSplitter: the bursts of a command are its beats, in order, none across 4 KiB; the last one is marked.
module bursts #(parameter BYTES = 8, MAX = 16, TAG = 2) (
    input clk, rst, stop, cmd_valid, ready,
    input [63:0] cmd_address,
    input [31:0] cmd_bytes,
    input [TAG-1:0] cmd_tag
);
    localparam SHIFT = $clog2(BYTES), LOW = $clog2(MAX);
    wire cmd_ready, busy, valid, is_final;
    wire [63:0] address;
    wire [7:0] length;
    wire [TAG-1:0] tag;
    dut dut(.*, .final_(is_final));
    (* hierconn *) wire [63-SHIFT:0] \dut.beat_address ;
    (* hierconn *) wire [31-SHIFT-LOW:0] \dut.whole ;
    (* hierconn *) wire [LOW-1:0] \dut.rest ;
    (* hierconn *) wire \dut._signal ; // carry

    reg [63:0] next; // where the command goes on
    reg [33:0] left; // beats of it that no burst had yet
    reg [TAG-1:0] mine;
    reg stalled;
    wire [33:0] beats = length + 34'd1;
    reg [72:0] held;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        if (cmd_valid) begin
            assume(cmd_bytes != 0);
            assume(cmd_address % BYTES == 0);
        end
        if (valid && ready) begin
            next <= next + (beats << SHIFT);
            left <= left - beats;
        end
        if (cmd_valid && cmd_ready)
            {next, left, mine} <= {cmd_address, (34'd0 + cmd_bytes + BYTES - 1) >> SHIFT, cmd_tag};
        {stalled, held} <= {valid && !ready, is_final, address, length};
        if (stop || rst) left <= 0;
        if (rst) stalled <= 0;
        if (!rst) begin
            assert(busy == (left != 0));
            assert(valid == (busy && !stop));
            assert(cmd_ready == (!busy && !stop));
            if (stalled && !stop) assert(valid && held == {is_final, address, length});
            if (valid) begin
                assert(address == next);
                assert(beats <= left && beats <= MAX);
                assert(is_final == (beats == left));
                assert(tag == mine);
                assert(address % 4096 + (beats << SHIFT) <= 4096);
            end
`ifdef INVARIANTS
            if (busy) begin
                assert(next == {\dut.beat_address , {SHIFT{1'b0}}});
                assert(left + \dut.beat_address % MAX == (34'd0 + \dut.whole + \dut._signal ) * MAX + \dut.rest );
                assert(tag == mine);
            end
`endif
            cover(valid && ready && is_final && beats == MAX && address % 4096 == 4096 - MAX * BYTES);
            cover(valid && ready && !is_final && beats == 1 && left == 2);
            cover(valid && ready && is_final && beats == 1 && stalled);
            cover(busy && left > 3 * MAX && stop);
        end
    end
endmodule
