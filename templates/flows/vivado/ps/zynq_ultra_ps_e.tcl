create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} [get_bd_cells ps]
set_property -dict [list \
    CONFIG.PSU__FPGA_PL0_ENABLE 1 \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $mhz \
    CONFIG.PSU__USE__IRQ0 1 \
    CONFIG.PSU__USE__M_AXI_GP0 1 \
    CONFIG.PSU__MAXIGP0__DATA_WIDTH 32 \
    CONFIG.PSU__USE__M_AXI_GP1 0 \
    CONFIG.PSU__USE__M_AXI_GP2 0 \
{% for master, port in links %}
    CONFIG.PSU__USE__S_AXI_GP{{ number(port.name) }} 1 \
    CONFIG.PSU__SAXIGP{{ number(port.name) }}__DATA_WIDTH {{ port.bits }} \
{% endfor %}
] [get_bd_cells ps]
set ps_clock pl_clk0
set ps_reset pl_resetn0
set ps_interrupt pl_ps_irq0
set control_port M_AXI_HPM0_FPD
set control_clock maxihpm0_fpd_aclk
set control_base 0xA0000000
