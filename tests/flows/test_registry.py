"""Flows by name, and the devices they have."""

from __future__ import annotations

import json

import pytest

from hwgen.common.errors import HwgenError
from hwgen.flows.flow import ModuleUsage, Report
from hwgen.flows.registry import FLOWS, find_flow, flow_device
from hwgen.machine.devices import Usage, devices


def test_every_device_has_a_flow() -> None:
    assert {"yosys", "nextpnr-ecp5", "nextpnr-nexus"} <= set(FLOWS)
    for flow in FLOWS.values():
        assert find_flow(flow.name) is flow and flow_device(flow, None).name == flow.device
    for device in devices().values():
        assert flow_device(find_flow("yosys"), device.name) == device


def test_an_unknown_flow() -> None:
    with pytest.raises(HwgenError, match=r"--flow\n  expected: yosys or nextpnr-ecp5 or nextpnr-nexus.*\n.*'ise'"):
        find_flow("ise")


def test_a_device_of_another_flow() -> None:
    with pytest.raises(HwgenError) as error:
        flow_device(find_flow("nextpnr-ecp5"), "lifcl-40")
    assert error.value.text().splitlines() == [
        "command line: --device", "  expected: a device of nextpnr-ecp5: family ecp5",
        "  found:    lifcl-40, family nexus", "  mend:     --flow yosys or nextpnr-nexus",
    ]  # fmt: skip


def test_a_report_for_programs(tmp_path) -> None:
    report = Report("yosys", "xck26", {"yosys": "1"}, Usage(dsp=2), [ModuleUsage("core", 1, Usage(dsp=2))],
                    fmax={1: 100.0}, files={"accelerator.bit": tmp_path / "x"})  # fmt: skip
    document = json.loads(json.dumps(report.as_dict()))
    assert document["total"]["dsp"] == 2 and document["modules"][0]["usage"]["lut"] == 0
    assert document["files"] == ["accelerator.bit"] and str(tmp_path) not in json.dumps(document)
