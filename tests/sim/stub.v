// A stand-in with the accelerator's ports: copies 4 beats of the input, plus the first weight beat, to the output.
// The entry register picks a misdeed: 1 writes behind the output, 2 never ends, 3 reads behind the input,
// 4 sends no last beat, 5 crosses 4 KiB, 6 retires an instruction it has not begun. The engine begins instructions 5 and
// 6 with the first two beats of the input and retires them with the next two; the mover's 7 lasts for all four.
module hwgen_mid (input clk, input en, input [1:0] addr, input [63:0] data);
    hwgen_ram #(.WIDTH(64), .DEPTH(4), .GRAIN(64), .ABITS(2)) ram (
        .clk(clk), .w_en(en), .w_addr(addr), .w_data(data), .r_en(1'b0), .r_addr(2'b0), .r_data());
endmodule

module hwgen_accelerator (
    input ap_clk, input ap_rst_n, output reg interrupt, 
    output reg [4:0] debug_begin, output reg [4:0] debug_retire,
    output reg [79:0] debug_begin_index, output reg [79:0] debug_retire_index,
    input s_axi_control_AWVALID, output s_axi_control_AWREADY, input [11:0] s_axi_control_AWADDR,
    input s_axi_control_WVALID, output s_axi_control_WREADY, input [31:0] s_axi_control_WDATA,
    input [3:0] s_axi_control_WSTRB, output reg s_axi_control_BVALID, input s_axi_control_BREADY,
    output [1:0] s_axi_control_BRESP,
    input s_axi_control_ARVALID, output s_axi_control_ARREADY, input [11:0] s_axi_control_ARADDR,
    output reg s_axi_control_RVALID, input s_axi_control_RREADY, output reg [31:0] s_axi_control_RDATA,
    output [1:0] s_axi_control_RRESP,
    output reg m_axi_gmem0_ARVALID, input m_axi_gmem0_ARREADY, output [63:0] m_axi_gmem0_ARADDR,
    output [7:0] m_axi_gmem0_ARLEN, output [2:0] m_axi_gmem0_ARSIZE, output [1:0] m_axi_gmem0_ARBURST,
    input m_axi_gmem0_RVALID, output m_axi_gmem0_RREADY, input [127:0] m_axi_gmem0_RDATA,
    input [1:0] m_axi_gmem0_RRESP, input m_axi_gmem0_RLAST,
    output reg m_axi_gmem1_ARVALID, input m_axi_gmem1_ARREADY, output [63:0] m_axi_gmem1_ARADDR,
    output [7:0] m_axi_gmem1_ARLEN, output [2:0] m_axi_gmem1_ARSIZE, output [1:0] m_axi_gmem1_ARBURST,
    input m_axi_gmem1_RVALID, output m_axi_gmem1_RREADY, input [63:0] m_axi_gmem1_RDATA,
    input [1:0] m_axi_gmem1_RRESP, input m_axi_gmem1_RLAST,
    output reg m_axi_gmem1_AWVALID, input m_axi_gmem1_AWREADY, output [63:0] m_axi_gmem1_AWADDR,
    output [7:0] m_axi_gmem1_AWLEN, output [2:0] m_axi_gmem1_AWSIZE, output [1:0] m_axi_gmem1_AWBURST,
    output m_axi_gmem1_WVALID, input m_axi_gmem1_WREADY, output [63:0] m_axi_gmem1_WDATA,
    output [7:0] m_axi_gmem1_WSTRB, output m_axi_gmem1_WLAST, input m_axi_gmem1_BVALID,
    output m_axi_gmem1_BREADY, input [1:0] m_axi_gmem1_BRESP
);
    reg [31:0] regs [0:1023];
    reg done, running;
    reg [31:0] cycles;
    reg [2:0] faults;
    wire [31:0] entry = regs[ENTRY];
    localparam ENTRY = `STUB_ENTRY / 4, WEIGHTS = `STUB_WEIGHTS / 4, INPUT = `STUB_INPUT / 4, OUTPUT = `STUB_OUTPUT / 4;

    wire write = s_axi_control_AWVALID && s_axi_control_WVALID && !s_axi_control_BVALID;
    assign s_axi_control_AWREADY = write;
    assign s_axi_control_WREADY = write;
    assign s_axi_control_ARREADY = !s_axi_control_RVALID;
    assign s_axi_control_BRESP = 0;
    assign s_axi_control_RRESP = 0;

    assign m_axi_gmem0_ARADDR = {regs[WEIGHTS + 1], regs[WEIGHTS]};
    assign m_axi_gmem0_ARLEN = 0;
    assign m_axi_gmem0_ARSIZE = 4;
    assign m_axi_gmem0_ARBURST = 1;
    assign m_axi_gmem0_RREADY = 1;
    assign m_axi_gmem1_ARADDR = {regs[INPUT + 1], regs[INPUT]} + (entry == 3 ? 64'd32 : entry == 5 ? 64'd40 : 64'd0);
    assign m_axi_gmem1_ARLEN = entry == 5 ? 15 : 3;
    assign m_axi_gmem1_ARSIZE = 3;
    assign m_axi_gmem1_ARBURST = 1;
    assign m_axi_gmem1_AWADDR = {regs[OUTPUT + 1], regs[OUTPUT]} + (entry == 1 ? 64'd8 : 64'd0);
    assign m_axi_gmem1_AWLEN = 3;
    assign m_axi_gmem1_AWSIZE = 3;
    assign m_axi_gmem1_AWBURST = 1;
    assign m_axi_gmem1_BREADY = 1;

    reg [63:0] weight, data [0:3];
    reg have_weight;
    reg [2:0] got, sent;
    assign m_axi_gmem1_RREADY = 1;
    assign m_axi_gmem1_WVALID = running && have_weight && got == 4 && sent < 4;
    assign m_axi_gmem1_WDATA = data[sent[1:0]] + weight;
    assign m_axi_gmem1_WSTRB = 8'hff;
    assign m_axi_gmem1_WLAST = sent == 3 && entry != 4;
    hwgen_mid mid (.clk(ap_clk), .en(m_axi_gmem1_RVALID), .addr(got[1:0]), .data(m_axi_gmem1_RDATA));

    always @(posedge ap_clk) begin
        debug_begin <= 0;
        debug_retire <= 0;
        if (running) cycles <= cycles + 1;
        if (write) begin
            s_axi_control_BVALID <= 1;
            regs[s_axi_control_AWADDR[11:2]] <= s_axi_control_WDATA;
            if (s_axi_control_AWADDR == 0 && s_axi_control_WDATA[0]) begin
                running <= 1; cycles <= 0; faults <= 0; have_weight <= 0; got <= 0; sent <= 0;
                m_axi_gmem0_ARVALID <= 1; m_axi_gmem1_ARVALID <= 1; m_axi_gmem1_AWVALID <= 1;
            end
            if (s_axi_control_AWADDR == 12) interrupt <= 0;
        end else if (s_axi_control_BREADY) s_axi_control_BVALID <= 0;
        if (s_axi_control_ARVALID && s_axi_control_ARREADY) begin
            s_axi_control_RVALID <= 1;
            s_axi_control_RDATA <= s_axi_control_ARADDR == 0 ? {29'b0, !running, done, running}
                : s_axi_control_ARADDR == 12 ? interrupt
                : s_axi_control_ARADDR == `STUB_FAULTS ? faults
                : s_axi_control_ARADDR == `STUB_CYCLES ? cycles : 0;
            if (s_axi_control_ARADDR == 0) done <= 0;
        end else if (s_axi_control_RREADY) s_axi_control_RVALID <= 0;

        if (m_axi_gmem0_ARVALID && m_axi_gmem0_ARREADY) m_axi_gmem0_ARVALID <= 0;
        if (m_axi_gmem1_ARVALID && m_axi_gmem1_ARREADY) m_axi_gmem1_ARVALID <= 0;
        if (m_axi_gmem1_AWVALID && m_axi_gmem1_AWREADY) m_axi_gmem1_AWVALID <= 0;
        if (m_axi_gmem0_RVALID) begin weight <= m_axi_gmem0_RDATA[63:0]; have_weight <= 1; end
        if (m_axi_gmem1_RVALID) begin
            data[got[1:0]] <= m_axi_gmem1_RDATA;
            got <= got + 1;
            case (got)
                0: begin debug_begin <= 5'b01001; debug_begin_index <= {16'd0, 16'd7, 16'd0, 16'd0, 16'd5}; end
                1: begin debug_begin <= 5'b00001; debug_begin_index <= 6; end
                2: begin debug_retire <= 5'b00001; debug_retire_index <= entry == 6 ? 6 : 5; end
                3: begin debug_retire <= 5'b01001; debug_retire_index <= {16'd0, 16'd7, 16'd0, 16'd0, 16'd6}; end
            endcase
        end
        if (m_axi_gmem0_RVALID && m_axi_gmem0_RRESP != 0) faults[0] <= 1;
        if (m_axi_gmem1_RVALID && m_axi_gmem1_RRESP != 0) faults[1] <= 1;
        if (m_axi_gmem1_BVALID && m_axi_gmem1_BRESP != 0) faults[2] <= 1;
        if (m_axi_gmem1_WVALID && m_axi_gmem1_WREADY) sent <= sent + 1;
        if (m_axi_gmem1_BVALID && entry != 2) begin running <= 0; done <= 1; interrupt <= 1; end
        if (!ap_rst_n) begin
            s_axi_control_BVALID <= 0; s_axi_control_RVALID <= 0; running <= 0; done <= 0; interrupt <= 0;
            m_axi_gmem0_ARVALID <= 0; m_axi_gmem1_ARVALID <= 0; m_axi_gmem1_AWVALID <= 0;
        end
    end
endmodule
