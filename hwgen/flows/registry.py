"""Which flows there are."""

from __future__ import annotations

from hwgen.common.errors import COMMAND_LINE, HwgenError
from hwgen.flows.flow import Flow
from hwgen.flows.nextpnr_ecp5 import NextpnrEcp5
from hwgen.flows.nextpnr_nexus import NextpnrNexus
from hwgen.flows.vitis_hls import Vitis
from hwgen.flows.vivado_synth import Vivado
from hwgen.flows.yosys import Yosys
from hwgen.machine.devices import Device, find_device

__all__ = ["FLOWS", "find_flow", "flow_device"]

FLOWS: dict[str, Flow] = {flow.name: flow for flow in (Yosys(), NextpnrEcp5(), NextpnrNexus(), Vivado(), Vitis())}


def find_flow(name: str) -> Flow:
    """The flow of this name; raises HwgenError that lists the known ones."""
    if name not in FLOWS:
        raise HwgenError(COMMAND_LINE, "--flow", expected=" or ".join(FLOWS), found=repr(name))
    return FLOWS[name]


def flow_device(flow: Flow, name: str | None) -> Device:
    """The device or board of this name, default: the flow's; raises HwgenError if the flow has nothing for it."""
    device = find_device(name or flow.device)
    if device.family not in flow.families:
        raise HwgenError(
            COMMAND_LINE, "--device", expected=f"a device of {flow.name}: family {' or '.join(flow.families)}",
            found=f"{device.name}, family {device.family}",
            mend=f"--flow {' or '.join(one.name for one in FLOWS.values() if device.family in one.families)}",
        )  # fmt: skip
    return device
