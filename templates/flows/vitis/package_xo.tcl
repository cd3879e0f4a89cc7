# A kernel of Vitis (.xo) of the IP that Vitis HLS has exported, in hls/vitis/build. Arguments: part, directory of the IP.
#   vivado -mode batch -source hls/vitis/package_xo.tcl -tclargs {{ target.device.part }}
set here [file dirname [file normalize [info script]]]
set out [file join $here build]
set part [expr {[llength $argv] > 0 ? [lindex $argv 0] : "{{ target.device.part }}"}]
# Those of run_hls.tcl and of hls_config.cfg.
set exported [list [file join $out hwgen solution impl ip] [file join $out unified hls impl ip]]
if {[llength $argv] > 1} {
    set exported [list [lindex $argv 1]]
}
set from ""
foreach directory $exported {
    if {$from eq "" && [file exists [file join $directory component.xml]]} {
        set from $directory
    }
}
if {$from eq ""} {
    error "no IP in [join $exported { or }]: export it first, hls/vitis/README.md"
}

# A copy, as the IP becomes a kernel by a mark in it.
set ip [file join $out kernel]
file delete -force $ip
file copy $from $ip
create_project -in_memory -part $part
ipx::open_core [file join $ip component.xml]
set core [ipx::current_core]
set_property sdx_kernel true $core
set_property sdx_kernel_type rtl $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
package_xo -force -xo_path [file join $out {{ name }}.xo] -kernel_name {{ name }} -ip_directory $ip -kernel_xml [file join $here kernel.xml]
