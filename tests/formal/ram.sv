// In the place of the RAM leaf: one word of it, whichever, is kept; a read of any other gives anything, and so does a
// read of the word that is written in the same cycle. What is proved with it relies on neither.
module {{ leaf }} #(parameter WIDTH = 8, DEPTH = 2, GRAIN = 8, ABITS = 1) (
    input clk, r_en,
    input [WIDTH/GRAIN-1:0] w_en,
    input [ABITS-1:0] w_addr, r_addr,
    input [WIDTH-1:0] w_data,
    output reg [WIDTH-1:0] r_data
);
    (* anyconst *) wire [ABITS-1:0] chosen;
    (* anyseq *) wire [WIDTH-1:0] anything;
    reg [WIDTH-1:0] word;
    integer i;
    always @(posedge clk) begin
        for (i = 0; i < WIDTH / GRAIN; i = i + 1)
            if (w_en[i] && w_addr == chosen) word[i*GRAIN +: GRAIN] <= w_data[i*GRAIN +: GRAIN];
        if (r_en) r_data <= r_addr == chosen && !(|w_en && w_addr == r_addr) ? word : anything;
    end
endmodule
