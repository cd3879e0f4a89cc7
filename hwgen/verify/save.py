"""A failing case as a build that `hwgen sim` replays: the machine, the network, the images, the memory.

Tested by tests/verify/test_run.py.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.build import build
from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import dump_yaml
from hwgen.config import Array, Axi, Buffers, Buses, Config, Project, Rtl
from hwgen.machine.emission import Emission
from hwgen.machine.params import HwParams
from hwgen.network import description
from hwgen.verify.check import Fault
from hwgen.verify.draw import Case
from sim.job import CASE

__all__ = ["save"]


def save(case: Case, p: HwParams, emission: Emission, fault: Fault, seed: int, folder: Path) -> Path:
    """The folder, new, or replaced if it is a build. Where not even a build can be made, its inputs."""
    network = case.network
    with tempfile.TemporaryDirectory(prefix="hwgen-case-") as name:
        home = Path(name)
        saved = description.load(description.save(network, home / "model"))
        np.savez_compressed(home / "images.npz", images=case.images)
        config = _config(p, emission, case.batch)
        text = dump_yaml(config.model_dump(exclude_defaults=True, exclude_none=True))
        images = {network.model.name: home / "images.npz"}
        (home / "config.yaml").write_text(text, "utf-8")
        # Its parameters are the machine's, though the network alone would need less.
        project = Project(config, home / "config.yaml", (saved,), p, emission, images, None, text)
        command = f"hwgen sim {folder}"
        try:
            build(project, folder, force=True)
        except Exception as error:  # a compiler that fails is what was found
            if not fault.kind.startswith(("crash", "HwgenError", "refused")):
                raise
            command = f"hwgen build {folder}/config.yaml -o OUT   # {type(error).__name__}"
            _inputs(saved, case, text, folder)
    facts: dict[str, Any] = {
        "seed": seed, "number": case.number, "fault": asdict(fault), "images": len(case.images),
        "timing": asdict(case.timing), "parameters": asdict(p), "replay": command,
    }  # fmt: skip
    (folder / CASE).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return folder


def _inputs(network: description.Description, case: Case, text: str, folder: Path) -> None:
    try:
        description.save(network, folder / "model")
        np.savez_compressed(folder / "images.npz", images=case.images)
        (folder / "config.yaml").write_text(text, "utf-8")
    except OSError as error:
        raise HwgenError(str(folder), expected="a directory that can be written",
                         found=str(error.strerror)) from None  # fmt: skip


def _config(p: HwParams, emission: Emission, batch: int) -> Config:
    buffers = {name: getattr(p, name) for name in Buffers.model_fields if name != "on_chip"}
    return Config(
        model="model", images="images.npz", batch=batch,
        array=Array(t=p.t, c=p.c, k=p.k, multiplier_bits=p.multiplier_bits),
        buses=Buses(weights=p.port_bits, weight_ports=p.weight_ports, data=p.data_bus),
        axi=Axi(burst=p.max_burst, id_bits=p.id_bits, cache=p.axi_cache, prot=p.axi_prot),
        rtl=Rtl(ram_init=emission.ram_init), buffers=Buffers(**buffers),
    )  # fmt: skip
