# A stand-in for Vitis HLS that runs a script and refuses what Vitis HLS would refuse: commands and options it does not
# have (as in UG1399, 2023.2), files that are not there, steps in the wrong order, a testbench whose data are missing.
#   tclsh vitis.tcl -f SCRIPT [ARGUMENT ...]
# STUB_FAIL=COMMAND in the environment makes that command fail. Results are in the project's directory, as there.
set HOME [file dirname [file normalize [info script]]]
source [file join $HOME stub.tcl]

set COMMANDS {
    open_project {-reset -upgrade} {} 1 1
    close_project {} {} 0 0
    set_top {} {} 1 1
    add_files {-tb -blackbox -appendflags} {-cflags -csimflags} 1 1
    open_solution {-reset} {-flow_target} 1 1
    set_part {} {-board} 0 1
    create_clock {} {-name -period} 0 0
    config_interface
        {-m_axi_addr64 -clock_enable -s_axilite_data64 -s_axilite_sw_reset -m_axi_conservative_mode -m_axi_flush_mode}
        {-m_axi_offset -m_axi_latency -m_axi_alignment_byte_size -m_axi_max_widen_bitwidth -m_axi_auto_max_ports
         -m_axi_max_read_burst_length -m_axi_max_write_burst_length -m_axi_num_read_outstanding
         -m_axi_num_write_outstanding -m_axi_buffer_impl -default_slave_interface -s_axilite_interrupt_mode
         -register_io}
        0 0
    config_rtl
        {-register_all_io -kernel_profile -reset_async -module_auto_prefix -mult_keep_attribute}
        {-reset -reset_level -register_reset_num -header -module_prefix -deadlock_detection}
        0 0
    config_compile
        {-no_signed_zeros -unsafe_math_optimizations -pragma_strict_mode -enable_auto_rewind -ignore_long_run_time}
        {-name_max_length -pipeline_loops -pipeline_style -pipeline_flush_in_task -performance_budgeter}
        0 0
    config_export
        {}
        {-format -rtl -flow -vendor -library -ipname -version -display_name -description -taxonomy -output
         -ip_xdc_file -ip_xdc_ooc_file -vivado_clock -vivado_synth_strategy -vivado_impl_strategy
         -vivado_optimization_level -vivado_report_level -vivado_phys_opt -vivado_pblock}
        0 0
    csim_design {-O -clean -setup -code_analyzer} {-argv -ldflags -mflags} 0 0
    csynth_design {-dump_cfg -dump_post_cfg -synthesis_check} {} 0 0
    cosim_design
        {-O -setup -coverage -random_stall -wave_debug -disable_deadlock_detection -disable_dependency_check
         -enable_dataflow_profiling -enable_fifo_sizing -enable_tasks_with_m_axi -stable_axilite_update}
        {-argv -ldflags -mflags -rtl -tool -trace_level -compiled_library_dir -user_stall}
        0 0
    export_design {} {-format -rtl -flow -vendor -library -ipname -version -display_name -description -taxonomy -output}
        0 0
}
set PARTS {xczu9eg-ffvb1156-2-e xck26-sfvc784-2LV-c xc7z020clg400-1 xcu280-fsvh2892-2L-e}
set ALLOWED {
    -flow_target {vivado vitis} -rtl {verilog vhdl} -format {ip_catalog syn_dcp sysgen xo} -flow {none syn impl}
    -tool {auto vcs modelsim riviera xsim ncsim xceilum} -trace_level {none all port port_hier} -reset_level {low high}
}
# sources, bench: path → its flags.
array set H {project "" top "" sources {} bench {} solution "" target "" part "" period "" export {}}

# Here an option may be -NAME=VALUE, too; that of a flag is then true or false.
rename command plain_command
proc command {name flags valued least most args} {
    set words {}
    foreach word $args {
        if {[regexp {^(-\w+)=(.*)$} $word - option value] && $option in [concat $flags $valued]} {
            if {$option in $valued} {
                lappend words $option $value
            } elseif {![string is boolean -strict $value]} {
                fail "$name: $option is true or false, not $value"
            } elseif {$value} {
                lappend words $option
            }
        } else {
            lappend words $word
        }
    }
    foreach {option value} $words {
        if {$option in $valued && [dict exists $::ALLOWED $option] && $value ni [dict get $::ALLOWED $option]} {
            fail "$name: $option cannot be $value"
        }
    }
    return [plain_command $name $flags $valued $least $most {*}$words]
}

proc need {command what} {
    foreach name $what {
        if {$::H($name) eq ""} {
            fail "$command: no $name"
        }
    }
}
proc home {args} {
    return [file join $::H(project) $::H(solution) {*}$args]
}
proc report_file {} {
    return [home syn report $::H(top)_csynth.xml]
}
proc need_rtl {command} {
    need $command {project top solution}
    if {![file exists [report_file]]} {
        fail "$command: no RTL: csynth_design has not run"
    }
}

proc do_open_project {options words} {
    global H
    set H(project) [file normalize [lindex $words 0]]
    if {[dict exists $options -reset]} {
        file delete -force $H(project)
    }
    file mkdir $H(project)
}
proc do_close_project {options words} {
    need close_project project
    set ::H(project) ""
}
proc do_set_top {options words} {
    need set_top project
    set ::H(top) [lindex $words 0]
}
proc do_add_files {options words} {
    global H
    need add_files project
    set flags [option $options -cflags ""]
    foreach flag $flags {
        if {[regexp {^-I(.*)$} $flag - directory]} {
            if {![file isdirectory $directory]} {
                fail "add_files: no directory $directory"
            }
        } elseif {[string match -std=* $flag] && ![regexp {^-std=(c|gnu)\+\+(0x|11|14|17|20)$} $flag]} {
            fail "add_files: unknown flag $flag"
        }
    }
    set kind [expr {[dict exists $options -tb] ? "bench" : "sources"}]
    foreach path [lindex $words 0] {
        read_file $path
        dict set H($kind) [file normalize $path] $flags
    }
}
proc do_open_solution {options words} {
    global H
    need open_solution project
    set H(solution) [lindex $words 0]
    set H(target) [option $options -flow_target ""]
    file mkdir [home]
}
proc do_set_part {options words} {
    need set_part {project solution}
    if {[lindex $words 0] ni $::PARTS} {
        fail "set_part: unknown part {[lindex $words 0]}"
    }
    set ::H(part) [lindex $words 0]
}
proc do_create_clock {options words} {
    need create_clock {project solution}
    if {![regexp {^([0-9.]+)(ns|MHz)?$} [option $options -period ""] - period unit] || $period <= 0} {
        fail "create_clock: period {[option $options -period {}]}"
    }
    set ::H(period) [expr {$unit eq "MHz" ? 1000.0 / $period : $period}]
}
foreach name {interface rtl compile} {
    proc do_config_$name {options words} "need config_$name {project solution}"
}
proc do_config_export {options words} {
    need config_export {project solution}
    set ::H(export) [dict merge $::H(export) $options]
}

# Every file that one includes is beside it or in a directory of -I; kernel.h needs C++17.
proc check_includes {command files} {
    dict for {path flags} $files {
        if {[file extension $path] ne ".cpp"} {
            continue
        }
        set directories [list [file dirname $path]]
        foreach flag $flags {
            if {[regexp {^-I(.*)$} $flag - directory]} {
                lappend directories $directory
            }
        }
        foreach {- name} [regexp -all -inline -line {^#include "([^"]*)"} [read_file $path]] {
            set found 0
            foreach directory $directories {
                set found [expr {$found || [file exists [file join $directory $name]]}]
            }
            if {!$found} {
                fail "$command: [file tail $path] includes $name, which is in no directory of -I"
            }
        }
        if {![regexp {\+\+(17|20)( |$)} $flags]} {
            fail "$command: [file tail $path] is not compiled as C++17"
        }
    }
}
# The testbench has one function main; each file that it names goes to the working directory, as it was added.
proc check_bench {command} {
    global H
    check_includes $command [dict merge $H(sources) $H(bench)]
    set names {}
    set mains 0
    foreach path [dict keys $H(bench)] {
        lappend names [file tail $path]
        if {[file extension $path] in {.cpp .h}} {
            incr mains [regexp {\yint main\(} [read_file $path]]
        }
    }
    if {$mains != 1} {
        fail "$command: $mains functions main in the testbench"
    }
    foreach path [dict keys $H(bench)] {
        if {[file extension $path] in {.cpp .h}} {
            foreach {- name} [regexp -all -inline {"(\w+\.dat)"} [read_file $path]] {
                if {$name ni $names} {
                    fail "$command: the testbench reads $name, which is not there"
                }
            }
        }
    }
}

proc do_csim_design {options words} {
    need csim_design {project top sources bench solution}
    check_bench csim_design
    file mkdir [home csim build]
}
proc do_csynth_design {options words} {
    global H HOME
    need csynth_design {project top sources solution part period}
    check_includes csynth_design $H(sources)
    set found 0
    foreach path [dict keys $H(sources)] {
        set found [expr {$found || [regexp "extern \"C\" void $H(top)\\(\[^;]*\\x7b" [read_file $path]]}]
    }
    if {!$found} {
        fail "csynth_design: no source has the function $H(top)"
    }
    if {$H(target) ne "vivado"} {
        fail "csynth_design: m_axi with offset=off needs the flow target vivado"
    }
    file mkdir [home syn report]
    set facts [list @TOP@ $H(top) @PART@ $H(part) @PERIOD@ [format %.2f $H(period)] \
        @ESTIMATED@ [format %.3f [expr {0.73 * $H(period)}]]]
    write_file [report_file] [string map $facts [read_file [file join $HOME csynth.xml]]]
    write_file [file rootname [report_file]].rpt "== Vitis HLS Report for '$H(top)'\n"
}
proc do_cosim_design {options words} {
    need_rtl cosim_design
    need cosim_design bench
    check_bench cosim_design
    file mkdir [home sim report]
}
# The IP of the bundles that the pragmas name.
proc do_export_design {options words} {
    global H
    need_rtl export_design
    set options [dict merge $H(export) $options]
    if {[option $options -format ip_catalog] ne "ip_catalog"} {
        fail "export_design: no IP for a repository"
    }
    set vlnv ""
    foreach {option element allowed} {-vendor vendor {^[\w.]+$} -library library {^\w+$} -ipname name {^\w+$}
                                      -version version {^\d+\.\d+$}} {
        if {![regexp $allowed [option $options $option ""]]} {
            fail "export_design: $option {[option $options $option {}]}"
        }
        append vlnv "<spirit:$element>[dict get $options $option]</spirit:$element>\n"
    }
    set modes [dict create]
    foreach path [dict keys $H(sources)] {
        foreach {- mode bundle} [regexp -all -inline -line {^#pragma HLS INTERFACE (\w+) .*bundle=(\w+)} [read_file $path]] {
            dict set modes [expr {$mode eq "m_axi" ? "m_axi" : "s_axi"}]_$bundle [expr {$mode eq "m_axi" ? "master" : "slave"}]
        }
    }
    set buses ""
    dict for {name mode} $modes {
        append buses "<spirit:busInterface><spirit:name>$name</spirit:name>\n<spirit:busType spirit:vendor=\"xilinx.com\"\
            spirit:library=\"interface\" spirit:name=\"aximm\" spirit:version=\"1.0\"/><spirit:$mode/></spirit:busInterface>\n"
    }
    file mkdir [home impl ip]
    write_file [home impl ip component.xml] "<spirit:component>\n$vlnv$buses<spirit:addressBlock>\n<spirit:name>reg0</spirit:name>\
        <spirit:range>4096</spirit:range></spirit:addressBlock>\n</spirit:component>\n"
}

if {[llength $argv] < 2 || [lindex $argv 0] ne "-f"} {
    puts stderr "usage: -f SCRIPT ?ARGUMENT ...?"
    exit 2
}
if {[catch {[interpreter $argv] eval [list source [lindex $argv 1]]} message]} {
    puts stderr "ERROR: $message"
    exit 1
}
