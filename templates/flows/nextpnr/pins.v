
// Shift registers stand for the pins of {{ module }}: a device has few of them, and all paths begin and end in registers.
module {{ name }} (input wire clk, input wire capture, input wire in, output wire out);
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
