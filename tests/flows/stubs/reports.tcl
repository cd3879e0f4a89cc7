# Reports in the layout of Vivado 2023.2 with figures that exist nowhere.
proc utilization_report {} {
    set kind [expr {[string match xc7* $::S(part)] ? "Slice" : "CLB"}]
    set text "1. $kind Logic\n------------\n\n"
    append text "+----------------------------+--------+-------+------------+-----------+-------+\n"
    append text "|          Site Type         |  Used  | Fixed | Prohibited | Available | Util% |\n"
    append text "+----------------------------+--------+-------+------------+-----------+-------+\n"
    foreach {name used available} [list \
        "$kind LUTs*" 61234 274080 "  LUT as Logic" 60000 274080 "  LUT as Memory" 1234 144000 \
        "$kind Registers" 70123 548160 "  Register as Flip Flop" 70121 548160 "  Register as Latch" 2 548160 "CARRY8" 3456 34260 \
        "Block RAM Tile" 210.5 912 "  RAMB36/FIFO*" 200 912 "  RAMB18" 21 1824 "URAM" 8 64 \
        "DSPs" 612 2520 "  DSP48E2 only" 612 ""] {
        append text [format "| %-26s | %6s | %5s | %10s | %9s | %5s |\n" $name $used 0 0 $available 1.00]
    }
    return $text
}
proc hierarchy_report {} {
    set text "1. Utilization by Hierarchy\n---------------------------\n\n"
    set line "+--------------------+-------------------+------------+------------+---------+------+-------+--------+--------+------+------------+\n"
    append text $line
    append text "|      Instance      |       Module      | Total LUTs | Logic LUTs | LUTRAMs | SRLs |  FFs  | RAMB36 | RAMB18 | URAM | DSP Blocks |\n"
    append text $line
    foreach {instance module luts ffs b36 b18 uram dsp} [list \
        $::S(top) (top) 61234 70123 200 21 8 612 "  ($::S(top))" (top) 34 123 0 0 0 0 \
        "  core" core 61200 70000 200 21 8 612 "    datapath" datapath 50000 60000 190 20 8 600] {
        append text [format "| %-18s | %17s | %10s | %10s | %7s | %4s | %5s | %6s | %6s | %4s | %10s |\n" \
            $instance $module $luts $luts 0 0 $ffs $b36 $b18 $uram $dsp]
    }
    return $text$line
}
proc timing_report {} {
    set wns [format %.3f [slack]]
    set period [format %.3f $::S(period)]
    return [join [list \
        "------------------------------------------------------------------------------------------------" \
        "| Design Timing Summary" "| ---------------------" \
        "------------------------------------------------------------------------------------------------" "" \
        "    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)" \
        "    -------      -------  ---------------------  -------------------      -------      -------" \
        "      $wns        0.000                      0                  723        0.022        0.000" "" "" \
        "------------------------------------------------------------------------------------------------" \
        "| Clock Summary" "| -------------" \
        "------------------------------------------------------------------------------------------------" "" \
        "Clock   Waveform(ns)       Period(ns)      Frequency(MHz)" \
        "-----   ------------       ----------      --------------" \
        "ap_clk  {0.000 [expr {$period / 2}]}      $period           [format %.3f [expr {1000 / $period}]]" "" "" \
        "Slack (MET) :             ${wns}ns  (required time - arrival time)" \
        "  Source:                 core/datapath/issue/step_reg\[0\]/C" \
        "                            (rising edge-triggered cell FDRE clocked by ap_clk)" \
        "  Destination:            core/datapath/x/ram/mem_reg/WEA\[0\]" \
        "  Logic Levels:           7  (CARRY8=2 LUT4=1 LUT6=4)" ""] \n]
}
