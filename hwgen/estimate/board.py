"""An accelerator's masters at a board's ports: how many bytes per cycle its memory really gives them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwgen.common.errors import COMMAND_LINE, HwgenError
from hwgen.compiler import Compiled
from hwgen.estimate.cycles import CycleEstimate, estimate
from hwgen.machine.devices import Board, BoardPort
from hwgen.machine.params import HwParams

__all__ = ["Attached", "attach", "estimates"]


@dataclass(frozen=True)
class Attached:
    """Ports of the weight masters and of the data master; rates in bytes per cycle of the accelerator's clock."""

    board: Board
    clock: float  #: Hz
    weights: tuple[BoardPort, ...]
    data: BoardPort
    memory_rate: float  #: of all ports together, at most
    weight_rate: float  #: what weights get
    data_rate: float

    def milliseconds(self, cycles: float) -> float:
        return 1e3 * cycles / self.clock


def attach(p: HwParams, board: Board, clock: float | None = None) -> Attached:
    """Each master at a port of its own, the first ones for the weights. Raises HwgenError if there are too few ports.

    A master wider than its port gets what the port is wide; all together get what the memory gives.
    """
    masters = p.weight_ports
    if masters + 1 > len(board.ports):
        raise HwgenError(COMMAND_LINE, "--board", expected=f"a board with {masters + 1} ports to its memory",
                         found=f"{board.name} with {len(board.ports)}", mend="lower `weight_ports`")  # fmt: skip
    weights, data = board.ports[:masters], board.ports[masters]
    hertz = clock or board.clock
    memory = board.memory_bytes_per_second / hertz
    wide = sum(min(port.bits, p.port_bits) for port in weights) // 8
    narrow = min(data.bits, p.data_bus) // 8
    return Attached(board, hertz, weights, data, memory, min(wide, memory), min(narrow, memory))


def estimates(
    compiled: Compiled, p: HwParams, *, latency: int = 40, on: Attached | None = None
) -> dict[str, CycleEstimate]:
    """By task, what a run of all images of a batch costs; on a board no master gets more than its port gives."""
    slower = replace(p, data_bus=min(p.data_bus, on.data.bits)) if on else p
    rate = on.weight_rate if on else None
    return {task: estimate(compiled, task, slower, latency=latency, weight_rate=rate) for task in compiled.entries}
