"""The scripts of `vivado/`, run on stubs of Vivado's commands that refuse what Vivado would refuse."""

import re
import subprocess
from dataclasses import replace

import pytest

from hwgen.flows import vivado
from hwgen.machine.devices import boards, devices
from hwgen.machine.emission import Emission
from hwgen.machine.params import HwParams
from tests.flows.helpers import STUBS, edited, hollow_design, needs_tclsh, project_of, run_vivado
from tests.hollow import hollow_verilog

BOARDS = ("zcu102", "kv260", "pynq-z2")
SCRIPTS = ("synth.tcl", "impl.tcl", "package_ip.tcl", "package_xo.tcl", *(f"board_{board}.tcl" for board in BOARDS))

pytestmark = needs_tclsh


@pytest.mark.parametrize("script", SCRIPTS)
def test_runs(project, script):
    done = run_vivado(project, script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("ports, bus", [(1, 256), (2, 256), (4, 512)])
def test_runs_with_other_names_and_masters(tmp_path, ports, bus):
    """A prefix, no debug ports, several weight ports: of everything the scripts say."""
    p = HwParams(weight_ports=ports, weight_bus=bus)
    other = replace(hollow_design(p, "second_"), verilog="rtl/second.v")
    build = project_of(tmp_path, other, hollow_verilog(p, 0, Emission("second_")))
    for script in SCRIPTS:
        done = run_vivado(build, script)
        assert (script, done.returncode, done.stderr) == (script, 0, "")
    assert (build / "vivado/build/second_hwgen_accelerator.xo").exists()
    texts = [path for path in (build / "vivado").rglob("*") if path.suffix in (".tcl", ".xml", ".xdc", ".md")]
    assert texts and not any(re.search(r"\bhwgen_accelerator", path.read_text()) for path in texts)


@pytest.mark.parametrize("board", BOARDS)
def test_board_files(hollow, board):
    for script in ("package_ip.tcl", f"board_{board}.tcl"):
        assert run_vivado(hollow, script).returncode == 0
    out = hollow / "vivado/build"
    assert all((out / f"board_{board}{suffix}").stat().st_size for suffix in (".bit", ".hwh", ".xsa", "_timing.rpt"))


def test_arguments(hollow):
    assert run_vivado(hollow, "synth.tcl", devices()["xck26"].part, 250).returncode == 0
    assert "-period 4.000 [get_ports ap_clk]" in (hollow / "vivado/build/clock.xdc").read_text()
    top, part, stage, period = (hollow / "vivado/build/synth.dcp").read_text().split()
    assert (part, stage, period) == (devices()["xck26"].part, "synth", "4.000")
    assert run_vivado(hollow, "impl.tcl").returncode == 0  # of that checkpoint
    assert (hollow / "vivado/build/impl.dcp").read_text().split() == [top, part, "route", period]
    assert run_vivado(hollow, "impl.tcl", devices()["xczu9eg"].part, 125).returncode == 0  # anew
    assert "8.000" in (hollow / "vivado/build/impl.dcp").read_text()
    assert "the clock is 150000000 Hz" in run_vivado(hollow, "board_kv260.tcl", 150, 8).stdout


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        ("synth.tcl", ["xc7a35t"], "xc7a35t is not a part of this Vivado: is its family installed?"),
        ("synth.tcl", [devices()["xck26"].part, "fast"], 'the clock must be a frequency in MHz, not "fast"'),
        ("board_zcu102.tcl", ["-1"], 'the clock must be a frequency in MHz, not "-1"'),
        ("package_ip.tcl", ["zu9"], "zu9 is not a part of this Vivado"),
    ],
)
def test_wrong_arguments(hollow, script, arguments, message):
    done = run_vivado(hollow, script, *arguments)
    assert done.returncode == 1 and message in done.stderr


def test_no_board_files(hollow):
    for board in BOARDS:
        name = boards()[board].board_part.split(":")[1]
        edited(hollow / f"vivado/board_{board}.tcl", f":{name}:", ":another:")
        done = run_vivado(hollow, f"board_{board}.tcl")
        assert done.returncode == 1 and f"this Vivado has no board files of {board}" in done.stderr


def test_slack_is_looked_at(hollow):
    done = run_vivado(hollow, "board_zcu102.tcl", 300, STUB_WNS="-0.25")
    assert "300 MHz are missed by -0.25 ns" in done.stdout
    assert "missed" not in run_vivado(hollow, "board_zcu102.tcl").stdout


def test_same_bytes(design, hollow, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    vivado.write(again, design)
    one, other = hollow / "vivado", again / "vivado"
    files = sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    for file in files:
        assert not re.search(rf"{re.escape(str(tmp_path))}|\b20\d\d-\d\d-\d\d\b", (one / file).read_text())


#: Script, what in it is replaced by what, what the stubs say then: a case for each kind of mistake.
MISTAKES = {
    "unknown command": ("synth.tcl", "read_verilog", "read_veriloog", 'invalid command name "read_veriloog"'),
    "unknown option": ("synth.tcl", "-mode out_of_context\nwrite", "-ooc\nwrite", "synth_design: unknown option -ooc"),
    "unknown value": ("synth.tcl", "-mode out_of_context\nwrite", "-mode ooc\nwrite", "synth_design: unknown mode ooc"),
    "words missing": ("synth.tcl", "read_verilog $verilog", "read_verilog", "read_verilog: 0 words, must be 1 to 99"),
    "option without value": ("synth.tcl", "-top $top -part $part -mode out_of_context", "-part $part -top",
                             "synth_design: option -top has no value"),
    "unset variable": ("synth.tcl", "-part $part -mode", "-part $prat -mode", 'can\'t read "prat": no such variable'),
    "missing file": ("common.tcl", "hwgen_accelerator.v", "accelerator.v", "rtl/accelerator.v"),
    "unknown top": ("common.tcl", "set top hwgen_accelerator", "set top hwgen", "no source with the module hwgen"),
    "no source": ("synth.tcl", "read_verilog $verilog\n", "", "no source with the module hwgen_accelerator"),
    "constraint of no port": ("clock.xdc", "get_ports ap_clk", "get_ports clk", "clock.xdc: stub: get_ports: no port clk"),
    "Tcl in constraints": ("clock.xdc", "create_clock", "open_run", 'invalid command name "open_run"'),
    "no constraint": ("synth.tcl", "read_xdc -mode out_of_context [constraints_at $mhz]\n", "",
                      "synth_design: no clock is defined"),
    "two clocks": ("clock.xdc", "create_clock", "# -period 1\ncreate_clock", "clock.xdc must define one clock"),
    "checkpoint before synthesis": ("synth.tcl", "synth_design", "write_checkpoint a.dcp\nsynth_design",
                                    "no design is in memory"),
    "report before synthesis": ("synth.tcl", "read_verilog", "reports early\nread_verilog", "no design is in memory"),
    "report into no directory": ("common.tcl", "report_timing_summary -max_paths 10 -file [file join $out ",
                                 "report_timing_summary -max_paths 10 -file [file join $out none ", "no directory"),
    "placed before optimized": ("impl.tcl", "opt_design\n", "", "place_design after synth: needs opt"),
    "routed before placed": ("impl.tcl", "place_design\n", "", "phys_opt_design after opt: needs place or route"),
    "bitstream before route": ("impl.tcl", "route_design\n", "write_bitstream a.bit\n",
                               "write_bitstream after place: needs route"),
    "implementation without a design": ("impl.tcl", "    source [file join [file dirname [file normalize [info script]]] s",
                                        "    # s", "no design is in memory"),
    "packaged without top": ("package_ip.tcl", "set_property top $top [current_fileset]", "",
                             "ipx::package_project: the project has no top module"),
    "clock of no port": ("package_ip.tcl", "infer_bus_interface ap_clk", "infer_bus_interface clk", "no port clk"),
    "bus without a clock": ("package_ip.tcl", "ipx::associate_bus_interfaces -busif m_axi_gmem1 -clock ap_clk $core", "",
                            "ipx::check_integrity: m_axi_gmem1 has no clock"),
    "unknown bus": ("package_ip.tcl", "parameter $core m_axi_gmem1", "parameter $core m_axi_gmem9",
                    "Vivado has found no interface m_axi_gmem9"),
    "unknown parameter of a bus": ("package_ip.tcl", "HAS_BURST 1", "HAS_BURSTS 1", "unknown HAS_BURSTS"),
    "unknown property": ("package_ip.tcl", "set_property address_offset", "set_property offset",
                         "a register has no property OFFSET"),
    "memory map twice": ("package_ip.tcl", "ipx::remove_memory_map [get_property name $map] $core", "",
                         "ipx::add_memory_map: s_axi_control exists"),
    "slave without a map": ("package_ip.tcl", "set_property slave_memory_map_ref", "# ", "s_axi_control has no memory map"),
    "registers overlap": ("package_ip.tcl", "0x004 read-write", "0x000 read-write", "register gie at 0x000"),
    "register outside": ("package_ip.tcl", "set_property range 4096", "set_property range 16", "at 0x010"),
    "saved unchecked": ("package_ip.tcl", "ipx::check_integrity $core\n", "", "before the core is ready (checked)"),
    "no kernel": ("package_ip.tcl", "set_property sdx_kernel true $core", "", None),
    "kernel of another IP": ("kernel.xml", 'kernel name="hwgen_accelerator"', 'kernel name="other"', None),
    "kernel port of no bus": ("kernel.xml", 'port="m_axi_gmem0"', 'port="m_axi_gmem7"', None),
    "unknown IP": ("board_zcu102.tcl", "xilinx.com:ip:proc_sys_reset", "xilinx.com:ip:proc_reset",
                   "no IP xilinx.com:ip:proc_reset in the catalog"),
    "catalog not read": ("board_zcu102.tcl", "update_ip_catalog -rebuild\n", "", "no IP hwgen:ip:hwgen_accelerator:"),
    "no repository": ("board_zcu102.tcl", "[ip_repository]", "/nowhere", "no file /nowhere/component.xml"),
    "board of another part": ("board_zcu102.tcl", "set_property board_part $board_part",
                              "set_property board_part xilinx.com:kv260_som:part0:1.4", "not of part xczu9eg"),
    "no preset": ("board_zcu102.tcl", 'apply_board_preset "1"', 'apply_board_preset "0"', "ps lacks the board's preset"),
    "rule of another IP": ("board_zcu102.tcl", "bd_rule:zynq_ultra_ps_e", "bd_rule:processing_system7", "no rule"),
    "unknown parameter of an IP": ("board_zcu102.tcl", "PSU__USE__IRQ0", "PSU__USE_IRQ0", "ps has no parameter PSU__USE_IRQ0"),
    "port width there is not": ("board_zcu102.tcl", "SAXIGP2__DATA_WIDTH 128", "SAXIGP2__DATA_WIDTH 256",
                                "PSU__SAXIGP2__DATA_WIDTH cannot be 256"),
    "port not switched on": ("board_zcu102.tcl", "PSU__USE__S_AXI_GP2 1", "PSU__USE__S_AXI_GP2 0",
                             "ps has no pin saxihp0_fpd_aclk"),
    "wrong pin": ("board_zcu102.tcl", "maxihpm0_fpd_aclk", "maxihpm0_aclk", "ps has no pin maxihpm0_aclk"),
    "cell not there yet": ("board_zcu102.tcl", "interconnect control\n", "", "no cell control"),
    "two drivers": ("board_zcu102.tcl", "interconnect control\n",
                    "connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins accelerator/ap_rst_n]\n",
                    "accelerator/ap_rst_n is connected already"),
    "clock to a reset": ("board_zcu102.tcl", "[get_bd_pins reset/peripheral_aresetn] [get_bd_pins accelerator/ap_rst_n]",
                         "[get_bd_pins ps/pl_clk0] [get_bd_pins accelerator/ap_rst_n]", "do not go together"),
    "slave to slave": ("board_zcu102.tcl", "control/M00_AXI", "m_axi_gmem0/S00_AXI", "no cell m_axi_gmem0"),
    "two slaves": ("board_zcu102.tcl", "[get_bd_intf_pins ps/$control_port] [get_bd_intf_pins control/S00_AXI]",
                   "[get_bd_intf_pins accelerator/s_axi_control] [get_bd_intf_pins control/S00_AXI]", "are {slave slave}"),
    "connected twice": ("board_zcu102.tcl", "m_axi_gmem1/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP1_FPD]",
                        "m_axi_gmem1/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP0_FPD]", "ps/S_AXI_HP0_FPD is connected already"),
    "clock pin left open": ("board_zcu102.tcl", "clocked ps/saxihp1_fpd_aclk\n", "",
                            "validate_bd_design: ps/saxihp1_fpd_aclk is not connected"),
    "interrupt left open": ("board_zcu102.tcl",
                            "connect_bd_net [get_bd_pins accelerator/interrupt] [get_bd_pins ps/$ps_interrupt]\n", "",
                            "validate_bd_design: ps/pl_ps_irq0 is not connected"),
    "interconnect with a port too many": ("board_zcu102.tcl", "CONFIG.NUM_SI 1", "CONFIG.NUM_SI 2",
                                          "control/S01_AXI is not connected"),
    "addresses before connections": ("board_zcu102.tcl", "interconnect control\n",
                                     "assign_bd_address -target_address_space [get_bd_addr_spaces accelerator/m_axi_gmem0]"
                                     " [get_bd_addr_segs ps/SAXIGP2/HP0_DDR_LOW]\n",
                                     "ps/SAXIGP2/HP0_DDR_LOW is not connected to accelerator/m_axi_gmem0"),
    "address nobody reaches": ("board_zcu102.tcl", "control_base 0xA0000000", "control_base 0x40000000",
                               "is outside what ps/M_AXI_HPM0_FPD reaches"),
    "address not aligned": ("board_zcu102.tcl", "control_base 0xA0000000", "control_base 0xA0000800", "not a multiple"),
    "memory of no port": ("board_zcu102.tcl", "memory m_axi_gmem0 {SAXIGP2/HP0", "memory m_axi_gmem0 {SAXIGP2/HP7",
                          None),
    "segment undecided": ("board_zcu102.tcl", " SAXIGP2/HP0_QSPI", "", "ps/SAXIGP2/HP0_QSPI has no address in"),
    "no address at all": ("board_zcu102.tcl", "memory m_axi_gmem1", "# ", "has no address in accelerator/m_axi_gmem1"),
    "not validated": ("board_zcu102.tcl", "validate_bd_design\n", "", "the block design is not validated and saved"),
    "changed after validation": ("board_zcu102.tcl", "save_bd_design\n", "interconnect more\nsave_bd_design\n",
                                 "the block design is not validated and saved"),
    "not saved": ("board_zcu102.tcl", "save_bd_design\n", "", "the block design is not validated and saved"),
    "not generated": ("board_zcu102.tcl", "generate_target all [get_files system.bd]\n", "",
                      "the block design is not generated"),
    "no wrapper": ("board_zcu102.tcl", "add_files -norecurse [make_wrapper -top [get_files system.bd]]\n", "",
                   "no source with the module system_wrapper"),
    "no top": ("board_zcu102.tcl", "set_property top system_wrapper [current_fileset]\n", "",
               "launch_runs: the project has no top module"),
    "unknown step": ("board_zcu102.tcl", "-to_step write_bitstream", "-to_step bitstream", "no step bitstream"),
    "not waited for": ("board_zcu102.tcl", "wait_on_run impl_1\n", "", "the implementation has failed"),
    "no bitstream": ("board_zcu102.tcl", "-to_step write_bitstream", "-to_step route_design",
                     "write_hw_platform: there is no bitstream"),
    "platform of no design": ("board_zcu102.tcl", "open_run impl_1\nreports $project\n", "",
                              "no implemented design is open"),
    "DDR not external": ("board_pynq-z2.tcl", "FIXED_IO, DDR", "FIXED_IO", "DDR and FIXED_IO must be made external"),
    "port too wide": ("board_pynq-z2.tcl", "HP0_DATA_WIDTH 64", "HP0_DATA_WIDTH 128", "cannot be 128"),
    "no interrupt": ("board_pynq-z2.tcl", "CONFIG.PCW_IRQ_F2P_INTR 1", "CONFIG.PCW_IRQ_F2P_INTR 0", "ps has no pin IRQ_F2P"),
}  # fmt: skip
#: Where a mistake shows in a script that uses the one with the mistake, and what is said.
ELSEWHERE = {
    "no kernel": ("package_xo.tcl", "package_xo: the IP is not a kernel"),
    "kernel of another IP": ("package_xo.tcl", "package_xo: other, hwgen:ip:hwgen_accelerator:"),
    "kernel port of no bus": ("package_xo.tcl", "package_xo: the kernel's port m_axi_gmem7 is no interface of the IP"),
    "memory of no port": ("board_zcu102.tcl", "ps/SAXIGP2/HP0_DDR_LOW has no address in accelerator/m_axi_gmem0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_stubs_find(hollow, mistake):
    file, old, new, message = MISTAKES[mistake]
    edited(hollow / "vivado" / file, old, new)
    script, said = ELSEWHERE.get(mistake, (file if file in SCRIPTS else "synth.tcl", message))
    done = run_vivado(hollow, script)
    assert done.returncode == 1, "not found"
    assert said in done.stderr.splitlines()[0], done.stderr


def test_command_line_of_the_stubs(hollow):
    for arguments in (["-batch"], ["-mode", "batch", "-source", "vivado/synth.tcl", "-args", "x"]):
        done = subprocess.run(["tclsh", str(STUBS), *arguments], cwd=hollow, capture_output=True, text=True, check=False)
        assert done.returncode == 1
