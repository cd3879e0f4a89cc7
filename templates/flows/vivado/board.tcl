# {{ board.name }}: block design, bitstream (.bit), hardware description (.hwh for PYNQ, .xsa for Vitis and Yocto), all in
# vivado/build. Arguments: clock in MHz, jobs.
#   vivado -mode batch -source vivado/board_{{ board.name }}.tcl -tclargs {{ mhz }}
source [file join [file dirname [file normalize [info script]]] common.tcl]
set mhz [argument 0 {{ mhz }}]
set jobs [argument 1 4]
set project board_{{ board.name }}
check_frequency $mhz
check_part {{ board.device.part }}
set board_part [get_board_parts -quiet -latest_file_version {{ board.board_part.rpartition(":")[0] }}:*]
if {$board_part eq ""} {
    error "this Vivado has no board files of {{ board.name }}: install them with Vivado's XHub store"
}

create_project -force $project [file join $out $project] -part {{ board.device.part }}
set_property board_part $board_part [current_project]
set_property ip_repo_paths [ip_repository] [current_project]
update_ip_catalog -rebuild
create_bd_design system

# The processor, with its clock and reset for the logic, its ports to the memory and its master for the registers.
{% include "vivado/ps/" ~ processor ~ ".tcl" %}
create_bd_cell -type ip -vlnv $vlnv accelerator
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
connect_bd_net [get_bd_pins ps/$ps_reset] [get_bd_pins reset/ext_reset_in]

# Everything runs at one clock.
proc clocked {pin} {
    global ps_clock
    connect_bd_net [get_bd_pins ps/$ps_clock] [get_bd_pins $pin]
}
proc interconnect {name} {
    create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name
    set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] [get_bd_cells $name]
    clocked $name/aclk
    connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins $name/aresetn]
}
clocked reset/slowest_sync_clk
clocked accelerator/{{ CLOCK }}
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins accelerator/{{ RESET }}]
connect_bd_net [get_bd_pins accelerator/{{ INTERRUPT }}] [get_bd_pins ps/$ps_interrupt]

interconnect control
clocked ps/$control_clock
connect_bd_intf_net [get_bd_intf_pins ps/$control_port] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins accelerator/{{ CONTROL }}]
{% for master, port in links %}

# {{ master.what }}: {{ master.data_bits }} bits to {{ port.bits }} bits, {{ port.protocol }}
interconnect {{ master.name }}
clocked ps/{{ clock_pin(port.name) }}
connect_bd_intf_net [get_bd_intf_pins accelerator/{{ master.name }}] [get_bd_intf_pins {{ master.name }}/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins {{ master.name }}/M00_AXI] [get_bd_intf_pins ps/{{ port.name }}]
{% endfor %}

assign_bd_address -offset $control_base -range {{ range }} -target_address_space [get_bd_addr_spaces ps/Data] \
    [get_bd_addr_segs accelerator/{{ CONTROL }}/{{ block }}] -force
# Of what a port reaches the masters see the DRAM alone: an address outside it is an error that is reported. Which
# segments there are depends on the board's memory and peripherals.
proc memory {master segments} {
    set space [get_bd_addr_spaces accelerator/$master]
    set mapped 0
    foreach name $segments {
        set segment [get_bd_addr_segs -quiet ps/$name]
        if {$segment eq ""} {
            continue
        }
        if {[string match *DDR* $name]} {
            assign_bd_address -target_address_space $space $segment
            incr mapped
        } else {
            exclude_bd_addr_seg -target_address_space $space $segment
        }
    }
    if {!$mapped} {
        error "no DRAM behind $master"
    }
}
{% for master, port in links %}
memory {{ master.name }} {{ "{" ~ segments(port.name) | join(" ") ~ "}" }}
{% endfor %}

validate_bd_design
puts "$project: the clock is [get_property CONFIG.FREQ_HZ [get_bd_pins ps/$ps_clock]] Hz"
save_bd_design
generate_target all [get_files system.bd]
add_files -norecurse [make_wrapper -top [get_files system.bd]]
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1

launch_runs impl_1 -to_step write_bitstream -jobs $jobs
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
    error "the implementation has failed: see the logs in [get_property DIRECTORY [get_runs impl_1]]"
}
open_run impl_1
reports $project
set slack [get_property STATS.WNS [get_runs impl_1]]
if {$slack < 0} {
    puts "WARNING: $mhz MHz are missed by $slack ns; the bitstream may not work: choose a slower clock"
}
write_hw_platform -fixed -include_bit -force [file join $out $project.xsa]
set runs [get_property DIRECTORY [get_runs impl_1]]
file copy -force [file join $runs system_wrapper.bit] [file join $out $project.bit]
set handoff [glob [file join $out $project $project.{gen,srcs} sources_1 bd system hw_handoff system.hwh]]
file copy -force [lindex $handoff 0] [file join $out $project.hwh]
close_project
