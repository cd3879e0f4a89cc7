// AxiReader. For any memory, one that sends beats nobody asked for and misplaces RLAST too: addresses keep the protocol,
// what nobody asked for is swallowed, and no state is reached from which it does not go on. With RLAST in its place:
// the beats of a command come out once each, in order, with its tag, the last one marked.
module reader #(parameter BYTES = 8, MAX = 4, OUTSTANDING = 2, CALM = 256, HONEST = 1) (
    input clk, rst, abort, clear,
    input command__valid, ar__ready, r__valid, r__last, beats__ready,
    input [97:0] command__payload,
    input [8*BYTES-1:0] r__data,
    input [1:0] r__resp,
    input mark_command, mark_beat
);
    localparam SHIFT = $clog2(BYTES), LOW = $clog2(MAX);
    wire command__ready, ar__valid, r__ready, beats__valid, idle, error, error_slave;
    wire [63:0] ar__addr;
    wire [7:0] ar__len;
    wire [2:0] ar__size;
    wire [1:0] ar__burst;
    wire [8*BYTES+2:0] beats__payload;
    wire [47:0] bytes;
    dut dut(.*);
    (* hierconn *) wire [63-SHIFT:0] \dut.bursts.beat_address ;
    (* hierconn *) wire [31-SHIFT-LOW:0] \dut.bursts.whole ;
    (* hierconn *) wire [LOW-1:0] \dut.bursts.rest ;
    (* hierconn *) wire \dut.bursts._signal , \dut.bursts.busy ; // the former is the carry
    (* hierconn *) wire [1:0] \dut.bursts.tag ;
    (* hierconn *) wire [1:0] \dut.pending.count , \dut.owed ;
    (* hierconn *) wire \dut.pending.some , \dut.pending.full , \dut.owed_some ;
    (* hierconn *) wire [LOW+2:0] \dut.pending.cell0 , \dut.pending.cell1 ;
    (* hierconn *) wire [LOW-1:0] \dut._signal ; // the beat of a burst that is next
    (* hierconn *) wire \dut.slice.spare_valid ;
    (* hierconn *) wire [8*BYTES+2:0] \dut.slice.spare ;
    (* hierconn *) wire \dut.calm , \dut.nearly , \dut.misplaced ;
    (* hierconn *) wire [7:0] \dut.unrest ;
    (* hierconn *) wire [44:0] \dut.beats ;

    wire [31:0] size = command__payload[95:64];
    wire accept = command__valid && command__ready;
    wire [33:0] wanted = (34'd0 + size + BYTES - 1) >> SHIFT;

    // The side of the addresses.
    reg [63:0] next; // where the command goes on
    reg [33:0] left; // its beats that no address asked for yet
    reg offered, aborting; // the address was there a cycle ago; was told to abort then
    reg [76:0] address;
    reg [1:0] owed; // bursts whose address was taken and whose last beat did not come
    reg [LOW-1:0] length, length_behind, index; // of the older, of the younger of these; the older one's next beat
    reg [9:0] quiet; // cycles without a beat that nobody asked for
    wire fresh = ar__valid && !offered;
    wire [33:0] burst = ar__len + 34'd1;
    wire asked = ar__valid && ar__ready, came = r__valid && r__ready && owed != 0;
    // Its beats that the splitter has.
    wire [33:0] split = \dut.bursts.busy ? (34'd0 + \dut.bursts.whole + \dut.bursts._signal ) * MAX + \dut.bursts.rest
        - \dut.bursts.beat_address % MAX : 34'd0;

    // The side of the data: beats of all commands that are not out yet; of one of them, and of those in front of it.
    reg [33:0] under, before, rest;
    reg marked, dropped;
    reg [1:0] tag;
    wire out = beats__valid && beats__ready;
    wire [1:0] sliced = beats__valid + \dut.slice.spare_valid ;
    wire [LOW+2:0] older = \dut.pending.count == 2 ? \dut.pending.cell1 : \dut.pending.cell0 ;
    wire [33:0] first = sliced + 34'd1 + older[LOW-1:0] - \dut._signal , second = first + 34'd1 + \dut.pending.cell0 [LOW-1:0];
    wire [33:0] waiting = \dut.pending.count == 0 ? sliced : \dut.pending.count == 1 ? first : second;
    wire in_mine_first = before < first && first <= before + rest, in_mine_second = before < second && second <= before + rest;
    // One beat, by its content.
    reg followed, behind;
    reg [8*BYTES-1:0] datum;
    // What is told of a beat: that its response was not OKAY; that RLAST was not where the burst ends; the bytes.
    reg bad, slave, misplaced, reported, counted;
    reg [47:0] total;

    always @(posedge clk) begin
        if ($initstate) assume(rst);
        if (command__valid) begin
            assume(size != 0);
            assume(command__payload[63:0] % BYTES == 0);
        end
        if (!rst && aborting && !dropped) assume(abort);
        if (HONEST && r__valid && owed != 0) assume(r__last == (index == length));

        if (fresh) begin
            next <= next + (burst << SHIFT);
            left <= left - burst;
        end
        if (accept) {next, left} <= {command__payload[63:0], wanted};
        {offered, address} <= {ar__valid && !ar__ready, ar__addr, ar__len, ar__size, ar__burst};
        {aborting, dropped} <= {abort, idle};
        owed <= owed + asked - (came && r__last);
        if (came) index <= r__last ? 0 : index + 1'b1;
        if (came && r__last) length <= length_behind;
        if (asked && owed == (came && r__last)) length <= ar__len[LOW-1:0];
        else if (asked) length_behind <= ar__len[LOW-1:0];
        if (r__valid && owed == 0) quiet <= 0;
        else if (quiet != 10'd1023) quiet <= quiet + 10'd1;

        {bad, slave} <= {came && r__resp != 0, r__resp == 2};
        misplaced <= came && r__last != (index == length);
        reported <= misplaced;
        {counted, total} <= {!clear, bytes};

        under <= under + (accept ? wanted : 34'd0) - out;
        if (accept && mark_command && !marked)
            {marked, before, rest, tag} <= {1'b1, under - out, wanted, command__payload[97:96]};
        else if (marked && out) begin
            if (before != 0) before <= before - 34'd1;
            else rest <= rest - 34'd1;
            if (before == 0 && rest == 1) marked <= 0;
        end
        if (out && followed) {followed, behind} <= {behind, 1'b0};
        if (came && mark_beat && !followed) {followed, behind, datum} <= {1'b1, sliced - out != 0, r__data};
        if (abort) {left, under, marked, followed} <= 0;
        if (rst) {left, under, marked, followed, offered, aborting, owed, index} <= 0;
        if (rst) {bad, misplaced, reported, counted} <= 0;
        if (rst) quiet <= 10'd1023;

        if (!rst) begin
            // addresses
            if (offered) assert(ar__valid && address == {ar__addr, ar__len, ar__size, ar__burst});
            if (ar__valid) begin
                assert(ar__size == SHIFT && ar__burst == 1);
                assert(ar__addr % BYTES == 0 && ar__len < MAX);
                assert(ar__addr % 4096 + (burst << SHIFT) <= 4096);
            end
            if (fresh && !aborting) assert(ar__addr == next && burst <= left);
            if (aborting) assert(!fresh);
            if (aborting && dropped && abort) assert(idle);
            assert(owed + ar__valid <= OUTSTANDING);
            if (accept) assert(left == (fresh ? burst : 34'd0));
            if (idle && !aborting) assert(left == 0);
            if (idle) assert(!ar__valid && owed == 0 && !beats__valid);
            if (accept) assert(!abort);
            // beats that nobody asked for
            if (owed == 0 || abort) assert(r__ready);
            if (fresh) assert(quiet == 0 || quiet > CALM); // 0: it came while this address was decided
            // what is told
            assert(error == (bad || reported));
            if (error && !reported) assert(error_slave == slave);
            if (counted) assert(bytes >= total); // it stays at its largest value
            // a way on: nothing but the memory, the consumer or unrest holds it up
            if (!abort && left != 0 && !ar__valid) assert(owed == OUTSTANDING || !\dut.calm || \dut.bursts.busy );
            if (HONEST && owed != 0 && !r__ready) assert(beats__valid);
            if (HONEST && !aborting) begin
                assert((under != 0) == !(idle && !\dut.bursts.busy ));
                if (under == 0) assert(!beats__valid);
                if (marked && beats__valid && before == 0)
                    assert(beats__payload[8*BYTES +: 3] == {tag, rest == 1});
                if (followed && !behind) assert(beats__valid && beats__payload[8*BYTES-1:0] == datum);
            end
            if (HONEST) assert(!\dut.misplaced );

`ifdef INVARIANTS
            assert(\dut.misplaced == misplaced);
            assert(\dut._signal == index);
            if (owed != 0) assert(length == older[LOW-1:0]);
            if (owed == 2) assert(length_behind == \dut.pending.cell0 [LOW-1:0]);
            if (ar__valid) assert(ar__len == \dut.pending.cell0 [LOW-1:0]);
            if (\dut.beats == {45{1'b1}}) assert(\dut.nearly );
            assert(\dut.owed == owed && \dut.owed_some == (owed != 0));
            assert(\dut.pending.count == owed + ar__valid);
            assert(\dut.pending.some == (\dut.pending.count != 0) && \dut.pending.full == (\dut.pending.count == OUTSTANDING));
            if (beats__valid == 0) assert(\dut.slice.spare_valid == 0);
            if (!aborting) assert(left == split + (fresh ? burst : 34'd0));
            if (aborting) assert(split == 0 && !beats__valid && left == 0 && under == 0 && !marked && !followed);
            if (aborting && dropped) assert(owed == 0 && !ar__valid);
            if (\dut.bursts.busy ) assert(split != 0 && split < 1 << 30);
            if (split != 0) assert(next + (fresh ? burst << SHIFT : 34'd0) == {\dut.bursts.beat_address , {SHIFT{1'b0}}});
            if (quiet < CALM) assert(\dut.unrest == CALM - 1 - quiet || quiet == 0 && \dut.unrest == CALM - 1);
            if (quiet >= CALM) assert(\dut.unrest == 0);
            assert(\dut.calm == (quiet >= CALM));
            if (HONEST) begin
                if (\dut.pending.some ) assert(\dut._signal <= older[LOW-1:0]);
                if (owed == 0) assert(\dut._signal == 0);
                if (!aborting) assert(under == waiting + split);
                if (marked) begin
                    assert(rest != 0 && before <= under && rest <= under && before + rest <= under && under < 1 << 31);
                    // a boundary of commands lies between beats of different bursts
                    if (\dut.pending.count >= 1) begin
                        assert(!(sliced < before && before < first || sliced < before + rest && before + rest < first));
                        if (in_mine_first) assert(older[LOW +: 3] == {tag, first == before + rest});
                    end
                    if (\dut.pending.count == 2) begin
                        assert(!(first < before && before < second || first < before + rest && before + rest < second));
                        if (in_mine_second) assert(\dut.pending.cell0 [LOW +: 3] == {tag, second == before + rest});
                    end
                    if (sliced == 2 && before <= 1) assert(before + rest < 2 && before == 0 ||
                        \dut.slice.spare [8*BYTES +: 3] == {tag, before + rest == 2});
                    if (beats__valid && before == 0) assert(beats__payload[8*BYTES +: 3] == {tag, rest == 1});
                    if (split != 0) assert(before + rest == under ? \dut.bursts.tag == tag && before <= waiting
                        : before + rest <= waiting);
                end
                if (followed) assert(behind ? sliced == 2 && \dut.slice.spare [8*BYTES-1:0] == datum
                    : sliced != 0 && beats__payload[8*BYTES-1:0] == datum);
            end
`endif
            cover(marked && out && before == 0 && rest == 1 && under > 1);
            cover(marked && rest > MAX + 1 && owed == 2);
            cover(r__valid && owed == 0 && ar__valid);
            cover(aborting && owed == 2 && r__valid);
            cover(followed && behind);
            cover(fresh && ar__len == MAX - 1 && ar__addr % 4096 == 4096 - MAX * BYTES);
        end
    end
endmodule
