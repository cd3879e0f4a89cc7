# Out-of-context synthesis with reports. Arguments: part, clock in MHz.
#   vivado -mode batch -source vivado/synth.tcl -tclargs {{ design.device.part }} {{ mhz }}
source [file join [file dirname [file normalize [info script]]] common.tcl]
set part [argument 0 {{ design.device.part }}]
set mhz [argument 1 {{ mhz }}]
check_part $part
check_frequency $mhz

create_project -in_memory -part $part
read_verilog $verilog
read_xdc -mode out_of_context [constraints_at $mhz]
synth_design -top $top -part $part -mode out_of_context
write_checkpoint -force [file join $out synth.dcp]
reports synth
