"""The AXI masters of an accelerator, in the order of their numbers: top, drivers and packaging derive from it."""

from __future__ import annotations

from dataclasses import dataclass

from hwgen.machine.params import HwParams

__all__ = ["DATA", "Master", "masters", "max_beats", "numbered", "weight_files", "weight_numbers"]

#: Number of the master that has the program, images and outputs.
DATA = 1
PAGE = 4096  #: bytes that no AXI burst may cross


@dataclass(frozen=True)
class Master:
    """One AXI4 master: prefix of its ports, data width in bits, which channels it has, what it carries."""

    name: str
    data_bits: int
    reads: bool
    writes: bool
    what: str


def numbered(name: str, port: int) -> str:
    """What of weight port 0 is called `name`, of another one (`weights_base`, `weights_base1`, ...)."""
    return f"{name}{port or ''}"


def weight_numbers(p: HwParams) -> tuple[int, ...]:
    """Numbers of the masters that the weights come through, weight port 0 first: 0, 2, 3, 4 of `m_axi_gmem*`."""
    return tuple(port if port < DATA else port + 1 for port in range(p.weight_ports))


def max_beats(max_burst: int, data_bits: int) -> int:
    """Beats of the longest burst that is made: it stays within 4 KiB."""
    return min(max_burst, 8 * PAGE // data_bits)


def weight_files(p: HwParams) -> tuple[str, ...]:
    """The file of a build that each weight port reads: all of the weights, or its share of them."""
    ports = range(p.weight_ports)
    return tuple(f"weights{port}.bin" for port in ports) if p.weight_ports > 1 else ("weights.bin",)


def masters(p: HwParams) -> tuple[Master, ...]:
    """All masters, in ascending order of their numbers."""
    found = {DATA: Master(f"m_axi_gmem{DATA}", p.data_bus, True, True, "program, tables, images, outputs")}
    for port, number in enumerate(weight_numbers(p)):
        what = "weights" if p.weight_ports == 1 else f"weights, port {port} of {p.weight_ports}"
        found[number] = Master(f"m_axi_gmem{number}", p.port_bits, True, False, what)
    return tuple(found[number] for number in sorted(found))
