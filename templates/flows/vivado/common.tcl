# Written by `hwgen build`; what the scripts beside it share. All that they write goes to vivado/build.
set top {{ design.top }}
set vlnv {{ design.vlnv }}
set here [file dirname [file normalize [info script]]]
set out [file join $here build]
set verilog [file normalize [file join $here {{ verilog }}]]
file mkdir $out

# Argument `place` of -tclargs, or what it is without.
proc argument {place default} {
    global argv
    return [expr {$place < [llength $argv] ? [lindex $argv $place] : $default}]
}

proc check_part {part} {
    if {[llength [get_parts -quiet $part]] != 1} {
        error "$part is not a part of this Vivado: is its family installed?"
    }
}

proc check_frequency {mhz} {
    if {![string is double -strict $mhz] || $mhz <= 0} {
        error "the clock must be a frequency in MHz, not \"$mhz\""
    }
}

# clock.xdc with the period of this frequency; returns the new file.
proc constraints_at {mhz} {
    global here out
    set file [open [file join $here clock.xdc]]
    set text [read $file]
    close $file
    if {[regsub -all -- {-period \S+} $text "-period [format %.3f [expr {1000.0 / $mhz}]]" text] != 1} {
        error "clock.xdc must define one clock"
    }
    set path [file join $out clock.xdc]
    set file [open $path w]
    puts -nonewline $file $text
    close $file
    return $path
}

# The IP that package_ip.tcl made, or else the ready one.
proc ip_repository {} {
    global here out
    set packaged [file join $out ip]
    return [expr {[file exists [file join $packaged component.xml]] ? $packaged : [file join $here ip]}]
}

proc reports {stage} {
    global out
    report_utilization -file [file join $out ${stage}_utilization.rpt]
    report_utilization -hierarchical -file [file join $out ${stage}_hierarchy.rpt]
    report_timing_summary -max_paths 10 -file [file join $out ${stage}_timing.rpt]
    report_high_fanout_nets -max_nets 20 -file [file join $out ${stage}_fanout.rpt]
}
