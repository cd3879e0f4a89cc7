// A register of one bit that no tool merges with its equals: each replica drives a part of what one would drive alone.
// `keep` before `always` is for Yosys, whose optimizer looks at the cell; on the register, dont_touch is for Vivado,
// preserve and dont_merge for Quartus, syn_preserve for Synplify.
module hwgen_replica (
    input  wire clk,
    input  wire d,
    output wire q
);
    (* keep = 1, dont_touch = "true", preserve, dont_merge, syn_preserve = 1 *) reg register;
    (* keep *) always @(posedge clk) register <= d;
    assign q = register;
endmodule
