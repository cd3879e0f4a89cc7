// AxiWriter, whatever the slave does, responses that nobody waits for too: addresses and data keep the protocol, each
// burst has the beats it announced and WLAST on the last one, through `abort` too, where strobes are zero; beats come
// out once each, in order; a byte outside of the command is never addressed.
module writer #(parameter BYTES = 8, MAX = 4, OUTSTANDING = 2) (
    input clk, rst, abort, clear,
    input command__valid, aw__ready, w__ready, b__valid, beats__valid,
    input [95:0] command__payload,
    input [9*BYTES-1:0] beats__payload,
    input [1:0] b__resp,
    input mark_burst, mark_beat
);
    localparam SHIFT = $clog2(BYTES), LOW = $clog2(MAX);
    wire command__ready, aw__valid, w__valid, w__last, b__ready, beats__ready, idle, error, error_slave;
    wire [63:0] aw__addr;
    wire [7:0] aw__len;
    wire [2:0] aw__size;
    wire [1:0] aw__burst;
    wire [8*BYTES-1:0] w__data;
    wire [BYTES-1:0] w__strb;
    wire [47:0] bytes;
    dut dut(.*);
    (* hierconn *) wire [63-SHIFT:0] \dut.bursts.beat_address ;
    (* hierconn *) wire [31-SHIFT-LOW:0] \dut.bursts.whole ;
    (* hierconn *) wire [LOW-1:0] \dut.bursts.rest ;
    (* hierconn *) wire \dut.bursts._signal , \dut.bursts.busy ; // the former is the carry
    (* hierconn *) wire [1:0] \dut.announced.count , \dut.unanswered , \dut.addressed , \dut.complete ;
    (* hierconn *) wire \dut.announced.some , \dut.addressed_some , \dut.complete_some ;
    (* hierconn *) wire [7:0] \dut.announced.cell0 , \dut.announced.cell1 ;
    (* hierconn *) wire \dut.last , \dut.issued ;
`ifdef INVARIANTS
    (* hierconn *) wire \dut._signal_46 ;
    wire open_burst = \dut._signal_46 ; // its name there
`endif
    (* hierconn *) wire [7:0] \dut.left ;
    (* hierconn *) wire \dut.slice.spare_valid ;
    (* hierconn *) wire [9*BYTES:0] \dut.slice.spare ;
    (* hierconn *) wire \dut.nearly ;
    (* hierconn *) wire [44:0] \dut.beats ;

    wire [31:0] size = command__payload[95:64];
    wire accept = command__valid && command__ready;
    wire [33:0] wanted = (34'd0 + size + BYTES - 1) >> SHIFT;

    // Addresses: where the command goes on, its beats that no address was for, the command itself.
    reg [63:0] next, begin_;
    reg [33:0] left, all;
    reg offered, waited, aborting, dropped;
    reg [76:0] address;
    reg [9*BYTES:0] beat;
    wire fresh = aw__valid && !offered;
    wire [33:0] burst = aw__len + 34'd1;
    wire [33:0] split = \dut.bursts.busy ? (34'd0 + \dut.bursts.whole + \dut.bursts._signal ) * MAX + \dut.bursts.rest
        - \dut.bursts.beat_address % MAX : 34'd0;

    // Data: beats of announced bursts that were not sent; of one burst, and of those in front of it.
    reg [9:0] under, before, rest;
    reg marked;
    wire out = w__valid && w__ready, taken = beats__valid && beats__ready;
    wire [1:0] sliced = w__valid + \dut.slice.spare_valid ;
`ifdef INVARIANTS
    wire [9:0] spread = open_burst ? \dut.left + 10'd1 : 10'd0; // beats of the burst in work
    wire [7:0] older = \dut.announced.count == 2 ? \dut.announced.cell1 : \dut.announced.cell0 ;
    wire [9:0] opened = sliced + spread, first = opened + older + 10'd1, second = first + \dut.announced.cell0 + 10'd1;
    wire [9:0] queued = \dut.announced.count == 0 ? opened : \dut.announced.count == 1 ? first : second;
`endif
    wire [9:0] start = before, stop = before + rest;
    // Beats in the slice that were taken before `abort`.
    reg [1:0] old;
    // One beat, by its content.
    reg followed, behind;
    reg [9*BYTES-1:0] datum;
    // Responses: bursts whose address, whose last beat was taken, without one; those that were announced.
    reg [3:0] addressed, complete, open;
    wire answered = b__valid && addressed != 0 && complete != 0;
    reg bad, slave, counted;
    reg [2:0] dry; // cycles in which beats were owed in `abort` and none was there
    reg [47:0] total;

    always @(posedge clk) begin
        if ($initstate) assume(rst);
        if (command__valid) begin
            assume(size != 0);
            assume(command__payload[63:0] % BYTES == 0);
        end
        if (!rst && aborting && !dropped) assume(abort);

        if (fresh) begin
            next <= next + (burst << SHIFT);
            left <= left - burst;
        end
        if (accept) {next, left, begin_, all} <= {command__payload[63:0], wanted, command__payload[63:0], wanted};
        {offered, address} <= {aw__valid && !aw__ready, aw__addr, aw__len, aw__size, aw__burst};
        {waited, beat} <= {w__valid && !w__ready, w__last, w__strb, w__data};
        {aborting, dropped} <= {abort, idle};

        under <= under + (fresh ? burst : 10'd0) - out;
        if (fresh && mark_burst && !marked) {marked, before, rest} <= {1'b1, under - out, burst[9:0]};
        else if (marked && out) begin
            if (before != 0) before <= before - 10'd1;
            else rest <= rest - 10'd1;
            if (before == 0 && rest == 1) marked <= 0;
        end
        if (!abort) old <= sliced + taken - out;
        else old <= old - (out && old != 0);
        if (out && followed) {followed, behind} <= {behind, 1'b0};
        if (taken && mark_beat && !followed) {followed, behind, datum} <= {1'b1, sliced - out != 0, beats__payload};
        addressed <= addressed + (aw__valid && aw__ready) - answered;
        complete <= complete + (out && w__last) - answered;
        open <= open + fresh - answered;
        if (abort && !w__valid && (fresh || under != 0)) dry <= dry + 3'd1;
        else dry <= 0;
        {bad, slave} <= {answered && b__resp != 0, b__resp == 2};
        {counted, total} <= {!clear, bytes};
        if (abort) left <= 0;
        if (rst) {left, all, under, marked, followed, offered, waited, aborting, old, addressed, complete, open, bad, counted, dry} <= 0;

        if (!rst) begin
            // addresses
            if (offered) assert(aw__valid && address == {aw__addr, aw__len, aw__size, aw__burst});
            if (aw__valid) begin
                assert(aw__size == SHIFT && aw__burst == 1);
                assert(aw__addr % BYTES == 0 && aw__len < MAX);
                assert(aw__addr % 4096 + (burst << SHIFT) <= 4096);
            end
            if (fresh && !aborting) begin
                assert(aw__addr == next && burst <= left);
                assert(aw__addr - begin_ <= (all - burst) << SHIFT); // within the command
            end
            if (aborting) assert(!fresh);
            if (aborting && dropped && abort) assert(idle);
            if (accept) assert(left == (fresh ? burst : 34'd0) && !abort);
            if (idle && !aborting) assert(left == 0);
            // data
            if (waited) assert(w__valid && beat == {w__last, w__strb, w__data});
            if (w__valid) assert(under != 0 || fresh && burst != 0);
            if (marked && w__valid && before == 0) assert(w__last == (rest == 1));
            if (abort && aborting && w__valid && old == 0) assert(w__strb == 0);
            if (followed && !behind) assert(w__valid && datum == {w__strb, w__data});
            if (taken) assert(!abort && under + (fresh ? burst : 34'd0) > sliced);
            // responses
            assert(b__ready);
            assert(open + fresh <= OUTSTANDING);
            if (idle) assert(!aw__valid && !w__valid && under == 0 && open == 0);
            assert(error == bad);
            if (error) assert(error_slave == slave);
            if (counted) assert(bytes >= total); // it stays at its largest value
            // a way on: in `abort` a beat that is owed comes at once
            assert(dry < 3 || w__valid);

`ifdef INVARIANTS
            if (\dut.beats == {45{1'b1}}) assert(\dut.nearly );
            assert(under + (fresh ? burst : 10'd0) == queued + (\dut.issued ? aw__len + 10'd1 : 10'd0));
            assert(\dut.issued == fresh);
            assert(\dut.addressed == addressed && \dut.addressed_some == (addressed != 0));
            assert(\dut.complete == complete && \dut.complete_some == (complete != 0));
            assert(\dut.unanswered == open + fresh);
            assert(open + fresh == addressed + aw__valid);
            assert(\dut.announced.some == (\dut.announced.count != 0));
            assert(open == complete + \dut.announced.count + open_burst
                + (w__valid && w__last) + (\dut.slice.spare_valid && \dut.slice.spare [9*BYTES]));
            if (\dut.announced.count > 0) assert(older < MAX);
            if (\dut.announced.count > 1) assert(\dut.announced.cell0 < MAX);
            if (open_burst) assert(\dut.left < MAX && \dut.last == (\dut.left == 0));
            if (!w__valid) assert(!\dut.slice.spare_valid );
            if (!aborting) assert(left == split + (fresh ? burst : 34'd0));
            if (aborting) assert(split == 0 && left == 0);
            if (dry == 1 && !w__valid) assert(!fresh);
            if (dry == 2 && !w__valid) assert(open_burst);
            if (aborting && dropped) assert(open == 0 && !aw__valid);
            if (\dut.bursts.busy ) assert(split != 0 && split < 1 << 30);
            if (split != 0) assert(next + (fresh ? burst << SHIFT : 34'd0) == {\dut.bursts.beat_address , {SHIFT{1'b0}}});
            if (left != 0) assert(left <= all && next == begin_ + ((all - left) << SHIFT));
            assert(all <= 1 << 29);
            assert(old <= sliced);
            if (!aborting) assert(old == sliced);
            if (aborting && w__valid && old == 0) assert(w__strb == 0);
            if (aborting && \dut.slice.spare_valid && old < 2) assert(\dut.slice.spare [8*BYTES +: BYTES] == 0);
            if (!open_burst && w__valid) assert(\dut.slice.spare_valid ? \dut.slice.spare [9*BYTES] : w__last);
            if (marked) begin
                assert(rest != 0 && rest <= MAX && before <= under && stop <= under && under < 64);
                if (open_burst) assert(!(start < opened && opened < stop));
                if (\dut.announced.count > 0) assert(!(start < first && first < stop));
                if (w__valid && w__last) assert(!(start < 1 && 1 < stop));
                if (\dut.slice.spare_valid && \dut.slice.spare [9*BYTES]) assert(!(start < 2 && 2 < stop));
                // where it begins and ends, a burst begins and ends
                assert(stop == queued || open_burst && stop == opened || \dut.announced.count > 0 && stop == first
                    || w__valid && w__last && stop == 1
                    || \dut.slice.spare_valid && \dut.slice.spare [9*BYTES] && stop == 2);
            end
            if (followed) assert(behind ? sliced == 2 && \dut.slice.spare [9*BYTES-1:0] == datum
                : w__valid && {w__strb, w__data} == datum);
`endif
            cover(out && w__last && marked && before == 0 && rest == 1 && under > 1);
            cover(abort && out && old == 0 && aborting && w__last);
            cover(b__valid && complete != 0 && addressed == 0);
            cover(followed && behind);
            cover(fresh && aw__len == MAX - 1 && aw__addr % 4096 == 4096 - MAX * BYTES && left > MAX);
        end
    end
endmodule
