# The kernel in Vitis HLS. Steps: csim (sources and testbench as a program), csynth, cosim (the testbench on the RTL),
# export (the IP). cosim and export take the RTL of an earlier run if csynth is not asked for. What is written goes to
# hls/vitis/build. Arguments in any order, each with a default:
#   vitis_hls -f hls/vitis/run_hls.tcl part={{ target.device.part }} mhz={{ target.mhz }} steps=csim,csynth,export
set top {{ target.top }}
set here [file dirname [file normalize [info script]]]
set out [file join $here build]
set sources [file normalize [file join $here .. src]]
set bench [file normalize [file join $here .. tb]]

proc give_up {text} {
    puts stderr "ERROR: $text"
    exit 1
}
# An error in a script does not end every version of Vitis HLS with an exit code.
proc guarded {name body} {
    if {[catch {uplevel #0 $body} message]} {
        give_up "$name: $message"
    }
}
proc step {name body} {
    global steps
    if {$name in $steps} {
        puts "hwgen: $name"
        guarded $name $body
    }
}

array set given {part {{ target.device.part }} mhz {{ target.mhz }} steps csim,csynth,export}
# Some versions leave the tool's own options in argv, vitis-run has none.
if {![info exists argv]} {
    set argv {}
}
foreach word $argv {
    if {[regexp {^(\w+)=(.*)$} $word - name value]} {
        if {![info exists given($name)]} {
            give_up "unknown argument $name: must be part, mhz or steps"
        }
        set given($name) $value
    }
}
set steps [split $given(steps) ,]
foreach name $steps {
    if {$name ni {csim csynth cosim export}} {
        give_up "unknown step \"$name\": must be csim, csynth, cosim or export"
    }
}
if {![string is double -strict $given(mhz)] || $given(mhz) <= 0} {
    give_up "the clock must be a frequency in MHz, not \"$given(mhz)\""
}

guarded setup {
    file mkdir $out
    cd $out
    if {"csynth" in $steps} {
        open_project -reset hwgen
    } else {
        open_project hwgen
    }
    set_top $top
    set cflags "-std=c++17 -I$sources"
    foreach file [lsort [glob [file join $sources *.cpp]]] {
        add_files [list $file] -cflags $cflags
    }
    # csim and cosim find the data in their working directory, where the tool puts them.
    foreach file [lsort [glob -nocomplain [file join $bench *]]] {
        if {[file extension $file] eq ".cpp"} {
            add_files -tb [list $file] -cflags $cflags
        } else {
            add_files -tb [list $file]
        }
    }
    open_solution -flow_target vivado solution
    set_part $given(part)
    create_clock -period [format %.3f [expr {1000.0 / $given(mhz)}]] -name default
    config_interface -m_axi_addr64
    config_rtl -reset_level low
    config_export -format ip_catalog -rtl verilog -vendor {{ vendor }} -library {{ library }} -ipname {{ name }} \
        -version {{ version }} -display_name {{ name }} -description {{ '{' ~ description ~ '}' }}
}
step csim {
    csim_design -clean
}
step csynth {
    csynth_design
}
step cosim {
    cosim_design -rtl verilog
}
step export {
    export_design
}
guarded end {
    close_project
}
exit 0
