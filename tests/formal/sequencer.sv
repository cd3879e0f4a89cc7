// Sequencer, for any bytes of a program and whatever units and memory do: a write goes to the output region or nowhere;
// with a watchdog an image has an end; the wait for the ports after it has one in any case.
module sequencer #(parameter PATIENCE = 65536, CHECK = 4) (
    input clk, rst, start, stop, error_code_clear, ports_idle, writer_idle, read0_error, read1_error, write1_error,
    input starved, weights_barred, fetch_valid, fetch_exhausted, decision_valid, decision_fetched, read_ready, write_ready,
    input norm_done, router_done, mover_done, image_done, load_done, store_done,
    input [2:0] unfinished,
    input [8:0] queue_length,
    input [511:0] fetch_data
);
    (* anyconst *) wire [63:0] program_base, weights_base, input_base, output_base;
    (* anyconst *) wire [31:0] program_size, weights_size, input_size, output_size, entry, batch, input_stride;
    (* anyconst *) wire [31:0] output_stride, watchdog;
    wire done, idle, abort, running, write_valid;
    wire [7:0] error_code;
    wire [63:0] write_address;
    wire [31:0] data_bytes;
    dut dut(.clk, .rst, .start, .stop, .error_code_clear, .ports_idle, .writer_idle, .read0_error, .read1_error,
        .write1_error, .starved, .weights_barred, .fetch_valid, .fetch_exhausted, .decision_valid, .decision_fetched,
        .read_ready, .write_ready, .norm_done, .router_done, .mover_done, .image_done, .load_done, .store_done,
        .unfinished, .queue_length, .fetch_data, .program_base, .weights_base, .input_base, .output_base, .program_size,
        .weights_size, .input_size, .output_size, .entry, .batch, .input_stride, .output_stride, .watchdog,
        .done, .idle, .abort, .running, .write_valid, .error_code, .write_address, .data_bytes);
    (* hierconn *) wire [3:0] \dut.fsm_state ;
    (* hierconn *) wire [511:0] \dut.instruction ;
    (* hierconn *) wire [32:0] \dut.images.output_offset ;
    (* hierconn *) wire [31:0] \dut.images.image ;
`ifdef INVARIANTS
    (* hierconn *) wire [2:0] \dut.wait_ ;
    (* hierconn *) wire \dut.fetch_ready , \dut._signal_159 , \dut.images.moving , \dut.images.last , \dut.faults.failed ;
    (* hierconn *) wire [7:0] \dut.faults.fault , \dut.arguments.refusal , \dut.command.range_error ;
    wire finished = \dut._signal_159 ;
    (* hierconn *) wire [1:0] \dut.timer._signal ;
    (* hierconn *) wire [31:0] \dut.timer._signal_10 ;
    (* hierconn *) wire \dut.timer._signal_5 , \dut.timer._signal_7 , \dut.timer._signal_11 ;
    wire [1:0] phase = \dut.timer._signal ;
    wire [31:0] cycles = \dut.timer._signal_10 ;
    wire exceeded = \dut.timer._signal_5 , patient = \dut.timer._signal_7 , enabled = \dut.timer._signal_11 ;
    (* hierconn *) wire \dut.order.store_selected , \dut.command.outside , \dut.command.write_valid ;
    (* hierconn *) wire [31:0] \dut.command._signal , \dut.command.high ;
    (* hierconn *) wire [63:0] \dut.command._signal_4 ;
    (* hierconn *) wire [32:0] \dut.command._signal_16 , \dut.command._signal_24 , \dut.command.moved ;
    (* hierconn *) wire [33:0] \dut.command._signal_17 ;
    (* hierconn *) wire [34:0] \dut.command._signal_18 ;
    wire [31:0] size = \dut.command._signal ;
    wire [63:0] base = \dut.command._signal_4 ;
    wire [32:0] span = \dut.command._signal_16 , low = \dut.command._signal_24 , moved = \dut.command.moved ;
    wire [33:0] first = \dut.command._signal_17 ;
    wire [34:0] end_ = \dut.command._signal_18 ;
    (* hierconn *) wire \dut.arguments.output_base_askew , \dut.arguments.output_base_topmost ;
    (* hierconn *) wire \dut.arguments.wrong_OUTPUT_BASE , \dut.arguments.refused ;
    (* hierconn *) wire [32:0] \dut.arguments.output_base_end ;
`endif
    // Numbers of states.
    localparam IDLE = 0, DONE = 1, LAUNCH = 2, FETCH = 3, CHECKING = 4, ABORT = 5, ORDER = 6, DISPATCH = 7, COMMAND = 8,
        CLEAR = 9, CLEARED = 10;
    wire [3:0] state = \dut.fsm_state ;
    wire executes = state == LAUNCH || state == FETCH || state == CHECKING || state == ORDER || state == DISPATCH
        || state == COMMAND;
    wire ends = state == ABORT || state == CLEAR || state == CLEARED;

    wire [7:0] op = \dut.instruction [{{ fields.op.offset }} +: 8];
    wire [31:0] offset = \dut.instruction [{{ fields.offset.offset }} +: 32];
    wire [31:0] bytes = \dut.instruction [{{ fields.bytes.offset }} +: 32];
    wire [34:0] place = 35'd0 + \dut.images.output_offset + offset; // in the output region
    // Cycles of an image and of the wait after it.
    reg [33:0] working, waiting;
    reg [3:0] failing; // cycles since a fault
    reg [32:0] images; // that were begun in this run
    reg [2:0] warm; // cycles since reset
    reg rested; // the ports were idle, in `abort`
    wire [32:0] limit = batch == 0 ? 33'd1 : {1'b0, batch};
    wire bad = output_base % 64 != 0 || {1'b0, output_base} + output_size > 65'h1_0000_0000_0000_0000;
    always @(posedge clk) begin
        if ($initstate) assume(rst);
        if (start) assume(idle && warm > 3); // as Control does; arguments come before it
        if (rested && abort) assume(ports_idle); // proved of the AXI masters
        working <= running && !abort ? working + 1 : 0;
        waiting <= running && abort ? waiting + 1 : 0;
        rested <= ports_idle && abort;
        if (start) images <= 0;
        else if (state == LAUNCH) images <= images + 1;
        if (warm != 7) warm <= warm + 1;
`ifdef INVARIANTS
        failing <= \dut.faults.failed && running && !abort ? failing + 1 : 0;
`endif
        if (rst) {working, waiting, images, warm, rested, failing} <= 0;
        if (!rst) begin
            // writes
            if (write_valid) begin
                assert(op == {{ ops.STORE.value }} && running && !abort && !bad);
                assert(place + bytes <= output_size && data_bytes == bytes);
                assert(write_address == output_base + place);
            end
            // the end
            if (watchdog != 0) assert(working <= 34'd12 + watchdog);
            assert(waiting <= PATIENCE + 6);
            assert(images <= limit);
            if (done && error_code == 0) assert(images == limit);
            assert(running || idle || done);
`ifdef INVARIANTS
            assert(state <= CLEARED);
            assert((state == IDLE) == idle && (state == DONE) == done);
            assert(running == (executes || ends));
            if (executes) assert(!abort);
            if (ends) assert(abort);
            if (abort && (state != ABORT || waiting != 0)) assert(\dut.arguments.refused );
            assert(\dut.fetch_ready == (state == FETCH));
            if (state == CHECKING) assert(\dut.wait_ <= CHECK);
            if (finished) assert(state == ABORT || state == CLEAR);
            if (watchdog != 0 && executes) assert((state == LAUNCH) == (working == 0));
            if (state == CLEAR) assert(waiting != 0);
            if (state == CLEARED) assert(waiting > 1);
            assert(\dut.images.moving == (state == CLEARED));
            if (state == CLEAR || state == CLEARED) assert(rested || \dut.faults.failed );
            assert(\dut.faults.failed == (\dut.faults.fault != 0));
            assert(\dut.arguments.refused == (\dut.arguments.refusal != 0));
            if (warm != 0) assert(\dut.command.range_error != 0);
            if (running) assert(warm > 3);
            // images
            if (executes || ends) assert(\dut.images.image == images[31:0] + (state == LAUNCH) + (state == CLEARED));
            if (state == LAUNCH) assert(images < limit);
            if (running && state != LAUNCH) assert(images <= limit && images != 0);
            if (running && state != LAUNCH) assert(\dut.images.last == (images >= batch));
            // time
            if (watchdog != 0 && working != 0 && running && !abort) assert(phase == 2'b01 && cycles == working[31:0] - 32'd1);
            if (waiting != 0 && running && abort) assert(phase == 2'b11 && cycles == waiting[31:0] - 32'd1);
            if (watchdog != 0 && executes && working == 0) assert(phase != 2'b01);
            if (ends && waiting == 0) assert(phase != 2'b11);
            if (watchdog != 0 && running && !abort && working == 1) assert(!exceeded);
            if (running && abort && waiting == 1) assert(patient);
            if (watchdog != 0 && executes && working == watchdog + 34'd2) assert(exceeded);
            if (watchdog != 0 && executes && working > watchdog + 34'd2) assert(\dut.faults.failed );
            if (watchdog != 0 && executes && working > 0) assert(enabled);
            if (watchdog != 0 && executes && working > watchdog + 34'd3) assert(failing >= working - watchdog - 34'd3);
            if (ends && waiting > PATIENCE) assert(state != ABORT || !patient || waiting == PATIENCE + 1);
            if (state == CLEAR) assert(waiting <= PATIENCE + 3);
            if (state == ABORT) assert(waiting <= PATIENCE + 2);
            if (state == CLEARED) assert(waiting <= PATIENCE + 4);
            case (state)
                LAUNCH: assert(failing + 2 <= 8);
                FETCH: assert(failing + 1 <= 8);
                CHECKING: assert(failing + \dut.wait_ + 2 <= 8);
                ORDER: assert(failing + 1 <= 8);
                COMMAND: assert(failing + 3 <= 8);
                DISPATCH: assert(failing + 2 <= 8);
            endcase
            // the place of a STORE, stage by stage
            if (op == {{ ops.STORE.value }}) begin
                if (state == CHECKING && \dut.wait_ <= 3 || state == ORDER || state == COMMAND || state == DISPATCH) begin
                    assert(size == output_size && base == output_base && moved == \dut.images.output_offset );
                    assert(span == 33'd0 + offset + bytes);
                end
                if (state == CHECKING && \dut.wait_ <= 2 || state == ORDER || state == COMMAND || state == DISPATCH)
                    assert(first == 34'd0 + moved + offset && end_ == 35'd0 + moved + span);
                if (state == CHECKING && \dut.wait_ <= 1 || state == ORDER || state == COMMAND || state == DISPATCH) begin
                    assert(\dut.command.outside == (end_ > size));
                    assert(low == 33'd0 + base[31:0] + first[31:0]);
                end
                if (state == CHECKING && \dut.wait_ == 0 || state == ORDER || state == COMMAND || state == DISPATCH)
                    assert(\dut.command.high == base[63:32] + first[33:32] + low[32]);
                if (state == ORDER || state == COMMAND || state == DISPATCH) assert(end_ <= size);
            end
            if (state == CHECKING && \dut.wait_ <= 3 || state == ORDER || state == COMMAND || state == DISPATCH)
                assert(\dut.order.store_selected == (op == {{ ops.STORE.value }}));
            if (write_valid) assert(state == COMMAND);
            // the arguments
            if (warm > 0) assert(\dut.arguments.output_base_askew == (output_base % 64 != 0)
                && \dut.arguments.output_base_end == 33'd0 + output_base[31:0] + output_size
                && \dut.arguments.output_base_topmost == &output_base[63:32]);
            if (warm > 1) assert(\dut.arguments.wrong_OUTPUT_BASE == bad);
            if (warm > 2 && bad) assert(\dut.arguments.refused );
            if (running) assert(!bad);
`endif
            cover(write_valid && bytes > 64 && output_base != 0 && \dut.images.output_offset != 0);
            cover(done && error_code == 0 && images == 2);
            cover(done && error_code == {{ errors.OUTPUT_RANGE.value }});
            cover(done && error_code == {{ errors.WATCHDOG.value }});
        end
    end
endmodule
