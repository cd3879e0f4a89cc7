// Control: a register of the table, whichever it is, holds what was written to it byte by byte and no more, and a read
// of it gives what it held, if that did not change meanwhile. The upper word of a counter belongs to the lower one that
// was read before it.
module registers #(parameter ADDRESS = 10) (
    input clk, rst, done, idle, ready,
    input s_axi_control_AWVALID, s_axi_control_WVALID, s_axi_control_BREADY,
    input s_axi_control_ARVALID, s_axi_control_RREADY,
    input [ADDRESS-1:0] s_axi_control_AWADDR, s_axi_control_ARADDR,
    input [31:0] s_axi_control_WDATA,
{% for register in registers if register.access in ("ro", "clear") %}
    input [{{ register.bits - 1 }}:0] {{ register.name }},
{% endfor %}
    input [3:0] s_axi_control_WSTRB
);
    wire s_axi_control_AWREADY, s_axi_control_WREADY, s_axi_control_BVALID, s_axi_control_ARREADY, s_axi_control_RVALID;
    wire [1:0] s_axi_control_BRESP, s_axi_control_RRESP;
    wire [31:0] s_axi_control_RDATA;
{% for register in registers if register.access == "rw" %}
    wire [{{ register.bits - 1 }}:0] {{ register.name }};
{% endfor %}
    wire start, stop, interrupt, error_code_clear;
    dut dut(.*);

    (* anyconst *) wire [ADDRESS-3:0] chosen; // a word of the map
    (* anyconst *) wire [63:0] pair;
    reg [63:0] held; // the pair of words it is in
    reg writable, counter;
    always @* begin
        {writable, counter, held} = 0;
        case (chosen >> 1)
{% for register in registers if register.access != "protocol" %}
            {{ register.offset // 8 }}: begin
                held = {{ constants[register.name] if register.access == "const" else register.name }};
                writable = {{ 0 if register.access != "rw" else 1 if register.bits > 32 else "!chosen[0]" }};
                counter = {{ 1 if register.name in counters else 0 }};
            end
{% endfor %}
        endcase
    end
    wire [31:0] now = chosen[0] ? held[63:32] : held[31:0];
    // Words from 0x00 to 0x0C are the block protocol's.
    wire mine = chosen > 3;

    reg addressed, filled, owed, asked, answering;
    reg [ADDRESS-3:0] place, from;
    reg [35:0] word;
    wire write = addressed && filled && (!owed || s_axi_control_BREADY);
    reg steady, paired, lower; // it did not change in this read; the pair was `pair` when its lower word was read
    reg [31:0] shadow, low, before;
    integer i;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        assume(mine);
        if (write) {addressed, filled} <= 0;
        if (s_axi_control_AWVALID && s_axi_control_AWREADY) {addressed, place} <= {1'b1, s_axi_control_AWADDR[ADDRESS-1:2]};
        if (s_axi_control_WVALID && s_axi_control_WREADY) {filled, word} <= {1'b1, s_axi_control_WSTRB, s_axi_control_WDATA};
        owed <= write || owed && !s_axi_control_BREADY;
        if (write && place == chosen && writable)
            for (i = 0; i < 4; i = i + 1) if (word[32 + i]) shadow[8*i +: 8] <= word[8*i +: 8];

        if (s_axi_control_ARVALID && s_axi_control_ARREADY) begin
            {asked, from} <= {1'b1, s_axi_control_ARADDR[ADDRESS-1:2]};
            steady <= 1;
            if (s_axi_control_ARADDR[ADDRESS-1:2] == {chosen[ADDRESS-3:1], 1'b0}) paired <= 0;
        end else if (!s_axi_control_RVALID) begin
            if (now != before) steady <= 0;
            if (held == pair && from == {chosen[ADDRESS-3:1], 1'b0}) paired <= 1;
        end
        if (s_axi_control_RVALID && s_axi_control_RREADY) begin
            asked <= 0;
            lower <= counter && from == {chosen[ADDRESS-3:1], 1'b0};
            if (counter && from == {chosen[ADDRESS-3:1], 1'b0}) low <= s_axi_control_RDATA;
        end
        if (!s_axi_control_RVALID) before <= now;
        if (rst) {addressed, filled, owed, asked, steady, paired, lower, shadow} <= 0;
        if (!rst) begin
            assume(!(asked && s_axi_control_ARVALID)); // one read after the other, so that their windows are apart
            if (writable) assert(now == shadow);
            if (s_axi_control_RVALID && from == chosen && !(counter && chosen[0]) && steady) assert(s_axi_control_RDATA == before);
            if (s_axi_control_RVALID && from == chosen && counter && chosen[0] && lower && {s_axi_control_RDATA, low} == pair)
                assert(paired);
            cover(writable && shadow == 32'h12005600 && s_axi_control_RVALID && from == chosen && s_axi_control_RDATA == shadow);
            cover(s_axi_control_RVALID && from == chosen && counter && chosen[0] && lower
                && {s_axi_control_RDATA, low} == pair && pair[47:32] == 5 && now != s_axi_control_RDATA);
            cover(s_axi_control_RVALID && from == chosen && chosen[0] && writable && shadow != 0);
        end
    end
endmodule
