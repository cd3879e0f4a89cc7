# Out-of-context implementation with reports, after synthesis: of synth.tcl's checkpoint, or, with arguments (part, clock
# in MHz), from the Verilog on.
#   vivado -mode batch -source vivado/impl.tcl -tclargs {{ design.device.part }} {{ mhz }}
set checkpoint [file join [file dirname [file normalize [info script]]] build synth.dcp]
if {[llength $argv] || ![file exists $checkpoint]} {
    source [file join [file dirname [file normalize [info script]]] synth.tcl]
} else {
    source [file join [file dirname [file normalize [info script]]] common.tcl]
    open_checkpoint $checkpoint
}

opt_design
place_design
phys_opt_design
route_design
write_checkpoint -force [file join $out impl.dcp]
reports impl
