# Projects, synthesis, implementation, reports.
set PARTS {xczu9eg-ffvb1156-2-e xck26-sfvc784-2LV-c xc7z020clg400-1 xcu280-fsvh2892-2L-e}
set BOARD_PARTS {
    xilinx.com:zcu102:part0:3.4 xczu9eg-ffvb1156-2-e
    xilinx.com:kv260_som:part0:1.4 xck26-sfvc784-2LV-c
    tul.com.tw:pynq-z2:part0:1.0 xc7z020clg400-1
}
set STAGES {synth opt place route}
# project: its directory, "memory", or "" when none is open; stage: of the design in memory.
array set S {
    project "" name "" part "" board_part "" repository "" files {} constraints {} top "" stage "" period "" ports {}
    launched "" finished "" opened ""
}

proc need_project {} {
    if {$::S(project) eq ""} {
        fail "no project is open"
    }
}
proc need_design {} {
    if {$::S(stage) eq ""} {
        fail "no design is in memory"
    }
}

proc do_get_parts {options words} {
    return [lsearch -all -inline $::PARTS [lindex $words 0]]
}
proc do_get_board_parts {options words} {
    return [lsearch -all -inline [dict keys $::BOARD_PARTS] [lindex $words 0]]
}

proc do_create_project {options words} {
    global S PARTS
    if {$S(project) ne ""} {
        fail "a project is open already"
    }
    set S(part) [option $options -part ""]
    if {$S(part) ni $PARTS} {
        fail "unknown part $S(part)"
    }
    if {[dict exists $options -in_memory]} {
        set S(project) memory
        return
    }
    lassign $words S(name) directory
    if {$directory eq ""} {
        fail "create_project: a directory must be given"
    }
    if {[file exists $directory] && ![dict exists $options -force]} {
        fail "$directory exists"
    }
    file delete -force $directory
    file mkdir $directory
    set S(project) $directory
}
proc do_close_project {options words} {
    need_project
    set ::S(project) ""
}
proc do_current_project {options words} {
    need_project
    return project:current
}
proc do_current_fileset {options words} {
    need_project
    return fileset:sources_1
}
proc do_add_files {options words} {
    global S
    need_project
    set kind [expr {[option $options -fileset sources_1] eq "constrs_1" ? "constraints" : "files"}]
    foreach path $words {
        read_file $path
        lappend S($kind) $path
    }
}
proc do_get_files {options words} {
    need_project
    foreach path [concat $::S(files) $::S(constraints)] {
        if {[string match [lindex $words 0] [file tail $path]]} {
            return file:$path
        }
    }
    fail "get_files: no file [lindex $words 0] in the project"
}
proc do_update_compile_order {options words} {
    need_project
}

# Modules of a Verilog file, and the ports of one: name → {direction bits}.
proc modules {path} {
    set found {}
    foreach {- name} [regexp -all -inline -line {^\s*module\s+(\w+)} [read_file $path]] {
        lappend found $name
    }
    return $found
}
proc ports_of {path module} {
    set text [read_file $path]
    regexp -indices "module\\s+$module\\y" $text at
    set text [string range $text [lindex $at 0] end]
    set text [string range $text 0 [string first endmodule $text]]
    set ports [dict create]
    set pattern {^\s*(?:\(\*.*\*\)\s*)?(input|output)\s+(?:wire\s+|reg\s+)?(?:\[(\d+):0\]\s*)?(\w+)\s*;}
    foreach {- direction high name} [regexp -all -inline -line $pattern $text] {
        dict set ports $name [list $direction [expr {$high eq "" ? 1 : $high + 1}]]
    }
    return $ports
}
proc file_of_module {module} {
    foreach path $::S(files) {
        if {$module in [modules $path]} {
            return $path
        }
    }
    fail "no source with the module $module"
}

proc do_read_verilog {options words} {
    need_project
    foreach path $words {
        read_file $path
        lappend ::S(files) $path
    }
}
proc do_read_xdc {options words} {
    need_project
    if {[option $options -mode default] ni {default out_of_context}} {
        fail "read_xdc: unknown mode [dict get $options -mode]"
    }
    read_file [lindex $words 0]
    lappend ::S(constraints) [lindex $words 0]
}

# Constraints may do little more than define clocks at ports that exist.
proc apply_constraints {} {
    foreach path $::S(constraints) {
        set interpreter [interp create -safe]
        interp alias $interpreter create_clock {} xdc_create_clock
        interp alias $interpreter get_ports {} xdc_get_ports
        set failed [catch {$interpreter eval [read_file $path]} message]
        interp delete $interpreter
        if {$failed} {
            fail "[file tail $path]: $message"
        }
    }
}
proc xdc_get_ports {name} {
    if {![dict exists $::S(ports) $name]} {
        fail "get_ports: no port $name"
    }
    return port:$name
}
proc xdc_create_clock {args} {
    if {[llength $args] != 5 || [kind [lindex $args 4]] ne "port"} {
        fail "create_clock: -name NAME -period NS PORT"
    }
    set period [dict get [lrange $args 0 3] -period]
    if {![string is double -strict $period] || $period <= 0} {
        fail "create_clock: period $period"
    }
    set ::S(period) $period
}

proc do_synth_design {options words} {
    global S
    need_project
    set S(top) [option $options -top ""]
    set S(part) [option $options -part $S(part)]
    if {[option $options -mode default] ni {default out_of_context}} {
        fail "synth_design: unknown mode [dict get $options -mode]"
    }
    set S(ports) [ports_of [file_of_module $S(top)] $S(top)]
    apply_constraints
    if {$S(period) eq ""} {
        fail "synth_design: no clock is defined"
    }
    set S(stage) synth
}
proc step {command needed stage} {
    global S
    need_design
    if {$S(stage) ni $needed} {
        fail "$command after $S(stage): needs [join $needed { or }]"
    }
    set S(stage) $stage
}
proc do_opt_design {options words} {
    step opt_design synth opt
}
proc do_place_design {options words} {
    step place_design opt place
}
proc do_phys_opt_design {options words} {
    step phys_opt_design {place route} $::S(stage)
}
proc do_route_design {options words} {
    step route_design place route
}
proc do_write_bitstream {options words} {
    step write_bitstream route route
    write_file [lindex $words 0] bitstream
}
proc do_write_checkpoint {options words} {
    global S
    need_design
    set path [lindex $words 0]
    if {[file exists $path] && ![dict exists $options -force]} {
        fail "$path exists"
    }
    write_file $path [list $S(top) $S(part) $S(stage) $S(period)]
}
proc do_open_checkpoint {options words} {
    global S
    lassign [read_file [lindex $words 0]] S(top) S(part) S(stage) S(period)
    set S(project) memory
}

proc slack {} {
    return [expr {[info exists ::env(STUB_WNS)] ? $::env(STUB_WNS) : 0.125}]
}
proc report {options text} {
    need_design
    if {![dict exists $options -file]} {
        puts $text
    } else {
        write_file [dict get $options -file] $text
    }
}
proc do_report_utilization {options words} {
    report $options [expr {[dict exists $options -hierarchical] ? [hierarchy_report] : [utilization_report]}]
}
proc do_report_timing_summary {options words} {
    report $options [timing_report]
}
proc do_report_high_fanout_nets {options words} {
    report $options "no nets\n"
}

proc do_get_runs {options words} {
    need_project
    if {[lindex $words 0] ni {synth_1 impl_1}} {
        fail "get_runs: no run [lindex $words 0]"
    }
    return run:[lindex $words 0]
}
proc run_directory {} {
    global S
    return [file join $S(project) $S(name).runs impl_1]
}
proc do_launch_runs {options words} {
    global S
    need_project
    if {$words ne "impl_1"} {
        fail "launch_runs: no run $words"
    }
    if {[option $options -to_step write_bitstream] ni {opt_design place_design phys_opt_design route_design write_bitstream}} {
        fail "launch_runs: no step [dict get $options -to_step]"
    }
    if {![string is integer -strict [option $options -jobs 1]]} {
        fail "launch_runs: -jobs [dict get $options -jobs]"
    }
    if {$S(top) eq ""} {
        fail "launch_runs: the project has no top module"
    }
    file_of_module $S(top)
    need_generated
    set S(launched) [option $options -to_step route_design]
}
proc do_wait_on_run {options words} {
    global S
    if {$S(launched) eq ""} {
        fail "wait_on_run: $words was not launched"
    }
    set S(finished) $S(launched)
    file mkdir [run_directory]
    if {$S(finished) eq "write_bitstream"} {
        write_file [file join [run_directory] $S(top).bit] bitstream
    }
}
proc do_open_run {options words} {
    global S
    if {$S(finished) eq ""} {
        fail "open_run: the run has not finished"
    }
    set S(opened) $words
    set S(stage) route
    set S(period) [expr {1e9 / [clock_frequency]}]
}
proc do_write_hw_platform {options words} {
    global S
    if {$S(opened) eq ""} {
        fail "write_hw_platform: no implemented design is open"
    }
    if {[dict exists $options -include_bit] && $S(finished) ne "write_bitstream"} {
        fail "write_hw_platform: there is no bitstream"
    }
    if {[file extension [lindex $words 0]] ne ".xsa"} {
        fail "write_hw_platform: the file must end with .xsa"
    }
    write_file [lindex $words 0] platform
}

proc do_get_property {options words} {
    lassign $words name object
    set name [string toupper $name]
    switch [kind $object] {
        run {
            switch $name {
                PROGRESS {return [expr {$::S(finished) eq "" ? "0%" : "100%"}]}
                DIRECTORY {return [run_directory]}
                STATS.WNS {return [slack]}
            }
        }
        pin {
            if {$name eq "CONFIG.FREQ_HZ"} {
                return [expr {round([clock_frequency])}]
            }
        }
        map {
            if {$name eq "NAME"} {
                return [name_of $object]
            }
        }
    }
    fail "get_property: {$object} has no property $name"
}
proc do_set_property {options words} {
    set pairs [option $options -dict [lrange $words 0 1]]
    set objects [expr {[dict exists $options -dict] ? $words : [lrange $words 2 end]}]
    if {[join $objects ""] eq ""} {
        fail "set_property: no object"
    }
    foreach object [join $objects] {
        foreach {name value} $pairs {
            set_[kind $object]_property $object [string toupper $name] $value
        }
    }
}
proc set_project_property {object name value} {
    global S
    switch $name {
        BOARD_PART {
            if {![dict exists $::BOARD_PARTS $value] || [dict get $::BOARD_PARTS $value] ne $S(part)} {
                fail "board part $value: not of part $S(part)"
            }
            set S(board_part) $value
        }
        IP_REPO_PATHS {
            set S(repository) $value
        }
        default {
            fail "a project has no property $name"
        }
    }
}
proc set_fileset_property {object name value} {
    if {$name ne "TOP"} {
        fail "a fileset has no property $name"
    }
    file_of_module $value
    set ::S(top) $value
}
proc set_file_property {object name value} {
    if {$name ne "USED_IN"} {
        fail "a file has no property $name"
    }
    foreach use $value {
        if {$use ni {synthesis implementation simulation out_of_context}} {
            fail "USED_IN: unknown use $use"
        }
    }
}
