# Block designs: cells, connections, addresses, validation.
# nets: pin → net; links: interface pin → its peer; mapped: {space segment} → {offset range}; excluded: {space segment}.
array set BD {name "" cells {} nets {} count 0 links {} mapped {} excluded {} valid 0 saved 0 generated 0 catalog ""}

proc need_bd {} {
    if {$::BD(name) eq ""} {
        fail "no block design is open"
    }
}
proc changed {} {
    array set ::BD {valid 0 saved 0 generated 0}
}
proc need_generated {} {
    if {$::BD(name) ne "" && !$::BD(generated)} {
        fail "the block design is not generated"
    }
}

proc do_update_ip_catalog {options words} {
    need_project
    if {$::S(repository) ne ""} {
        set ::BD(catalog) [read_component $::S(repository)]
    }
}
proc do_create_bd_design {options words} {
    need_project
    set ::BD(name) [lindex $words 0]
    lappend ::S(files) [file join $::S(project) $::S(name).srcs sources_1 bd $::BD(name) $::BD(name).bd]
}
proc do_create_bd_cell {options words} {
    global BD
    need_bd
    changed
    if {[option $options -type ip] ne "ip"} {
        fail "create_bd_cell: only IPs"
    }
    set name [lindex $words 0]
    if {[dict exists $BD(cells) $name]} {
        fail "create_bd_cell: $name exists"
    }
    lassign [split [option $options -vlnv ""] :] vendor library ip version
    if {$vendor eq "xilinx.com" && $library eq "ip" && $ip in $::IPS} {
        dict set BD(cells) $name [dict create ip $ip config {} preset 0]
    } elseif {$BD(catalog) ne "" && [dict get $BD(catalog) vlnv] eq [dict get $options -vlnv]} {
        dict set BD(cells) $name [dict create ip "" config {} preset 1]
    } else {
        fail "create_bd_cell: no IP [option $options -vlnv {}] in the catalog"
    }
    return cell:$name
}
proc definition {cell} {
    set about [dict get $::BD(cells) $cell]
    if {[dict get $about ip] eq ""} {
        return [ip_of_component $::BD(catalog)]
    }
    return [ip_[dict get $about ip] [dict get $about config]]
}
proc processor {} {
    foreach {cell about} $::BD(cells) {
        if {[dict get $about ip] in {zynq_ultra_ps_e processing_system7}} {
            return $cell
        }
    }
    fail "the design has no processor"
}
proc clock_frequency {} {
    return [expr {1e6 * [dict get [definition [processor]] frequency]}]
}

proc do_apply_bd_automation {options words} {
    changed
    set cell [name_of [lindex $words 0]]
    check_kind [lindex $words 0] cell
    set ip [dict get $::BD(cells) $cell ip]
    if {[option $options -rule ""] ne "xilinx.com:bd_rule:$ip"} {
        fail "apply_bd_automation: no rule [option $options -rule {}] for $cell"
    }
    set config [option $options -config {}]
    if {$ip eq "processing_system7" && ![string match *DDR* [value $config make_external ""]]} {
        fail "apply_bd_automation: DDR and FIXED_IO must be made external"
    }
    if {$::S(board_part) eq ""} {
        fail "apply_bd_automation: the project has no board"
    }
    dict set ::BD(cells) $cell preset [value $config apply_board_preset 0]
}
proc set_cell_property {object name value} {
    changed
    set cell [name_of $object]
    set name [string map {CONFIG. ""} $name]
    set parameters [dict get [definition $cell] parameters]
    if {![dict exists $parameters $name]} {
        fail "$cell has no parameter $name"
    }
    set allowed [dict get $parameters $name]
    if {$allowed eq "MHZ" ? ![string is double -strict $value] || $value <= 0 || $value > 666 : $value ni $allowed} {
        fail "$cell: $name cannot be $value"
    }
    dict set ::BD(cells) $cell config $name $value
}

proc do_get_bd_cells {options words} {
    need_bd
    if {![dict exists $::BD(cells) [lindex $words 0]]} {
        fail "get_bd_cells: no cell [lindex $words 0]"
    }
    return cell:[lindex $words 0]
}
proc find_pin {what word} {
    need_bd
    lassign [split $word /] cell pin
    if {![dict exists $::BD(cells) $cell]} {
        fail "no cell $cell"
    }
    if {![dict exists [definition $cell] $what $pin]} {
        fail "$cell has no pin $pin"
    }
    return $word
}
proc do_get_bd_pins {options words} {
    return pin:[find_pin pins [lindex $words 0]]
}
proc do_get_bd_intf_pins {options words} {
    return intf:[find_pin intf [lindex $words 0]]
}
proc about {what word} {
    lassign [split $word /] cell pin
    return [dict get [definition $cell] $what $pin]
}

# A net has one driver; what it drives is of the driver's kind.
proc do_connect_bd_net {options words} {
    global BD
    changed
    set pins {}
    set net ""
    foreach object $words {
        check_kind $object pin
        set pin [name_of $object]
        lappend pins $pin
        if {[dict exists $BD(nets) $pin]} {
            if {$net ni [list "" [dict get $BD(nets) $pin]]} {
                fail "connect_bd_net: $pin is connected already"
            }
            set net [dict get $BD(nets) $pin]
        }
    }
    if {$net eq ""} {
        set net net[incr BD(count)]
    }
    foreach pin $pins {
        dict set BD(nets) $pin $net
    }
    set drivers {}
    set kinds {}
    foreach {pin other} $BD(nets) {
        if {$other eq $net} {
            lassign [about pins $pin] direction kind
            if {$direction eq "out"} {
                lappend drivers $pin
            }
            if {$kind ni [concat $kinds optional]} {
                lappend kinds $kind
            }
        }
    }
    if {[llength $drivers] != 1} {
        fail "connect_bd_net: drivers {$drivers} of $pins"
    }
    if {[llength $kinds] > 1} {
        fail "connect_bd_net: $pins: $kinds do not go together"
    }
}
proc do_connect_bd_intf_net {options words} {
    global BD
    changed
    set modes {}
    foreach object $words {
        check_kind $object intf
        if {[dict exists $BD(links) [name_of $object]]} {
            fail "connect_bd_intf_net: [name_of $object] is connected already"
        }
        lappend modes [lindex [about intf [name_of $object]] 0]
    }
    if {[lsort $modes] ne {master slave}} {
        fail "connect_bd_intf_net: $words are {$modes}"
    }
    lassign $words one other
    dict set BD(links) [name_of $one] [name_of $other]
    dict set BD(links) [name_of $other] [name_of $one]
}

# Segments that a master reaches, through the interconnects: CELL/SEGMENT → the interface it is behind.
proc reached {master} {
    if {![dict exists $::BD(links) $master]} {
        return {}
    }
    set slave [dict get $::BD(links) $master]
    lassign [split $slave /] cell pin
    set found [dict create]
    if {[dict get $::BD(cells) $cell ip] eq "smartconnect"} {
        foreach {name about} [dict get [definition $cell] intf] {
            if {[lindex $about 0] eq "master"} {
                set found [dict merge $found [reached $cell/$name]]
            }
        }
    } else {
        foreach segment [dict get [definition $cell] segments $pin] {
            dict set found $cell/$segment $slave
        }
    }
    return $found
}
# Of an address space: the masters that share it.
proc masters_of {space} {
    lassign [split $space /] cell name
    set found {}
    foreach {pin about} [dict get [definition $cell] intf] {
        if {[lindex $about 0] eq "master" && $name in [list $pin Data]} {
            lappend found $cell/$pin
        }
    }
    return $found
}
proc do_get_bd_addr_spaces {options words} {
    need_bd
    set word [lindex $words 0]
    if {![dict exists $::BD(cells) [lindex [split $word /] 0]] || ![llength [masters_of $word]]} {
        fail "get_bd_addr_spaces: no address space $word"
    }
    return space:$word
}
proc do_get_bd_addr_segs {options words} {
    need_bd
    set word [lindex $words 0]
    set cell [lindex [split $word /] 0]
    if {[dict exists $::BD(cells) $cell]} {
        foreach {intf segments} [dict get [definition $cell] segments] {
            if {[string range $word [string length $cell]+1 end] in $segments} {
                return segment:$word
            }
        }
    }
    if {[dict exists $options -quiet]} {
        return ""
    }
    fail "get_bd_addr_segs: no segment $word"
}
proc check_reached {space segment} {
    check_kind $space space
    check_kind $segment segment
    foreach master [masters_of [name_of $space]] {
        if {[dict exists [reached $master] [name_of $segment]]} {
            return $master
        }
    }
    fail "[name_of $segment] is not connected to [name_of $space]"
}
proc do_assign_bd_address {options words} {
    global BD
    changed
    set space [option $options -target_address_space ""]
    set segment [lindex $words 0]
    lassign [split [check_reached $space $segment] /] cell pin
    set offset [option $options -offset ""]
    if {$offset ne ""} {
        set range [option $options -range ""]
        if {![string is integer -strict $range] || $offset % $range} {
            fail "assign_bd_address: $offset is not a multiple of the range $range"
        }
        set windows [value [value [definition $cell] windows {}] $pin ""]
        if {$windows ne "" && ($offset < [lindex $windows 0] || $offset + $range > [lindex $windows 0] + [lindex $windows 1])} {
            fail "assign_bd_address: $offset is outside what $cell/$pin reaches"
        }
    }
    set key [list [name_of $space] [name_of $segment]]
    if {[dict exists $BD(mapped) $key] && ![dict exists $options -force]} {
        fail "assign_bd_address: $key is mapped already"
    }
    dict set BD(mapped) $key $offset
}
proc do_exclude_bd_addr_seg {options words} {
    changed
    set space [option $options -target_address_space ""]
    check_reached $space [lindex $words 0]
    lappend ::BD(excluded) [list [name_of $space] [name_of [lindex $words 0]]]
}

# Everything is clocked, reset and connected; each master's view of each segment is decided.
proc do_validate_bd_design {options words} {
    global BD
    need_bd
    foreach {cell about} $BD(cells) {
        if {[dict get $about ip] in {zynq_ultra_ps_e processing_system7} && ![dict get $about preset]} {
            fail "validate_bd_design: $cell lacks the board's preset"
        }
        set ip [definition $cell]
        foreach {pin about} [dict get $ip pins] {
            lassign $about direction kind
            if {$direction eq "in" && $kind ne "optional" && ![dict exists $BD(nets) $cell/$pin]} {
                fail "validate_bd_design: $cell/$pin is not connected"
            }
        }
        foreach {pin about} [dict get $ip intf] {
            if {![dict exists $BD(links) $cell/$pin]} {
                fail "validate_bd_design: $cell/$pin is not connected"
            }
            lassign $about mode clock
            lassign [split [dict get $BD(links) $cell/$pin] /] other there
            set theirs $other/[lindex [about intf $other/$there] 1]
            if {[dict get $BD(nets) $cell/$clock] ne [dict get $BD(nets) $theirs]} {
                fail "validate_bd_design: $cell/$pin and $other/$there have different clocks"
            }
            if {$mode eq "master" && [dict get $BD(cells) $cell ip] ne "smartconnect"} {
                check_mapped $cell $pin
            }
        }
    }
    set BD(valid) 1
}
proc check_mapped {cell pin} {
    global BD
    foreach segment [dict keys [reached $cell/$pin]] {
        set decided 0
        foreach space [list $cell/$pin $cell/Data] {
            set key [list $space $segment]
            set decided [expr {$decided || [dict exists $BD(mapped) $key] || $key in $BD(excluded)}]
        }
        if {!$decided} {
            fail "validate_bd_design: $segment has no address in $cell/$pin"
        }
    }
}
proc bd_directory {} {
    return [file join $::S(project) $::S(name).gen sources_1 bd $::BD(name)]
}
proc do_save_bd_design {options words} {
    global S BD
    need_bd
    set path [file join $S(project) $S(name).srcs sources_1 bd $BD(name) $BD(name).bd]
    file mkdir [file dirname $path]
    write_file $path {}
    set BD(saved) 1
}
proc need_valid_bd {object} {
    check_kind $object file
    if {!$::BD(valid) || !$::BD(saved)} {
        fail "the block design is not validated and saved"
    }
    read_file [name_of $object]
}
proc do_generate_target {options words} {
    lassign $words what object
    if {$what ni {all synthesis simulation implementation}} {
        fail "generate_target: no target $what"
    }
    need_valid_bd $object
    file mkdir [file join [bd_directory] hw_handoff]
    write_file [file join [bd_directory] hw_handoff $::BD(name).hwh] handoff
    set ::BD(generated) 1
}
proc do_make_wrapper {options words} {
    if {![dict exists $options -top]} {
        fail "make_wrapper: -top is missing"
    }
    need_valid_bd [lindex $words 0]
    file mkdir [file join [bd_directory] hdl]
    set path [file join [bd_directory] hdl $::BD(name)_wrapper.v]
    write_file $path "module $::BD(name)_wrapper ();\nendmodule\n"
    return $path
}
