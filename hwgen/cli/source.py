"""What a command was given, a configuration or a build: its parameters, its sources, which other ones would do.

Tested by tests/cli/test_synth.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import log2
from pathlib import Path

from hwgen import api
from hwgen.build import Build, load_build
from hwgen.cli.console import progress_bars
from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import read_yaml
from hwgen.compiler import auto_params, check_fits
from hwgen.config import Project, load_project
from hwgen.estimate.resources import first_fitting
from hwgen.machine.devices import Device, find_device
from hwgen.machine.params import HwParams
from hwgen.rtl import emit

__all__ = ["Source", "of_build", "of_project", "open_project", "open_source"]


@dataclass(frozen=True)
class Source:
    """`resized` (t, c, k, depth of the weight ring) raises HwgenError if the models do not go on that machine."""

    where: str
    params: HwParams
    device: Device | None
    verilog: Callable[[], str]
    top: str  #: its top module
    resized: Callable[[int, int, int, int | None], HwParams]
    files: dict[str, str] = field(default_factory=dict)  #: the HLS sources that a build has, file name → text

    def hls(self) -> dict[str, str]:
        """The HLS sources; raises HwgenError if there are none."""
        if not self.files:
            raise HwgenError(
                self.where, expected="a build with HLS sources", found="none in it",
                mend="write `backends: [amaranth, hls]` into the configuration and build it",
            )  # fmt: skip
        return self.files

    def advice(self, device: Device) -> str:
        """What to write into the configuration so that the device has enough, by the estimate."""
        ring = first_fitting(self._smaller_rings(), device)
        array = first_fitting(self._other_arrays(), device)
        ways = [f"`buffers: {{weight_depth: {ring.weight_depth}}}`"] if ring else []
        ways += [f"`array: {{t: {array.t}, c: {array.c}, k: {array.k}}}`"] if array else []
        return f"{' or '.join(ways)} would fit, by the estimate" if ways else "no array for these models fits"

    def _smaller_rings(self) -> Iterator[HwParams]:
        p = self.params
        depth = p.weight_depth // 2
        while depth:
            found = self._tried(p.t, p.c, p.k, depth)
            if found is None:
                return
            yield found
            depth //= 2

    def _other_arrays(self) -> Iterator[HwParams]:
        """Those of as many MACs first, and among them the shapes that differ least."""
        p = self.params

        def differs(shape: tuple[int, ...]) -> tuple[float, float]:
            t, c, k = shape
            return -t * c * k, sum(abs(log2(a / b)) for a, b in zip(shape, (p.t, p.c, p.k), strict=True))

        sizes = [1 << power for power in range(7)]
        shapes = [shape for shape in itertools.product(sizes, repeat=3) if shape[0] * shape[1] * shape[2] <= p.macs]
        for t, c, k in sorted(shapes, key=differs):
            if (found := self._tried(t, c, k)) is not None:
                yield found

    def _tried(self, t: int, c: int, k: int, ring: int | None = None) -> HwParams | None:
        try:
            return self.resized(t, c, k, ring)
        except HwgenError:
            return None


def open_source(path: Path) -> Source:
    """Of a config.yaml or a directory of `hwgen build`."""
    return of_build(load_build(path)) if path.is_dir() else of_project(load_project(path))


def open_project(path: Path, preset: str | None) -> Project:
    """Of a config.yaml; with a preset also of a quantized description. A board's takes a while."""
    with progress_bars() as progress:
        return api.project(path, preset, progress)


def of_project(project: Project) -> Source:
    p, emission = project.params, project.emission
    verilog = partial(emit.accelerator_verilog, p, emission=emission)
    return Source(str(project.path), p, project.device, verilog, emission.top, project.resized)


def of_build(made: Build) -> Source:
    config = made.path / "config.yaml"
    document = read_yaml(config)
    device = document.get("device") if isinstance(document, dict) else None

    def resized(t: int, c: int, k: int, ring: int | None = None) -> HwParams:
        p, batch = made.params, made.compiled.batch
        buses = {"weight_bus": p.weight_bus, "weight_ports": p.weight_ports, "data_bus": p.data_bus}
        sized = auto_params([made.model], t, c, k, batch=batch, **buses)
        sized = replace(
            sized, multiplier_bits=p.multiplier_bits, ultra_ram=p.ultra_ram, weight_depth=ring or sized.weight_depth
        )
        check_fits(made.model, sized, batch=batch)
        return sized

    found = find_device(device, str(config), "device") if device else None
    return Source(str(made.path), made.params, found, lambda: made.verilog, made.emission.top, resized, made.hls)
