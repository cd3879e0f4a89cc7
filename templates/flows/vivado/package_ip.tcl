# The IP as this Vivado packages it, in vivado/build/ip; the board scripts prefer it to the ready one in vivado/ip.
# Argument: part.
#   vivado -mode batch -source vivado/package_ip.tcl
source [file join [file dirname [file normalize [info script]]] common.tcl]
set part [argument 0 {{ design.device.part }}]
check_part $part

create_project -force package [file join $out package] -part $part
add_files -norecurse $verilog
add_files -fileset constrs_1 -norecurse [file join $here clock.xdc]
set_property USED_IN {synthesis implementation out_of_context} [get_files clock.xdc]
set_property top $top [current_fileset]
update_compile_order -fileset sources_1

lassign [split $vlnv :] vendor library name version
ipx::package_project -root_dir [file join $out ip] -vendor $vendor -library $library -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name $name $core
set_property version $version $core
set_property display_name $name $core
set_property description {Accelerator for quantized Vision Transformers with mixture-of-experts} $core
set_property core_revision 1 $core

ipx::infer_bus_interface {{ CLOCK }} xilinx.com:signal:clock_rtl:1.0 $core
ipx::infer_bus_interface {{ RESET }} xilinx.com:signal:reset_rtl:1.0 $core
ipx::infer_bus_interface {{ INTERRUPT }} xilinx.com:signal:interrupt_rtl:1.0 $core
ipx::associate_bus_interfaces -clock {{ CLOCK }} -reset {{ RESET }} $core
{% for bus in design.interfaces if bus.kind == "aximm" %}
ipx::associate_bus_interfaces -busif {{ bus.name }} -clock {{ CLOCK }} $core
{% endfor %}

# What the names of the ports do not tell.
proc parameter {core interface name value} {
    set bus [ipx::get_bus_interfaces $interface -of_objects $core]
    if {$bus eq ""} {
        error "Vivado has found no interface $interface"
    }
    set parameter [ipx::get_bus_parameters $name -quiet -of_objects $bus]
    if {$parameter eq ""} {
        set parameter [ipx::add_bus_parameter $name $bus]
    }
    set_property value $value $parameter
}
{% for bus in design.interfaces %}
{% for key, value in bus.parameters.items() if not key.startswith("ASSOCIATED") and not key.endswith("_WIDTH") %}
parameter $core {{ bus.name }} {{ key }} {{ value }}
{% endfor %}
{% endfor %}

# One address block with the registers, in place of what was inferred: PYNQ names the IP after it if there are two.
foreach map [ipx::get_memory_maps -quiet * -of_objects $core] {
    ipx::remove_memory_map [get_property name $map] $core
}
set map [ipx::add_memory_map {{ CONTROL }} $core]
set_property slave_memory_map_ref {{ CONTROL }} [ipx::get_bus_interfaces {{ CONTROL }} -of_objects $core]
set block [ipx::add_address_block {{ block }} $map]
set_property usage register $block
set_property range {{ range }} $block
set_property width 32 $block

proc register {block name offset access doc fields} {
    set register [ipx::add_register $name $block]
    set_property address_offset $offset $register
    set_property size 32 $register
    set_property access $access $register
    set_property description $doc $register
    foreach {name lsb bits access doc} $fields {
        set field [ipx::add_field $name $register]
        set_property bit_offset $lsb $field
        set_property bit_width $bits $field
        set_property access $access $field
        set_property description $doc $field
    }
}
{% for word in words %}
register $block {{ word.name }} {{ "0x%03X" % word.offset }} {{ word.access }} {{ "{" ~ word.doc ~ "}" }} {
{% for part in word.fields %}
    {{ part.name }} {{ part.lsb }} {{ part.bits }} {{ part.access }} {{ "{" ~ part.doc ~ "}" }}
{% endfor %}
}
{% endfor %}

# For package_xo.tcl.
set_property sdx_kernel true $core
set_property sdx_kernel_type rtl $core

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
