# The IPs of a block design: interface pins, pins and parameters, as they depend on the parameters set.
# An IP is a dictionary: intf: name → {mode clock-pin}; pins: name → {direction kind}; segments of a slave interface;
# parameters: name → values allowed.
set IPS {zynq_ultra_ps_e processing_system7 smartconnect proc_sys_reset}

proc value {config name default} {
    return [expr {[dict exists $config $name] ? [dict get $config $name] : $default}]
}

proc ip_zynq_ultra_ps_e {config} {
    set ip [dict create intf {} pins {} segments {} parameters {
        PSU__FPGA_PL0_ENABLE {0 1} PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ MHZ PSU__USE__IRQ0 {0 1} PSU__USE__FABRIC__RST {0 1}
    }]
    # Which masters are there unless they are switched off: those of the boards' presets.
    foreach {gp name default windows} {
        0 M_AXI_HPM0_FPD 1 {0xA0000000 0x10000000} 1 M_AXI_HPM1_FPD 1 {0xB0000000 0x10000000}
        2 M_AXI_HPM0_LPD 0 {0x80000000 0x20000000}
    } {
        dict set ip parameters PSU__USE__M_AXI_GP$gp {0 1}
        dict set ip parameters PSU__MAXIGP${gp}__DATA_WIDTH {32 64 128}
        if {[value $config PSU__USE__M_AXI_GP$gp $default]} {
            set clock [string map {m_axi_ maxi} [string tolower $name]]_aclk
            dict set ip intf $name [list master $clock]
            dict set ip pins $clock {in clock}
            dict set ip windows $name $windows
        }
    }
    foreach {gp short} {0 HPC0 1 HPC1 2 HP0 3 HP1 4 HP2 5 HP3} {
        dict set ip parameters PSU__USE__S_AXI_GP$gp {0 1}
        dict set ip parameters PSU__SAXIGP${gp}__DATA_WIDTH {32 64 128}
        if {[value $config PSU__USE__S_AXI_GP$gp 0]} {
            set name S_AXI_${short}_FPD
            set clock saxi[string tolower $short]_fpd_aclk
            dict set ip intf $name [list slave $clock]
            dict set ip pins $clock {in clock}
            set kinds {DDR_LOW DDR_HIGH LPS_OCM QSPI}
            if {[string match *zcu102* $::S(board_part)]} {
                lappend kinds PCIE_LOW
            }
            dict set ip segments $name [lmap kind $kinds {string cat SAXIGP$gp/${short}_$kind}]
        }
    }
    if {[value $config PSU__FPGA_PL0_ENABLE 1]} {
        dict set ip pins pl_clk0 {out clock}
    }
    if {[value $config PSU__USE__FABRIC__RST 1]} {
        dict set ip pins pl_resetn0 {out reset}
    }
    if {[value $config PSU__USE__IRQ0 0]} {
        dict set ip pins pl_ps_irq0 {in interrupt}
    }
    dict set ip frequency [value $config PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 100]
    return $ip
}

proc ip_processing_system7 {config} {
    set ip [dict create intf {} pins {} segments {} parameters {
        PCW_EN_CLK0_PORT {0 1} PCW_FPGA0_PERIPHERAL_FREQMHZ MHZ PCW_USE_FABRIC_INTERRUPT {0 1} PCW_IRQ_F2P_INTR {0 1}
        PCW_USE_M_AXI_GP0 {0 1} PCW_USE_S_AXI_ACP {0 1}
    }]
    if {[value $config PCW_USE_M_AXI_GP0 1]} {
        dict set ip intf M_AXI_GP0 {master M_AXI_GP0_ACLK}
        dict set ip pins M_AXI_GP0_ACLK {in clock}
        dict set ip windows M_AXI_GP0 {0x40000000 0x40000000}
    }
    foreach short {HP0 HP1 HP2 HP3 ACP} {
        set name S_AXI_$short
        dict set ip parameters PCW_USE_$name {0 1}
        if {$short ne "ACP"} {
            dict set ip parameters PCW_${name}_DATA_WIDTH {32 64}
        }
        if {[value $config PCW_USE_$name 0]} {
            dict set ip intf $name [list slave ${name}_ACLK]
            dict set ip pins ${name}_ACLK {in clock}
            set kinds [expr {$short eq "ACP" ? {DDR_LOWOCM IOP M_AXI_GP0 QSPI_LINEAR} : {DDR_LOWOCM}}]
            dict set ip segments $name [lmap kind $kinds {string cat $name/${short}_$kind}]
        }
    }
    if {[value $config PCW_EN_CLK0_PORT 1]} {
        dict set ip pins FCLK_CLK0 {out clock}
    }
    dict set ip pins FCLK_RESET0_N {out reset}
    if {[value $config PCW_USE_FABRIC_INTERRUPT 0] && [value $config PCW_IRQ_F2P_INTR 0]} {
        dict set ip pins IRQ_F2P {in interrupt}
    }
    dict set ip frequency [value $config PCW_FPGA0_PERIPHERAL_FREQMHZ 50]
    return $ip
}

proc ip_smartconnect {config} {
    set ip [dict create intf {} pins {aclk {in clock} aresetn {in reset}} segments {} parameters {
        NUM_SI {1 2 3 4 5 6 7 8} NUM_MI {1 2 3 4 5 6 7 8} NUM_CLKS {1 2 3}
    }]
    for {set i 0} {$i < [value $config NUM_SI 2]} {incr i} {
        dict set ip intf [format S%02d_AXI $i] {slave aclk}
    }
    for {set i 0} {$i < [value $config NUM_MI 1]} {incr i} {
        dict set ip intf [format M%02d_AXI $i] {master aclk}
    }
    return $ip
}

proc ip_proc_sys_reset {config} {
    return [dict create intf {} segments {} parameters {} pins {
        slowest_sync_clk {in clock} ext_reset_in {in reset} aux_reset_in {in optional} mb_debug_sys_rst {in optional}
        dcm_locked {in optional} mb_reset {out reset} bus_struct_reset {out reset} peripheral_reset {out reset}
        interconnect_aresetn {out reset} peripheral_aresetn {out reset}
    }]
}

# The accelerator, as its component.xml says.
proc ip_of_component {component} {
    set ip [dict create intf {} pins {} segments {} parameters {}]
    set clock ""
    foreach {name about} [dict get $component interfaces] {
        lassign $about kind mode
        if {$kind eq "clock"} {
            set clock $name
        }
        if {$kind ne "aximm"} {
            dict set ip pins $name [list [expr {$mode eq "master" ? "out" : "in"}] $kind]
        }
    }
    foreach {name about} [dict get $component interfaces] {
        lassign $about kind mode
        if {$kind eq "aximm"} {
            dict set ip intf $name [list $mode $clock]
            if {$mode eq "slave"} {
                dict set ip segments $name [list $name/[dict get $component block]]
                dict set ip ranges $name/[dict get $component block] [dict get $component range]
            }
        }
    }
    return $ip
}
