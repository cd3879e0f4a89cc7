# The accelerator by itself, out of context; in a block design the clock comes from there. synth.tcl and impl.tcl change
# the period (in ns) to that of the frequency they are given.
create_clock -name ap_clk -period {{ "%.3f" % (1e9 / design.clock) }} [get_ports ap_clk]
