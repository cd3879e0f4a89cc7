create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config {make_external "FIXED_IO, DDR" apply_board_preset "1" Master "Disable" Slave "Disable"} [get_bd_cells ps]
set_property -dict [list \
    CONFIG.PCW_EN_CLK0_PORT 1 \
    CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $mhz \
    CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
    CONFIG.PCW_IRQ_F2P_INTR 1 \
    CONFIG.PCW_USE_M_AXI_GP0 1 \
{% for master, port in links %}
    CONFIG.PCW_USE_{{ port.name }} 1 \
{% if not port.coherent %}
    CONFIG.PCW_{{ port.name }}_DATA_WIDTH {{ port.bits }} \
{% endif %}
{% endfor %}
] [get_bd_cells ps]
set ps_clock FCLK_CLK0
set ps_reset FCLK_RESET0_N
set ps_interrupt IRQ_F2P
set control_port M_AXI_GP0
set control_clock M_AXI_GP0_ACLK
set control_base 0x40000000
