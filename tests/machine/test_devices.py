"""The table of devices and boards: complete, consistent, and unknown names answered with the known ones."""

from __future__ import annotations

import pytest

from hwgen.common.errors import HwgenError
from hwgen.machine.devices import RESOURCES, boards, devices, find, find_board, find_device


def test_the_devices_and_boards_that_the_documents_promise() -> None:
    assert set(devices()) == {"xczu9eg", "xck26", "xc7z020", "xcu280", "lfe5u-85f", "lifcl-40"}
    assert {board.name: board.device.name for board in boards().values()} == {
        "zcu102": "xczu9eg", "kv260": "xck26", "pynq-z2": "xc7z020", "u280": "xcu280",
    }  # fmt: skip


@pytest.mark.parametrize("name", devices())
def test_figures_are_plausible(name: str) -> None:
    """The part is the device's; only xcup multiplies 27 bits; only it has UltraRAM."""
    device = devices()[name]
    assert device.part.lower().startswith(device.name)
    assert device.multiplier_bits == (27 if device.family == "xcup" else 18)
    assert all(getattr(device, resource) > 0 for resource in RESOURCES if resource != "uram")
    assert device.uram == 0 or device.family == "xcup"
    assert device.lut <= device.ff <= 2 * device.lut


@pytest.mark.parametrize("name", boards())
def test_ports_are_what_axi_allows(name: str) -> None:
    board = boards()[name]
    assert len({port.name for port in board.ports}) == len(board.ports)
    for port in board.ports:
        assert port.bits in (64, 128, 256, 512)
        assert (port.protocol, port.burst) in (("AXI3", 16), ("AXI4", 256))
    # those that need no cache maintenance come last: they share the processor's way to memory
    assert [port.coherent for port in board.ports] == sorted(port.coherent for port in board.ports)


def test_a_board_stands_for_its_device() -> None:
    assert find("kv260") is boards()["kv260"] and find("XCK26") is devices()["xck26"]
    assert find_device("kv260") is find_device("xck26") is boards()["kv260"].device


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(HwgenError) as error:
        find("virtex", "config.yaml", "device")
    assert error.value.text().splitlines()[:3] == [
        "config.yaml: device",
        f"  expected: a device or a board: {', '.join([*devices(), *boards()])}",
        "  found:    'virtex'",
    ]
    with pytest.raises(HwgenError, match="--board\n  expected: a board: zcu102, kv260, pynq-z2, u280"):
        find_board("xczu9eg")
