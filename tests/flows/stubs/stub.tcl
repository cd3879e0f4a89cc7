# What the stand-ins for tools share: a script runs in an interpreter that has the commands of a table and no others.
# COMMANDS: name, flags, options with a value, words at least, at most.

proc fail {text} {
    error "stub: $text"
}

# Splits arguments as the table says and calls do_COMMAND with a dictionary of options (a flag is 1) and the words.
proc run_command {name flags valued least most arguments} {
    set options [dict create]
    set words {}
    for {set i 0} {$i < [llength $arguments]} {incr i} {
        set word [lindex $arguments $i]
        if {$word in $flags || $word in {-quiet -verbose}} {
            dict set options $word 1
        } elseif {$word in $valued} {
            if {[incr i] >= [llength $arguments]} {
                fail "$name: option $word has no value"
            }
            dict set options $word [lindex $arguments $i]
        } elseif {[regexp {^-[a-zA-Z]\w*$} $word]} {
            fail "$name: unknown option $word"
        } else {
            lappend words $word
        }
    }
    if {[dict exists $options -dict]} {
        set least 1
    }
    if {[llength $words] < $least || [llength $words] > $most} {
        fail "$name: [llength $words] words, must be $least to $most"
    }
    if {[info exists ::env(STUB_FAIL)] && $::env(STUB_FAIL) eq $name} {
        fail "$name: fails, as asked for"
    }
    return [do_$name $options $words]
}

# The script runs in an interpreter of its own and sees nothing of this file but the commands.
proc interpreter {arguments} {
    set interpreter [interp create]
    $interpreter eval {namespace eval ipx {}}
    foreach {name flags valued least most} $::COMMANDS {
        $interpreter alias ::$name command $name $flags $valued $least $most
    }
    $interpreter eval [list set argv $arguments]
    $interpreter eval [list set argc [llength $arguments]]
    return $interpreter
}
proc command {name flags valued least most args} {
    return [run_command $name $flags $valued $least $most $args]
}

proc option {options name default} {
    return [expr {[dict exists $options $name] ? [dict get $options $name] : $default}]
}

# Objects are called KIND:NAME.
proc kind {object} {
    return [lindex [split $object :] 0]
}
proc name_of {object} {
    return [string range $object [expr {[string first : $object] + 1}] end]
}
proc check_kind {object kind} {
    if {[kind $object] ne $kind} {
        fail "{$object} is not a $kind"
    }
}

proc read_file {path} {
    if {![file isfile $path]} {
        fail "no file $path"
    }
    set file [open $path]
    set text [read $file]
    close $file
    return $text
}
proc write_file {path text} {
    if {![file isdirectory [file dirname $path]]} {
        fail "no directory [file dirname $path]"
    }
    set file [open $path w]
    puts -nonewline $file $text
    close $file
}
