# A stand-in for Vivado that runs a script and refuses what Vivado would refuse: commands and options it does not have,
# files that are not there, steps in the wrong order, pins and properties that an IP lacks, connections that do not fit.
#   tclsh vivado.tcl -mode batch -source SCRIPT [-tclargs ARGUMENT ...]
# STUB_FAIL=COMMAND in the environment makes that command fail; STUB_WNS is the slack that is reported, in ns.
set HOME [file dirname [file normalize [info script]]]
foreach part {stub commands flow reports packager ips design} {
    source [file join $HOME $part.tcl]
}

proc main {arguments} {
    if {[llength $arguments] < 4 || [lrange $arguments 0 2] ne {-mode batch -source}} {
        fail "usage: -mode batch -source SCRIPT ?-tclargs ARGUMENT ...?"
    }
    set rest [lrange $arguments 4 end]
    if {[llength $rest] && [lindex $rest 0] ne "-tclargs"} {
        fail "unknown option [lindex $rest 0]"
    }
    [interpreter [lrange $rest 1 end]] eval [list source [lindex $arguments 3]]
}
if {[catch {main $argv} message]} {
    puts stderr "ERROR: $message"
    exit 1
}
