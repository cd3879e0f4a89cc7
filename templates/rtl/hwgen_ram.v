// Simple dual-port RAM: one write port with GRAIN-bit write enables, one registered read port.
// Hand-written so that every tool infers block (or distributed) RAM and no line per row is emitted.
// A read of the address written in the same cycle returns anything: nobody may rely on it, as a promise costs an address
// comparison around every block RAM. In simulation it is the complement of the old word, so that a test would notice.
// r_data holds while r_en is low.
module hwgen_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter GRAIN = 8,
    parameter ABITS = 1
) (
    input  wire                   clk,
    input  wire [WIDTH/GRAIN-1:0] w_en,
    input  wire [ABITS-1:0]       w_addr,
    input  wire [WIDTH-1:0]       w_data,
    input  wire                   r_en,
    input  wire [ABITS-1:0]       r_addr,
    output reg  [WIDTH-1:0]       r_data
);
    (* no_rw_check *) reg [WIDTH-1:0] mem [0:DEPTH-1];
    integer i;
    always @(posedge clk) begin
        for (i = 0; i < WIDTH / GRAIN; i = i + 1)
            if (w_en[i]) mem[w_addr][i*GRAIN +: GRAIN] <= w_data[i*GRAIN +: GRAIN];
`ifdef VERILATOR
        if (r_en) r_data <= |w_en && w_addr == r_addr ? ~mem[r_addr] : mem[r_addr];
`else
        if (r_en) r_data <= mem[r_addr];
`endif
    end
endmodule
