
// Shift registers stand for the pins of {{ module }}: a device has few of them, and all paths begin and end in registers.
// The clock is the device's own: nextpnr routes none from a pin of a Nexus device, nor from any that it may choose of an
// ECP5.
module {{ name }} (input wire capture, input wire in, output wire out);
    wire clk;
{% if family == "nexus" %}
    OSCA #(.HF_CLK_DIV("1")) oscillator (.HFOUTEN(1'b1), .HFSDSCEN(1'b0), .HFCLKOUT(clk));
{% else %}
    OSCG #(.DIV(3)) oscillator (.OSC(clk));
{% endif %}
    reg [{{ inputs - 1 }}:0] to;
    wire [{{ outputs - 1 }}:0] from;
    reg [{{ outputs - 1 }}:0] shifted;
    assign out = shifted[0];
    always @(posedge clk) begin
        to <= {to, in};
        shifted <= capture ? from : shifted >> 1;
    end
    {{ module }} dut (
        .{{ clock }}(clk){% for port in ports %},
        .{{ port.name }}({{ port.bus }}[{{ port.offset }} +: {{ port.bits }}]){% endfor %}

    );
endmodule
