// LiteSlave: each write and each read is answered once, in order, with nothing but what was asked; whatever the order of
// AW and W and however long the master waits.
module lite #(parameter LATENCY = 3, ADDRESS = 10) (
    input clk, rst,
    input AWVALID, WVALID, BREADY, ARVALID, RREADY,
    input [ADDRESS-1:0] AWADDR, ARADDR,
    input [31:0] WDATA, read_data,
    input [3:0] WSTRB
);
    wire AWREADY, WREADY, BVALID, ARREADY, RVALID, write, read;
    wire [1:0] BRESP, RRESP;
    wire [31:0] RDATA, write_data;
    wire [3:0] write_strobe;
    wire [ADDRESS-3:0] write_address, read_address;
    dut dut(.*);
    (* hierconn *) wire [LATENCY-1:0] \dut.held_for ;

    reg addressed, filled, owed, asked, answering, b_waits, r_waits; // what was taken and not used up; responses owed
    reg [ADDRESS-3:0] place, from;
    reg [35:0] word;
    reg [31:0] shown, taken;
    reg [3:0] age; // cycles since a read was taken
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        if (write) {addressed, filled} <= 0;
        if (AWVALID && AWREADY) {addressed, place} <= {1'b1, AWADDR[ADDRESS-1:2]};
        if (WVALID && WREADY) {filled, word} <= {1'b1, WSTRB, WDATA};
        owed <= write || owed && !BREADY;
        if (read) asked <= 0;
        if (ARVALID && ARREADY) {asked, from} <= {1'b1, ARADDR[ADDRESS-1:2]};
        age <= asked && !read && age != 15 ? age + 4'd1 : asked ? age : 4'd0;
        if (read) age <= 0;
        if (read) taken <= read_data;
        answering <= read || answering && !RREADY;
        b_waits <= BVALID && !BREADY;
        {r_waits, shown} <= {RVALID && !RREADY, RDATA};
        if (rst) {addressed, filled, owed, asked, answering, b_waits, r_waits, age} <= 0;
        if (!rst) begin
            assert(AWREADY == !addressed && WREADY == !filled && ARREADY == !asked);
            // writes: as soon as both parts are there and the answer before is gone
            assert(write == (addressed && filled && (!owed || BREADY)));
            if (addressed) assert(write_address == place);
            if (filled) assert({write_strobe, write_data} == word);
            assert(BVALID == owed && BRESP == 0);
            if (b_waits) assert(BVALID);
            // reads: after LATENCY cycles, and the answer before is gone
            assert(read == (asked && age >= LATENCY && (!answering || RREADY)));
            if (asked) assert(read_address == from);
            assert(RVALID == answering && RRESP == 0);
            if (RVALID) assert(RDATA == taken);
            if (r_waits) assert(RVALID && RDATA == shown);
`ifdef INVARIANTS
            if (!asked) assert(\dut.held_for == 0 && age == 0);
            if (asked) assert(\dut.held_for == (age >= LATENCY ? {LATENCY{1'b1}} : (1 << age) - 1));
`endif
            cover(write && BREADY && BVALID && word[35:32] == 4'b0101);
            cover(write && AWVALID && WVALID);
            cover(filled && !addressed && AWVALID);
            cover(addressed && !filled && WVALID);
            cover(read && RREADY && RVALID && ARADDR != 0);
            cover(asked && age > LATENCY + 2);
        end
    end
endmodule
