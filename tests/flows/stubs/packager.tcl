# ipx::*: packaging IP; reading and writing component.xml; package_xo.
set AXI_SUFFIX {_(AW|W|B|AR|R)(VALID|READY|ADDR|DATA|RESP|LEN|SIZE|BURST|ID|LOCK|CACHE|PROT|QOS|REGION|STRB|LAST|USER)$}
# root: directory; busifs: name → {kind mode parameters clock reset map}; registers: name → properties, ...
namespace eval do_ipx {}
array set CORE {root "" opened 0 busifs {} maps {} done {}}
# Properties that may be set, by kind of object.
array set SETTABLE {
    core {NAME VERSION DISPLAY_NAME DESCRIPTION VENDOR LIBRARY TAXONOMY CORE_REVISION SDX_KERNEL SDX_KERNEL_TYPE}
    busparam {VALUE}
    busif {SLAVE_MEMORY_MAP_REF}
    block {USAGE RANGE WIDTH BASE_ADDRESS}
    register {ADDRESS_OFFSET SIZE ACCESS DESCRIPTION DISPLAY_NAME}
    field {BIT_OFFSET BIT_WIDTH ACCESS DESCRIPTION}
}
set ACCESSES {read-only read-write write-only}
array set P {}

proc set_packaged {object name value} {
    global SETTABLE P
    if {$name ni $SETTABLE([kind $object])} {
        fail "a [kind $object] has no property $name"
    }
    if {$name eq "ACCESS" && $value ni $::ACCESSES} {
        fail "$object: unknown access $value"
    }
    if {$name in {RANGE WIDTH ADDRESS_OFFSET SIZE BIT_OFFSET BIT_WIDTH} && ![string is integer -strict $value]} {
        fail "$object: $name $value"
    }
    set P($object,$name) $value
}
foreach kind [array names SETTABLE] {
    proc set_${kind}_property {object name value} {
        set_packaged $object $name $value
    }
}

proc do_ipx::package_project {options words} {
    global S CORE P
    need_project
    if {$S(top) eq ""} {
        fail "ipx::package_project: the project has no top module"
    }
    foreach needed {-root_dir -vendor -library} {
        if {![dict exists $options $needed]} {
            fail "ipx::package_project: $needed is missing"
        }
    }
    set source [file_of_module $S(top)]
    set S(ports) [ports_of $source $S(top)]
    set CORE(root) [dict get $options -root_dir]
    file mkdir $CORE(root)
    set CORE(files) [concat $S(files) $S(constraints)]
    if {[dict exists $options -import_files]} {
        file mkdir [file join $CORE(root) src]
        foreach path $CORE(files) {
            file copy -force $path [file join $CORE(root) src]
        }
    }
    set P(core:ip,VENDOR) [dict get $options -vendor]
    set P(core:ip,LIBRARY) [dict get $options -library]
    # As Vivado does: AXI by the names of the ports, with a memory map for a slave; nothing else.
    foreach port [dict keys $S(ports)] {
        if {[regexp $::AXI_SUFFIX $port suffix]} {
            set bus [string range $port 0 end-[string length $suffix]]
            if {![dict exists $CORE(busifs) $bus]} {
                set out [expr {[lindex [dict get $S(ports) ${bus}_ARVALID] 0] eq "output"}]
                dict set CORE(busifs) $bus [list aximm [expr {$out ? "master" : "slave"}]]
                if {!$out} {
                    dict set CORE(maps) $bus reg0
                }
            }
        }
    }
}
proc do_ipx::current_core {options words} {
    if {$::CORE(root) eq ""} {
        fail "ipx::current_core: nothing is packaged"
    }
    return core:ip
}
proc do_ipx::open_core {options words} {
    read_component [file dirname [lindex $words 0]]
    array set ::CORE [list root [file dirname [lindex $words 0]] opened 1 busifs {} maps {} done {}]
}
proc do_ipx::infer_bus_interface {options words} {
    global S CORE
    lassign $words port vlnv core
    check_kind $core core
    if {![dict exists $S(ports) $port]} {
        fail "ipx::infer_bus_interface: no port $port"
    }
    if {![regexp {^xilinx\.com:signal:(clock|reset|interrupt)_rtl:1\.0$} $vlnv - kind]} {
        fail "ipx::infer_bus_interface: unknown definition $vlnv"
    }
    set out [expr {[lindex [dict get $S(ports) $port] 0] eq "output"}]
    dict set CORE(busifs) $port [list $kind [expr {$out ? "master" : "slave"}]]
}
proc known_busif {name kind} {
    if {![dict exists $::CORE(busifs) $name] || [lindex [dict get $::CORE(busifs) $name] 0] ne $kind} {
        fail "no $kind interface $name"
    }
}
proc do_ipx::associate_bus_interfaces {options words} {
    global P
    check_kind [lindex $words 0] core
    set clock [option $options -clock ""]
    known_busif $clock clock
    if {[dict exists $options -reset]} {
        known_busif [dict get $options -reset] reset
        set P(busparam:$clock/ASSOCIATED_RESET,VALUE) [dict get $options -reset]
    }
    if {[dict exists $options -busif]} {
        known_busif [dict get $options -busif] aximm
        set key busparam:$clock/ASSOCIATED_BUSIF,VALUE
        set P($key) [expr {[info exists P($key)] ? "$P($key):[dict get $options -busif]" : [dict get $options -busif]}]
    }
}
proc do_ipx::get_bus_interfaces {options words} {
    check_kind [option $options -of_objects ""] core
    return [expr {[dict exists $::CORE(busifs) [lindex $words 0]] ? "busif:[lindex $words 0]" : ""}]
}
proc do_ipx::get_bus_parameters {options words} {
    set bus [option $options -of_objects ""]
    check_kind $bus busif
    set object busparam:[name_of $bus]/[lindex $words 0]
    return [expr {[info exists ::P($object,VALUE)] ? $object : ""}]
}
proc do_ipx::add_bus_parameter {options words} {
    lassign $words name bus
    check_kind $bus busif
    set known {PROTOCOL DATA_WIDTH ADDR_WIDTH ID_WIDTH READ_WRITE_MODE HAS_BURST SUPPORTS_NARROW_BURST MAX_BURST_LENGTH
        NUM_READ_OUTSTANDING NUM_WRITE_OUTSTANDING POLARITY SENSITIVITY FREQ_HZ ASSOCIATED_BUSIF ASSOCIATED_RESET}
    if {$name ni $known} {
        fail "ipx::add_bus_parameter: unknown $name"
    }
    set ::P(busparam:[name_of $bus]/$name,VALUE) ""
    return busparam:[name_of $bus]/$name
}
proc do_ipx::get_memory_maps {options words} {
    set found {}
    foreach map [dict keys $::CORE(maps) [lindex $words 0]] {
        lappend found map:$map
    }
    return $found
}
proc do_ipx::remove_memory_map {options words} {
    dict unset ::CORE(maps) [lindex $words 0]
}
proc do_ipx::add_memory_map {options words} {
    if {[dict exists $::CORE(maps) [lindex $words 0]]} {
        fail "ipx::add_memory_map: [lindex $words 0] exists"
    }
    dict set ::CORE(maps) [lindex $words 0] {}
    return map:[lindex $words 0]
}
proc do_ipx::add_address_block {options words} {
    lassign $words name map
    check_kind $map map
    dict lappend ::CORE(maps) [name_of $map] $name
    return block:[name_of $map]/$name
}
proc add_child {words parent child} {
    lassign $words name object
    check_kind $object $parent
    set key ${child}s,$object
    if {[info exists ::CORE($key)] && $name in $::CORE($key)} {
        fail "$object has a $child $name already"
    }
    lappend ::CORE($key) $name
    return $child:[name_of $object]/$name
}
proc do_ipx::add_register {options words} {
    return [add_child $words block register]
}
proc do_ipx::add_field {options words} {
    return [add_child $words register field]
}
proc do_ipx::create_xgui_files {options words} {
    file mkdir [file join $::CORE(root) xgui]
    lappend ::CORE(done) xgui
}
proc do_ipx::update_checksums {options words} {
    lappend ::CORE(done) checksums
}

# What makes an IP useless: an AXI interface without a clock, a slave without registers, registers that overlap.
proc do_ipx::check_integrity {options words} {
    global CORE P
    foreach {name about} $CORE(busifs) {
        lassign $about kind mode
        if {$kind ne "aximm"} {
            continue
        }
        set clocked 0
        foreach key [array names P busparam:*/ASSOCIATED_BUSIF,VALUE] {
            set clocked [expr {$clocked || $name in [split $P($key) :]}]
        }
        if {!$clocked} {
            fail "ipx::check_integrity: $name has no clock"
        }
        if {$mode eq "slave"} {
            if {![info exists P(busif:$name,SLAVE_MEMORY_MAP_REF)]} {
                fail "ipx::check_integrity: $name has no memory map"
            }
            check_block block:$name/[dict get $CORE(maps) $P(busif:$name,SLAVE_MEMORY_MAP_REF)]
        }
    }
    lappend CORE(done) checked
}
proc check_block {block} {
    global CORE P
    set taken {}
    foreach register $CORE(registers,$block) {
        set object register:[name_of $block]/$register
        set at $P($object,ADDRESS_OFFSET)
        if {$at in $taken || $at % 4 || $at + 4 > $P($block,RANGE)} {
            fail "ipx::check_integrity: register $register at $at"
        }
        lappend taken $at
        set used 0
        foreach field $CORE(fields,$object) {
            set part field:[name_of $object]/$field
            set mask [expr {((1 << $P($part,BIT_WIDTH)) - 1) << $P($part,BIT_OFFSET)}]
            if {$mask & $used || $mask >> $P($object,SIZE)} {
                fail "ipx::check_integrity: field $field of $register"
            }
            set used [expr {$used | $mask}]
        }
    }
}
proc do_ipx::save_core {options words} {
    global CORE
    foreach needed [expr {$CORE(opened) ? {checksums checked} : {xgui checksums checked}}] {
        if {$needed ni $CORE(done)} {
            fail "ipx::save_core: before the core is ready ($needed)"
        }
    }
    if {!$CORE(opened)} {
        write_file [file join $CORE(root) component.xml] [core_xml]
    }
    set CORE(saved) 1
}

proc element {name text} {
    return "<spirit:$name>$text</spirit:$name>"
}
proc escaped {text} {
    return [string map {& &amp; < &lt; > &gt;} $text]
}
# As much of component.xml as is read back: by read_component, and by ipyxact in the tests.
proc core_xml {} {
    global CORE P S
    set vlnv ""
    foreach part {VENDOR LIBRARY NAME VERSION} {
        append vlnv [element [string tolower $part] $P(core:ip,$part)] \n
    }
    set buses ""
    foreach {name about} $CORE(busifs) {
        lassign $about kind mode
        set maps ""
        foreach port [dict keys $S(ports)] {
            if {$port eq $name || [string match ${name}_* $port]} {
                set logical [expr {$port eq $name ? [dict get {clock CLK reset RST interrupt INTERRUPT} $kind] : [string range $port [string length $name]+1 end]}]
                append maps [element portMap [element logicalPort [element name $logical]][element physicalPort [element name $port]]] \n
            }
        }
        set parameters ""
        foreach key [array names P busparam:$name/*,VALUE] {
            regexp {/(\w+),} $key - parameter
            append parameters [element parameter [element name $parameter][element value $P($key)]] \n
        }
        append buses [element busInterface "[element name $name]\n<spirit:busType spirit:vendor=\"xilinx.com\" spirit:library=\"[
            expr {$kind eq "aximm" ? "interface" : "signal"}]\" spirit:name=\"$kind\" spirit:version=\"1.0\"/>\n<spirit:$mode/>\n[
            element portMaps $maps]\n[element parameters $parameters]"] \n
    }
    set registers ""
    set block block:s_axi_control/reg0
    foreach register $CORE(registers,$block) {
        set object register:[name_of $block]/$register
        set fields ""
        foreach field $CORE(fields,$object) {
            set part field:[name_of $object]/$field
            append fields [element field "[element name $field][element description [escaped $P($part,DESCRIPTION)]][
                element bitOffset $P($part,BIT_OFFSET)][element bitWidth $P($part,BIT_WIDTH)][element access $P($part,ACCESS)]"] \n
        }
        append registers [element register "[element name $register][element description [escaped $P($object,DESCRIPTION)]][
            element addressOffset $P($object,ADDRESS_OFFSET)][element size $P($object,SIZE)][element access $P($object,ACCESS)]\n$fields"] \n
    }
    set map [element memoryMap "[element name s_axi_control]\n[element addressBlock "[element name reg0][
        element baseAddress 0][element range $P($block,RANGE)][element width $P($block,WIDTH)]\n$registers"]"]
    return "<spirit:component xmlns:spirit=\"http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009\">\n$vlnv[
        element busInterfaces $buses]\n[element memoryMaps $map]\n</spirit:component>\n"
}

# What is between <spirit:TAG> and </spirit:TAG>, each time.
proc sections {text tag} {
    set found {}
    set at 0
    while {[set start [string first <spirit:$tag> $text $at]] >= 0} {
        set at [string first </spirit:$tag> $text $start]
        lappend found [string range $text $start $at]
    }
    return $found
}
# An IP of the repository: vlnv, root, interfaces name → {kind mode}, block, range; its files must be there.
proc read_component {repository} {
    set path [file join $repository component.xml]
    set text [read_file $path]
    set vlnv {}
    foreach part {vendor library name version} {
        regexp "<spirit:$part>(\[^<\]*)</spirit:$part>" $text - value
        lappend vlnv $value
    }
    set interfaces [dict create]
    foreach body [sections $text busInterface] {
        regexp {<spirit:name>(\w+)</spirit:name>} $body - name
        regexp {<spirit:busType [^>]*spirit:name="(\w+)"} $body - kind
        regexp {<spirit:(master|slave)\y} $body - mode
        dict set interfaces $name [list $kind $mode]
    }
    foreach {- file} [regexp -all -inline {<spirit:file>\s*<spirit:name>([^<]*)</spirit:name>} $text] {
        read_file [file join $repository $file]
    }
    regexp {<spirit:addressBlock>\s*<spirit:name>(\w+)</spirit:name>} $text - block
    regexp {<spirit:addressBlock>.*?<spirit:range[^>]*>(\w+)</spirit:range>} $text - range
    return [dict create vlnv [join $vlnv :] interfaces $interfaces block $block range $range]
}

proc do_package_xo {options words} {
    foreach needed {-xo_path -kernel_name -ip_directory} {
        if {![dict exists $options $needed]} {
            fail "package_xo: $needed is missing"
        }
    }
    set ip [read_component [dict get $options -ip_directory]]
    if {![info exists ::CORE(saved)] || ![info exists ::P(core:ip,SDX_KERNEL)] || !$::P(core:ip,SDX_KERNEL)} {
        fail "package_xo: the IP is not a kernel"
    }
    set kernel [read_file [dict get $options -kernel_xml]]
    regexp {<kernel name="(\w+)"} $kernel - name
    regexp {vlnv="([^"]*)"} $kernel - vlnv
    if {$name ne [dict get $options -kernel_name] || $vlnv ne [dict get $ip vlnv]} {
        fail "package_xo: $name, $vlnv is not the kernel of this IP"
    }
    foreach {- port} [regexp -all -inline {port="(\w+)"} $kernel] {
        if {![dict exists $ip interfaces $port]} {
            fail "package_xo: the kernel's port $port is no interface of the IP"
        }
    }
    write_file [dict get $options -xo_path] kernel
}
