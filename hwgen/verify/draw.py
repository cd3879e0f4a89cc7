"""Random machines, and random cases on each: which network, how many images at once, in front of which memory.

A case is its seed and its number, for this version of hwgen: neither the number of workers nor of cases matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwgen.common.errors import HwgenError
from hwgen.compiler import auto_params, buffer_needs, check_fits
from hwgen.compiler.blocks import PARTS, Blocks, spillable
from hwgen.compiler.sizing import fitted
from hwgen.machine.emission import Emission
from hwgen.machine.params import PORT_BITS, PORTS, HwParams
from hwgen.network.description import Description
from hwgen.verify.networks import EXTRAS_FROM, random_description, random_images
from sim.job import Timing

__all__ = ["PER_MACHINE", "Case", "Machine", "draw_machine", "numbers_of"]

#: Cases that share a machine: compiling its Verilog takes as long as simulating a hundred.
PER_MACHINE = 64
#: Share of the machines on which networks are cut into blocks.
TIGHT = 0.5
#: ... and of these those on which their residual stream may be in DRAM.
SPILLS = 0.5
#: Most MACs a cycle: small arrays take all the same paths, and compile in seconds.
MAX_MACS = 256


@dataclass(frozen=True)
class Case:
    """A network with its images, how many of them a run takes, and the memory."""

    number: int
    network: Description
    images: NDArray[np.uint8]
    batch: int
    timing: Timing

    def facts(self) -> dict[str, Any]:
        """For the table of what was covered: numbers, and words of which several may be joined by a space."""
        model, timing = self.network.model, self.timing
        mlps = [layer.mlp for layer in model.layers]
        experts = [mlp for mlp in mlps if mlp.kind == "moe"]
        linear = [name for name in self.network.tensors if name.endswith(".weight")]
        found: dict[str, Any] = {
            "tokens": model.tokens, "dim": model.dim, "heads": model.heads, "head_dim": model.head_dim,
            "layers": len(mlps), "channels": model.image.channels, "patch": model.patch.height * model.patch.width,
            "hidden": max(mlp.hidden for mlp in mlps), "outputs": max([task.outputs or 0 for task in model.tasks]),
            "tasks": len(model.tasks), "head": _words(task.head for task in model.tasks),
            "norm before the head": _words(str(task.norm) for task in model.tasks),
            "mlp": _words("gated" if getattr(mlp, "gated", False) else mlp.kind for mlp in mlps),
            "activation": _words(mlp.activation for mlp in mlps),
            "windows": max(getattr(mlp, "windows", 1) for mlp in mlps),
            "gate": _words(mlp.gate for mlp in experts) or "none",
            "narrow weights, %": round(100 * len(model.weight_bits) / len(linear)),
            "falls of the stream": max(a - b for a, b in zip(model.stream_bits, model.stream_bits[1:])),
            "register tokens": model.register_tokens,
            **{name: str(bool(getattr(model, name))) for name in
               ("class_token", "distillation_token", "norm_pre", "qk_norm", "post_norm")},
            "RMSNorms": str(model.rms_norm),
            "images a run": self.batch, "runs": len(self.images) // self.batch,
            "latency": max(timing.latency, *timing.weight_latency, 0), "stalls, %": timing.stall_percent,
            "jitter": timing.jitter,
        }  # fmt: skip
        if experts:
            found |= {"experts": max(mlp.experts for mlp in experts), "top_k": max(mlp.top_k for mlp in experts)}
        return found


@dataclass(frozen=True)
class Machine:
    """An accelerator and its cases; `refused`: networks that hwgen says no to, with the reason, by case."""

    number: int
    params: HwParams
    emission: Emission
    cases: tuple[Case, ...]
    refused: dict[int, str]

    def facts(self, case: Case) -> dict[str, Any]:
        """For the table of what was covered, of one of its cases."""
        parameters = {name: str(value) if isinstance(value, bool) else value
                      for name, value in asdict(self.params).items()}  # fmt: skip
        made = {"ram_init": str(self.emission.ram_init), "in blocks": _cut(case, self.params)}
        return parameters | made | case.facts()


def numbers_of(machine: int) -> range:
    """The cases that share it."""
    return range(machine * PER_MACHINE, (machine + 1) * PER_MACHINE)


def draw_machine(seed: int, number: int) -> Machine:
    """Just large enough for the networks of all its cases, or for their blocks, or with something to spare."""
    rng = np.random.default_rng((seed, number, 1))
    pick = rng.choice
    while (shape := tuple(int(pick(sizes)) for sizes in ((2, 4, 8, 16, 32), (2, 4, 8, 16, 32), (1, 2, 4, 8, 16)))) and (
        np.prod(shape) > MAX_MACS
    ):
        pass
    ports = int(pick(PORTS))
    buses = {"weight_bus": max(int(pick((64, 128, 256, 512))), ports * PORT_BITS), "weight_ports": ports,
             "data_bus": int(pick((64, 128, 256, 512)))}  # fmt: skip
    batch = int(pick((1, 1, 2, 3, 5)))
    burst = int(pick((2, 8, 16, 64, 256)))
    tight, spill = bool(rng.random() < TIGHT), bool(rng.random() < SPILLS)
    batch = 1 if tight and spill else batch
    cases, refused = [], {}
    for one in numbers_of(number):
        case = _draw_case(seed, one, batch, ports, burst, tight, tight and spill)
        try:
            p = auto_params([case.network], *shape, batch=batch, **buses)
            check_fits(case.network, p, batch=batch)
            cases.append(case)
        except HwgenError as error:
            refused[one] = f"{error.key or error.where}: {error.expected}, not {error.found}"
    p = auto_params([case.network for case in cases], *shape, batch=batch, **buses)
    p = replace(
        _tight(cases, p, spill) if tight else p,
        multiplier_bits=int(pick((18, 27))), max_burst=burst, id_bits=int(pick((1, 1, 4))),
        instruction_queue=int(pick((8, 16, 64, 128))), weight_depth=p.weight_depth * int(pick((1, 1, 2))),
        ultra_ram=bool(pick((False, True))), axi_cache=int(pick((0, 3, 15))), axi_prot=int(pick((0, 2, 7))),
    )  # fmt: skip
    return Machine(number, p, Emission(ram_init=bool(rng.random() < 0.3)), tuple(cases), refused)


def _cut(case: Case, p: HwParams) -> str:
    """What comes in blocks."""
    blocks, whole = fitted(case.network, p, case.batch).blocks, Blocks.whole(case.network, case.batch)
    if blocks.stream:
        return "stream"
    return _words(name for name in ("heads", "rows", "tokens")
                  if getattr(blocks, name) < getattr(whole, name)) or "nothing"


def _tight(cases: Sequence[Case], p: HwParams, spill: bool) -> HwParams:
    """With the least depths that do: those of the smallest blocks of the largest network; with `spill` in X and Y, too,
    of what can be in DRAM."""
    needs = []
    for case in cases:
        network, batch = case.network, case.batch
        blocks = Blocks.least(network, p, batch)
        if spill and not spillable(network, p, batch):
            blocks = Blocks.spilled(network, p, batch, 0, PARTS[-1])
        needs.append(buffer_needs(network, p, batch, blocks))
    names = ("h_depth", "k_depth", "v_depth") + ("x_depth", "y_depth") * spill
    sizes: dict[str, Any] = {name: max(need[name] for need in needs) for name in names}
    return replace(p, spill=spill, **sizes)


def _draw_case(seed: int, number: int, most: int, ports: int, burst: int, tight: bool, spill: bool) -> Case:
    """For a machine that takes `most` images a run; `tight`: so that its buffers may be small; `spill`: so that its
    residual stream may be in DRAM."""
    rng = np.random.default_rng((seed, number, 2))
    overrides: dict[str, Any] = {"qk_norm": False} if tight else {}  # its heads come all at once
    if spill:
        overrides |= {"norm_pre": False, "post_norm": False, "pooled": None}
        height, width = (int(size) for size in rng.integers(4, 12, 2))
        overrides |= {"image": {"height": height, "width": width, "channels": 1}, "patch": {"height": 1, "width": 1}}
    if rng.random() < 0.15:
        overrides |= {"class_token": True, "distillation_token": True}
    if rng.random() < 0.1:
        head = {"name": "pooled", "head": "mean_norm", "outputs": int(rng.integers(2, 70)), "norm": True}
        overrides["tasks"] = [head]
    gain = float(rng.choice((1, 1, 1, 1, 0.05, 60)))  # a share of those that saturate, and of those that vanish
    network = random_description(int(rng.integers(EXTRAS_FROM, 1 << 31)), gain=gain, **overrides)
    batch = int(rng.choice((1, most)))
    images = random_images(network, batch * int(rng.integers(1, 3)), int(rng.integers(1 << 31)))
    spread = rng.random() < 0.3
    timing = Timing(
        latency=int(rng.choice((0, 1, 2, 10, 40, 100, 400))), stall_percent=int(rng.choice((0, 0, 10, 40, 85))),
        seed=int(rng.integers(1, 1 << 31)), longest_burst=burst, jitter=int(rng.choice((0, 0, 5, 60))),
        weight_latency=tuple(int(x) for x in rng.integers(0, 120, ports)) if spread else (),
    )  # fmt: skip
    return Case(number, network, images, batch, timing)


def _words(words: Any) -> str:
    return " ".join(sorted(set(words)))
