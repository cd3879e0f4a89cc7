"""A bitstream with the accelerator in it, and a model in its memory."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

from pynq import Overlay

from .accelerator import Accelerator
from .errors import NoDevice
from .registers import VLNV


class HwgenOverlay(Overlay):
    """`with HwgenOverlay("design.bit", "out") as acc:` downloads the bitstream and loads the build directory `out`.

    `design.hwh` must lie beside the bitstream. Further arguments are those of `pynq.Overlay`.
    """

    def __init__(self, bitfile_name: str, build: str | Path | None = None, **options: Any) -> None:
        super().__init__(bitfile_name, **options)
        names = [name for name, ip in self.ip_dict.items() if ip["type"] == VLNV]
        if not names:
            raise NoDevice(f"no {VLNV} in {bitfile_name}; it has {', '.join(self.ip_dict) or 'no IP at all'}")
        self.accelerator: Accelerator = reduce(getattr, names[0].split("/"), self)
        if build is not None:
            self.accelerator.load(build)

    def __enter__(self) -> Accelerator:
        return self.accelerator

    def __exit__(self, *_: object) -> None:
        self.accelerator.close()
