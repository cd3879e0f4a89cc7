"""AXI4 memories for benches: random latency and back-pressure, protocol checks, error responses."""

from __future__ import annotations

from collections import deque

import numpy as np
from cocotb.triggers import RisingEdge


def check_address(ports, channel, beat_bytes, max_burst):
    address, length = ports.get(f"{channel}__addr"), ports.get(f"{channel}__len")
    assert ports.get(f"{channel}__burst") == 1
    assert 1 << ports.get(f"{channel}__size") == beat_bytes
    assert address % beat_bytes == 0
    assert length < max_burst
    assert address // 4096 == (address + (length + 1) * beat_bytes - 1) // 4096, "burst crosses 4 KiB"
    return address, length + 1


class ReadMemory:
    """A reset of the master does not reach it: it goes on with what it was asked for.

    `errors`: address of a beat → response. `latency`: cycles from address to first beat. `stall`: probability."""

    def __init__(self, ports, memory, *, beat_bytes, rng, latency=(0, 30), stall=0.3, max_burst=64):
        self.ports, self.memory, self.beat_bytes, self.rng = ports, memory, beat_bytes, rng
        self.latency, self.stall, self.max_burst = latency, stall, max_burst
        self.errors = {}
        self.bursts = []  # (address, beats) as taken
        self.pending = deque()  # bursts: next address, beats left, when
        self.beats = 0
        self.most = 0  # outstanding bursts
        self.busy_cycles = []  # of the data channel

    async def run(self):
        ports, rng, pending = self.ports, self.rng, self.pending
        cycle, waiting, held = 0, None, None
        ar_ready = 0
        ports.set(ar__ready=0, r__valid=0, r__data=0, r__resp=0, r__last=0)
        while True:
            await RisingEdge(ports.dut.clk)
            cycle += 1
            if int(ports.dut.rst.value):
                waiting = None
            elif ports.get("ar__valid"):
                now = check_address(ports, "ar", self.beat_bytes, self.max_burst)
                assert waiting in (None, now), "address changed while it waited"
                waiting = now
                if ar_ready:
                    self.bursts.append(now)
                    pending.append([*now, cycle + int(rng.integers(self.latency[0], self.latency[1] + 1))])
                    self.most = max(self.most, len(pending))
                    waiting = None
            else:
                assert waiting is None, "address withdrawn"
            if held is not None and ports.get("r__ready"):
                self.beats += 1
                self.busy_cycles.append(cycle)
                held = None
                pending[0][0] += self.beat_bytes
                pending[0][1] -= 1
                if pending[0][1] == 0:
                    pending.popleft()
            if held is None and pending and pending[0][2] <= cycle and rng.random() >= self.stall:
                address, left, _ = pending[0]
                held = address
                value = int.from_bytes(self.memory[address : address + self.beat_bytes].tobytes(), "little")
                ports.set(r__valid=1, r__data=value, r__resp=self.errors.get(address, 0), r__last=int(left == 1))
            elif held is None:  # garbage where nothing is valid
                ports.set(r__valid=0, r__data=int(rng.integers(1 << 32)), r__resp=int(rng.integers(4)), r__last=1)
            ar_ready = int(rng.random() >= self.stall)
            ports.set(ar__ready=ar_ready)


class WriteMemory:
    """Write channels; `errors`: burst address → response. With a reset of the master it forgets bursts that are not
    complete; it goes on to answer the others.
    """

    def __init__(self, ports, memory, *, beat_bytes, rng, latency=(0, 30), stall=0.3, max_burst=64):
        self.ports, self.memory, self.beat_bytes, self.rng = ports, memory, beat_bytes, rng
        self.latency, self.stall, self.max_burst = latency, stall, max_burst
        self.errors = {}
        self.bursts = []
        self.beats = 0
        self.unanswered = self.most = 0
        self.strobed = set()  # data of all beats with a strobe
        self.busy_cycles = []

    async def run(self):
        ports, rng = self.ports, self.rng
        addresses, data, responses = deque(), deque(), deque()
        cycle, aw_ready, w_ready, b_valid = 0, 0, 0, False
        waiting = w_waiting = None
        ports.set(aw__ready=0, w__ready=0, b__valid=0, b__resp=0)
        while True:
            await RisingEdge(ports.dut.clk)
            cycle += 1
            if int(ports.dut.rst.value):
                waiting = w_waiting = None
                addresses.clear()
                data.clear()
                self.unanswered = len(responses) + b_valid
            elif ports.get("aw__valid"):
                now = check_address(ports, "aw", self.beat_bytes, self.max_burst)
                assert waiting in (None, now), "address changed while it waited"
                waiting = now
                if aw_ready:
                    self.bursts.append(now)
                    addresses.append([*now, now[0]])
                    self.unanswered += 1
                    self.most = max(self.most, self.unanswered)
                    waiting = None
            else:
                assert waiting is None, "address withdrawn"
            if ports.get("w__valid") and not int(ports.dut.rst.value):
                now = ports.get("w__data"), ports.get("w__strb"), ports.get("w__last")
                assert w_waiting in (None, now), "data changed while it waited"
                w_waiting = now
                if w_ready:
                    data.append(now)
                    self.beats += 1
                    self.busy_cycles.append(cycle)
                    w_waiting = None
                    if now[1]:
                        self.strobed.add(now[0])
            else:
                assert w_waiting is None, "data withdrawn"
            while addresses and data:
                value, strobe, last = data.popleft()
                address, left, start = addresses[0]
                assert last == (left == 1), "w__last does not match the burst"
                mask = np.array([strobe >> i & 1 for i in range(self.beat_bytes)], dtype=bool)
                raw = np.frombuffer(value.to_bytes(self.beat_bytes, "little"), dtype=np.uint8)
                self.memory[address : address + self.beat_bytes][mask] = raw[mask]
                addresses[0][0] += self.beat_bytes
                addresses[0][1] -= 1
                if last:
                    addresses.popleft()
                    delay = int(rng.integers(self.latency[0], self.latency[1] + 1))
                    responses.append((cycle + delay, self.errors.get(start, 0)))
            if b_valid and ports.get("b__ready"):
                b_valid = False
                self.unanswered -= 1
            if not b_valid and responses and responses[0][0] <= cycle:
                ports.set(b__valid=1, b__resp=responses.popleft()[1])
                b_valid = True
            elif not b_valid:
                ports.set(b__valid=0, b__resp=int(rng.integers(4)))
            aw_ready, w_ready = int(rng.random() >= self.stall), int(rng.random() >= self.stall)
            ports.set(aw__ready=aw_ready, w__ready=w_ready)
