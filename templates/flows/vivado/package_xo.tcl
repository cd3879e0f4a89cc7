# A kernel of Vitis (.xo), to be linked with `v++ -l` for an Alveo card or a Kria platform. Argument: part.
#   vivado -mode batch -source vivado/package_xo.tcl -tclargs {{ alveo.part }}
source [file join [file dirname [file normalize [info script]]] package_ip.tcl]
package_xo -force -xo_path [file join $out $top.xo] -kernel_name $top -ip_directory [file join $out ip] -kernel_xml [file join $here kernel.xml]
