# Commands of Vivado that the scripts may use: flags, options with a value, how many words at least and at most. As in
# UG835, Vivado Design Suite Tcl Command Reference Guide, 2021.2; ipx::* and package_xo as their -help lists them. All
# take -quiet and -verbose.
set COMMANDS {
    add_files {-norecurse -force -scan_for_includes} {-fileset -of_objects -copy_to} 0 99
    apply_bd_automation {} {-rule -config -dict -opts} 1 99
    assign_bd_address
        {-boundary -master_boundary -external -force}
        {-target_address_space -dict -import_from_file -export_to_file -export_gui_to_file -offset -range -base_high}
        0 99
    close_project {-delete} {} 0 0
    connect_bd_intf_net {} {-intf_net -boundary_type} 2 3
    connect_bd_net {} {-net -boundary_type} 1 99
    create_bd_cell {} {-vlnv -type -reference -revision} 1 1
    create_bd_design {} {-dir -cell} 1 1
    create_project {-force -in_memory -ip -rtl_kernel} {-part} 0 2
    current_fileset {-constrset -simset} {} 0 99
    current_project {} {} 0 1
    exclude_bd_addr_seg {} {-target_address_space} 0 1
    generate_target {-force} {} 2 2
    get_bd_addr_segs
        {-regexp -hierarchical -excluded -addressed -unaddressed -addressing -addressables}
        {-filter -of_objects}
        0 1
    get_bd_addr_spaces {-regexp -hierarchical} {-filter -of_objects} 0 1
    get_bd_cells {-regexp -hierarchical} {-filter -of_objects} 0 1
    get_bd_intf_pins {-regexp -hierarchical} {-filter -of_objects} 0 1
    get_bd_pins {-regexp -hierarchical} {-filter -of_objects} 0 1
    get_board_parts {-regexp -nocase -latest_file_version -latest_hw_revision} {-filter} 0 99
    get_files {-regexp -nocase -references -all} {-filter -compile_order -used_in -of_objects} 0 1
    get_parts {-regexp} {-filter -of_objects} 0 1
    get_property {-min -max} {} 2 2
    get_runs {-regexp -nocase} {-filter -of_objects} 0 1
    launch_runs
        {-scripts_only -next_step -email_all -force}
        {-jobs -lsf -sge -cluster_configuration -dir -to_step -host -remote_cmd -email_to -pre_launch_script
         -post_launch_script -custom_script}
        1 99
    make_wrapper {-top -testbench -inst_template -import -force} {-fileset} 1 1
    open_checkpoint {-ignore_timing} {-part} 1 1
    open_run {} {-name -pr_config} 1 1
    opt_design
        {-retarget -propconst -sweep -bram_power_opt -remap -aggressive_remap -resynth_area -resynth_seq_area
         -muxf_remap -bufg_opt -shift_register_opt -dsp_register_opt -control_set_merge -merge_equivalent_drivers
         -carry_remap -debug_log -property_opt_only}
        {-directive -hier_fanout_limit -srl_remap_modes}
        0 0
    phys_opt_design
        {-fanout_opt -placement_opt -routing_opt -slr_crossing_opt -rewire -insert_negative_edge_ffs
         -critical_cell_opt -dsp_register_opt -bram_register_opt -uram_register_opt -bram_enable_opt
         -shift_register_opt -hold_fix -aggressive_hold_fix -retime -critical_pin_opt -clock_opt -tns_cleanup
         -sll_reg_hold_fix}
        {-force_replication_on_nets -directive -path_groups}
        0 0
    place_design {-no_timing_driven -timing_summary -unplace -post_place_opt -no_psip -no_bufg_opt} {-directive} 0 0
    read_verilog {-sv} {-library} 1 99
    read_xdc {-quiet_diff_pairs -unmanaged -no_add} {-cells -ref -mode} 1 1
    report_high_fanout_nets
        {-append -ascending -timing -histogram -load_types -clock_regions -slr -return_string}
        {-file -format -max_nets -fanout_greater_than -fanout_lesser_than -name -cells -clocks}
        0 0
    report_timing_summary
        {-check_timing_verbose -no_detailed_paths -setup -hold -unique_pins -no_reused_label -input_pins
         -no_pr_attribute -routable_nets -report_unconstrained -no_header -append -return_string -warn_on_violation
         -datasheet}
        {-delay_type -max_paths -nworst -path_type -slack_lesser_than -significant_digits -file -name -cells -rpx}
        0 0
    report_utilization
        {-append -evaluate_pblock -exclude_child_pblocks -exclude_non_assigned -return_string -slr -packthru
         -no_primitives -omit_locs -hierarchical -hierarchical_percentages}
        {-file -pblocks -cells -name -spreadsheet_file -spreadsheet_table -spreadsheet_depth -hierarchical_depth}
        0 0
    route_design
        {-unroute -release_memory -physical_nets -tns_cleanup -no_timing_driven -preserve -delay -auto_delay
         -timing_summary -finalize -ultrathreads -eco}
        {-nets -pins -directive -max_delay -min_delay}
        0 0
    save_bd_design {} {} 0 1
    set_property {} {-dict} 3 99
    synth_design
        {-rtl -no_lc -rtl_skip_mlo -rtl_skip_ip -rtl_skip_constraints -keep_equivalent_registers -retiming
         -no_srlextract -assert -no_timing_driven -sfcu -debug_log}
        {-name -part -constrset -top -include_dirs -generic -verilog_define -flatten_hierarchy -gated_clock_conversion
         -directive -bufg -shreg_min_size -mode -fsm_extraction -srl_style -resource_sharing -cascade_dsp
         -control_set_opt_threshold -incremental -max_bram -max_uram -max_dsp -max_bram_cascade_height
         -max_uram_cascade_height}
        0 0
    update_compile_order {-force_gui} {-fileset} 0 0
    update_ip_catalog
        {-rebuild -create_index -update_module_ref}
        {-add_ip -delete_ip -delete_mult_ip -disable_ip -enable_ip -add_interface -repo_path}
        0 0
    validate_bd_design {-force -include_pfm} {-design} 0 0
    wait_on_run {} {-timeout} 1 1
    write_bitstream
        {-force -raw_bitfile -no_binary_bitfile -mask_file -readback_file -logic_location_file -bin_file
         -no_partial_bitfile}
        {-reference_bitfile -cell}
        1 1
    write_checkpoint {-force -logic_function_stripped -encrypt -incremental_synth} {-cell -key} 0 1
    write_hw_platform {-fixed -force -include_bit -include_sim_content -minimal -hw -hw_emu} {} 0 1
    ipx::package_project {-import_files -force} {-root_dir -vendor -library -taxonomy -module -set_current} 0 0
    ipx::current_core {} {} 0 1
    ipx::open_core {} {-set_current} 1 1
    ipx::infer_bus_interface {} {} 3 3
    ipx::associate_bus_interfaces {-remove} {-busif -clock -reset} 1 1
    ipx::get_bus_interfaces {-regexp -nocase} {-filter -of_objects} 0 1
    ipx::get_bus_parameters {-regexp -nocase} {-filter -of_objects} 0 1
    ipx::add_bus_parameter {} {} 2 2
    ipx::get_memory_maps {-regexp -nocase} {-filter -of_objects} 0 1
    ipx::remove_memory_map {} {} 2 2
    ipx::add_memory_map {} {} 2 2
    ipx::add_address_block {} {} 2 2
    ipx::add_register {} {} 2 2
    ipx::add_field {} {} 2 2
    ipx::create_xgui_files {} {} 1 1
    ipx::update_checksums {} {} 1 1
    ipx::check_integrity {} {} 1 1
    ipx::save_core {} {} 1 1
    package_xo {-force} {-xo_path -kernel_name -ip_directory -kernel_xml -kernel_files -ctrl_protocol} 0 0
}
