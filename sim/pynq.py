"""PYNQ's names over a simulated board: `python -m sim.pynq BUILD script.py [arguments]` runs a PYNQ script unchanged.

Signatures are PYNQ's own. The memory is that of a port that is not coherent: what the host writes reaches the
accelerator by `flush` only, what that writes reaches the host by `invalidate`. cocotbpynq, which has the same aim, has
neither memory behind AXI masters nor addresses of buffers nor drivers bound to IPs (docs/board.md).

Tested by tests/driver/test_boards.py.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hwgen.build import load_build
from hwgen.common.errors import HwgenError
from hwgen.machine.emission import vlnv
from hwgen.machine.regmap import ADDRESS_BITS
from sim.board import MEMORY_BYTES, Board, Link, board_of

__all__ = ["MMIO", "DefaultIP", "Interrupt", "Overlay", "PynqBuffer", "allocate", "plugged"]

#: As udev and the kernel's allocator give them.
PAGE = 4096
PHYSICAL_ADDRESS = 0xA000_0000
NAME = "hwgen_accelerator_0"


class _State:
    """The board that `pynq` means, as PYNQ has one active device."""

    link: Link | None = None
    ip = vlnv()
    free: ClassVar[dict[int, int]] = {}  #: address → bytes
    drivers: ClassVar[dict[str, type]] = {}  #: VLNV → class


def _link() -> Link:
    if _State.link is None:
        raise RuntimeError("No Devices Found")  # as PYNQ says it
    return _State.link


@contextmanager
def plugged(board: Board, ip: str = vlnv()) -> Iterator[Link]:
    """While the block lasts, `import pynq` means this module, and its device is the board, with the IP of this name."""
    before = sys.modules.get("pynq")
    sys.modules["pynq"] = sys.modules[__name__]
    try:
        with board.connect() as link:
            _State.link, _State.ip, _State.free = link, ip, {link.origin: MEMORY_BYTES}
            yield link
    finally:
        _State.link = None
        del sys.modules["pynq"]
        if before is not None:
            sys.modules["pynq"] = before


class MMIO:
    """Registers at a physical address."""

    def __init__(self, base_addr: int, length: int = 4, device: object = None, **kwargs: Any) -> None:
        self.base_addr, self.length = base_addr, length

    def read(self, offset: int = 0, length: int = 4, word_order: str = "little") -> int:
        if offset % 4:
            raise MemoryError("Unaligned read: offset must be multiple of 4.")
        return _link().read32(offset)

    def write(self, offset: int, data: int | bytes) -> None:
        if offset % 4:
            raise MemoryError("Unaligned write: offset must be multiple of 4.")
        if type(data) is not int or not 0 <= data < 1 << 32:
            raise ValueError("Data type must be int or bytes.")
        _link().write32(offset, data)


class PynqBuffer(np.ndarray):
    """Memory with an address. Slices know theirs."""

    device_address: int | None
    coherent: bool | None

    def __array_finalize__(self, obj: Any) -> None:
        self.coherent, self.device_address = False, None
        if isinstance(obj, PynqBuffer) and obj.device_address is not None:
            self.device_address = obj.device_address + self.virtual_address - obj.virtual_address

    @property
    def physical_address(self) -> int | None:
        return self.device_address

    @property
    def virtual_address(self) -> int:
        return self.__array_interface__["data"][0]

    def flush(self) -> None:
        assert self.device_address is not None
        _link().write(self.device_address, self.tobytes())

    def invalidate(self) -> None:
        assert self.device_address is not None
        self.view(np.ndarray).reshape(-1).view(np.uint8)[:] = np.frombuffer(
            _link().read(self.device_address, self.nbytes), np.uint8
        )

    def freebuffer(self) -> None:
        if self.device_address is not None and _State.link is not None:
            _State.free[self.device_address] = -(-self.nbytes // PAGE) * PAGE
        self.device_address = None


def allocate(shape: Any, dtype: Any = "u4", target: object = None, **kwargs: Any) -> PynqBuffer:
    """The first hole that is large enough; what was there before is still there."""
    link = _link()
    buffer = np.empty(shape, dtype).view(PynqBuffer)
    size = -(-buffer.nbytes // PAGE) * PAGE
    for address, room in sorted(_State.free.items()):
        if room >= size:
            del _State.free[address]
            if room > size:
                _State.free[address + size] = room - size
            buffer.device_address = address
            buffer.view(np.ndarray).reshape(-1).view(np.uint8)[:] = np.frombuffer(
                link.read(address, buffer.nbytes), np.uint8
            )
            return buffer
    raise RuntimeError("Failed to allocate Memory!")


class Interrupt:
    """A pin of the block design; simulated time passes while it is waited for."""

    def __init__(self, pinname: str) -> None:
        self.pinname = pinname

    async def wait(self) -> None:
        while not _link().interrupted(2000):
            await asyncio.sleep(0)


class DefaultIP:
    """Base of drivers; a class with `bindto` is the driver of the IPs of these names."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _State.drivers.update(dict.fromkeys(getattr(cls, "bindto", ()), cls))

    def __init__(self, description: Mapping[str, Any]) -> None:
        self.description = description
        self.mmio = MMIO(description["phys_addr"], description["addr_range"], description["device"])
        for name, pin in description["interrupts"].items():
            setattr(self, name, Interrupt(pin["fullpath"]))

    def read(self, offset: int = 0) -> int:
        return self.mmio.read(offset)

    def write(self, offset: int, value: int) -> None:
        self.mmio.write(offset, value)


class Overlay:
    """The design on the board: the accelerator, whatever the bitstream's name."""

    def __init__(self, bitfile_name: str, dtbo: str | None = None, download: bool = True,
                 ignore_version: bool = False, device: object = None) -> None:  # fmt: skip
        self.bitfile_name = bitfile_name
        self.ip_dict: dict[str, dict[str, Any]] = {
            NAME: {
                "fullpath": NAME, "type": _State.ip, "phys_addr": PHYSICAL_ADDRESS, "addr_range": 1 << ADDRESS_BITS,
                "device": None, "state": None, "parameters": {}, "registers": {}, "gpio": {},
                "interrupts": {"interrupt": {"controller": "", "index": 0, "fullpath": f"{NAME}/interrupt"}},
            }
        }  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        description = self.__dict__.get("ip_dict", {}).get(name)
        if description is None:
            raise AttributeError(f"Could not find IP or hierarchy {name} in overlay")
        driver = _State.drivers.get(description["type"], DefaultIP)
        self.__dict__[name] = driver(description)
        return self.__dict__[name]


def main(arguments: list[str]) -> int:
    """Run a script with the board of a build plugged in."""
    if len(arguments) < 2:
        print("usage: python -m sim.pynq BUILD script.py [arguments]", file=sys.stderr)
        return 2
    build, script = Path(arguments[0]), arguments[1]
    try:
        made = load_build(build)
        ip = runpy.run_path(str(build / "driver" / "python" / "hwgen_driver" / "registers.py"))["VLNV"]
        with board_of(made) as board, plugged(board, ip):
            sys.argv = arguments[1:]
            runpy.run_path(script, run_name="__main__")
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.modules["sim.pynq"] = sys.modules["__main__"]
    sys.exit(main(sys.argv[1:]))
