"""Memory of the cocotb bench: DRAM regions, and the slaves of cocotbext-axi that answer for them.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiSlaveRead, AxiSlaveWrite

from sim.ports import PORTS, WRITES
from sim.system import Response

__all__ = ["Dram", "ReadSlave", "Region", "WriteSlave"]


class Region:
    """A DRAM region at a random 64-bit address, multiple of 64; `faults`: offset of a byte → (port, response)."""

    def __init__(self, name: str, slot: int, rng: random.Random, data: bytes) -> None:
        self.name, self.data = name, bytearray(data)
        self.base = (slot + 1 << 60) + 64 * rng.getrandbits(50)
        self.faults: list[tuple[int, int, Response]] = []


class Dram:
    """The regions. An access outside of them is a violation and answered with DECERR."""

    def __init__(self) -> None:
        self.regions: dict[str, Region] = {}
        self.violations: list[str] = []
        self.bytes = [0] * len(PORTS)  #: by port
        self.written: set[int] = set()
        self.countdown: dict[int, int] = {}  #: port → beats (WRITES: bursts) before one is answered with SLVERR

    def find(self, address: int) -> tuple[Region, int] | None:
        for region in self.regions.values():
            if 0 <= address - region.base < len(region.data):
                return region, address - region.base
        return None

    def fault(self, port: int, region: Region, offset: int, count: int) -> int:
        for where, at, response in region.faults:
            if where == port and offset <= at < offset + count:
                return response
        return 0

    def hit(self, port: int) -> bool:
        left = self.countdown.get(port, -1)
        self.countdown[port] = left - 1
        return left == 0

    def read(self, port: int, address: int, count: int) -> tuple[bytes, int]:
        """Data and response; a region may end inside the beat."""
        self.bytes[port] += count
        found = self.find(address)
        if found is None or found[0].name not in PORTS[port][1]:
            where = found[0].name if found else "no region"
            self.violations.append(f"{PORTS[port][0]}: read at 0x{address:x}, {where}")
            return bytes(count), Response.DECERR
        region, offset = found
        response = Response.SLVERR if self.hit(port) else self.fault(port, region, offset, count)
        return bytes(region.data[offset : offset + count]).ljust(count, b"\xa5"), response

    def write(self, address: int, data: bytes) -> int:
        found = self.find(address)
        if found is None or found[0].name not in PORTS[WRITES][1] or found[1] + len(data) > len(found[0].data):
            where = f"{len(data)} bytes at 0x{address:x}"
            self.violations.append(f"{PORTS[WRITES][0]}: write of {where}, outside the output")
            return Response.DECERR
        region, offset = found
        response = self.fault(WRITES, region, offset, len(data))
        if not response:
            region.data[offset : offset + len(data)] = data
            self.written.update(range(offset, offset + len(data)))
        return response


def _answering(channel: Any, field: str, slave: Any) -> None:
    """cocotbext-axi knows no DECERR: put the slave's `response` into what it sends."""
    send = channel.send

    async def answer(transaction: Any) -> None:
        setattr(transaction, field, slave.response)
        await send(transaction)

    channel.send = answer


def _delayed(channel: Any, slave: Any) -> None:
    """Random latency between an address and its burst."""
    receive = channel.recv

    async def recv() -> Any:
        transaction = await receive()
        slave.response = 0
        cycles = slave.delay()
        if cycles:
            await ClockCycles(slave.clock, cycles)
        return transaction

    channel.recv = recv


class ReadSlave(AxiSlaveRead):
    def __init__(self, bus: Any, dut: Any, dram: Dram, port: int, delay: Any) -> None:
        self.dram, self.port, self.delay, self.response = dram, port, delay, 0
        super().__init__(bus, dut.ap_clk, dut.ap_rst_n, reset_active_level=False)
        self.ar_channel.queue_occupancy_limit = 16
        _delayed(self.ar_channel, self)
        _answering(self.r_channel, "rresp", self)

    async def _read(self, address: int, length: int) -> bytes:
        data, self.response = self.dram.read(self.port, address, length)
        return data

    @property
    def idle(self) -> bool:
        return self.ar_channel.empty() and self.r_channel.idle()


class WriteSlave(AxiSlaveWrite):
    def __init__(self, bus: Any, dut: Any, dram: Dram, delay: Any) -> None:
        self.dram, self.delay, self.response = dram, delay, 0
        super().__init__(bus, dut.ap_clk, dut.ap_rst_n, reset_active_level=False)
        self.aw_channel.queue_occupancy_limit = 16
        _delayed(self.aw_channel, self)
        receive = self.w_channel.recv

        async def recv() -> Any:
            self.dram.bytes[WRITES] += self.byte_lanes
            return await receive()

        self.w_channel.recv = recv
        send = self.b_channel.send

        async def answer(transaction: Any) -> None:
            if self.dram.hit(WRITES):
                self.response = Response.SLVERR
            transaction.bresp = self.response
            await send(transaction)

        self.b_channel.send = answer

    async def _write(self, address: int, data: bytes) -> None:
        self.response = self.dram.write(address, data) or self.response

    @property
    def idle(self) -> bool:
        return self.aw_channel.empty() and self.w_channel.empty() and self.b_channel.idle()
