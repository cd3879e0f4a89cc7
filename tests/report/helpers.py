"""Builds without Verilog, and runs of them as `hwgen sim --timeline` would measure them: times by the cycle model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwgen.build import Build
from hwgen.compiler import auto_params, compile_model
from hwgen.estimate.cycles import estimate
from hwgen.machine.isa import Op
from hwgen.network.description import Description
from hwgen.network.macs import macs
from hwgen.report.estimated import estimated
from hwgen.report.timeline import Timeline, Transfers

#: What of a transfer an instruction asks for: port, kind.
MOVES = {
    Op.MATMUL: ("weights", "weights"), Op.LOAD: ("data in", "tables"), Op.IMAGE: ("data in", "image"),
    Op.STORE: ("data out", "output"),
}  # fmt: skip


def build_of(desc: Description, path: Path, *shape: int, batch: int = 1, **buses: int) -> Build:
    """On an accelerator sized for it."""
    p = auto_params([desc], *shape, batch=batch, **buses)
    manifest = {"build_hash": "0x0123456789abcdef", "models": [{"name": desc.model.name}]}
    return Build(path, manifest, p, desc, compile_model(desc, p, batch))


def simulated(build: Build, task: str) -> Timeline:
    """The estimate as if it were a simulation: each instruction's bytes come at the bus's pace while it runs."""
    guess = estimated(build, task, estimate(build.compiled, task, build.params, latency=40))
    found = Transfers(port=[], kind=[], instruction=[], asked=[], begin=[], end=[], bytes=[])
    last = {"weights": 0, "data in": 0, "data out": 0}
    for number, instr in enumerate(build.compiled.instructions[task]):
        begin, size = guess.instructions.begin[number], instr.fields.get("bytes", 0)
        if begin is None or not size:
            continue
        port, kind = MOVES[instr.op]
        start = max(begin, last[port])
        width = build.params.weight_bus // 8 if port == "weights" else build.params.data_bus // 8
        last[port] = start + -(-size // width)
        row = (port, kind, number, max(0, start - 40), start, last[port], size)
        for name, value in zip(Transfers.model_fields, row, strict=True):
            getattr(found, name).append(value)
    return guess.model_copy(update={"source": "simulation", "transfers": found})


def result_of(build: Build, *, timelines: bool = True) -> dict[str, Any]:
    """As `hwgen sim --json` writes it."""
    tasks = {}
    for task in build.compiled.entries:
        guess = estimate(build.compiled, task, build.params, latency=40)
        cycles = guess.cycles / build.compiled.batch
        tasks[task] = {
            "images": 3, "bit_identical": True, "accuracy": None, "macs_per_image": macs(build.model, task),
            "cycles_per_image": {"mean": cycles, "min": cycles, "max": cycles + 1.0}, "array_utilization": 0.5,
            "counters": {"array_busy": float(guess.array_busy), "gmem0_read_bytes": 1.5e6, "gmem0_wasted_bytes": 1e5,
                         "gmem1_read_bytes": 2e4, "gmem1_write_bytes": 64.0},
            "experts": {
                f"layers.{index}": [float(3 * number % 7) for number in range(layer.mlp.experts)]
                for index, layer in enumerate(build.model.model.layers) if layer.mlp.kind == "moe"
            },
        }  # fmt: skip
        if timelines:
            tasks[task]["timeline"] = simulated(build, task).model_dump()
    return {
        "model": build.model.model.name, "engine": "harness", "parameters": build.params.as_dict(), "latency": 40,
        "stall_percent": 0, "note": None, "tasks": tasks,
    }  # fmt: skip


def cost_of(build: Build) -> dict[str, Any]:
    """As `hwgen quantize --report` writes it, of figures that are none."""
    names = ["embed"]
    for index, layer in enumerate(build.model.model.layers):
        names += [f"layers.{index}.{kind}" for kind in ("norm1", "q", "k", "v", "context", "attn", "norm2", "mlp")]
        moe = layer.mlp.kind == "moe"
        names += [f"layers.{index}.expert.{n}.hidden" for n in range(2)] if moe else [f"layers.{index}.hidden"]
    tensors = {
        name: {"sqnr_db": 50 - 0.4 * number, "clipped_share": 0.0, "clipped_error_share": 0.01, "float_range": [-1, 1]}
        for number, name in enumerate(names)
    }
    tasks = {task: {"sqnr_db": 31.5, "same_class_share": 0.998, "float": {"top1": 0.9912}, "integer": {"top1": 0.99}}
             for task in build.compiled.entries}  # fmt: skip
    return {"model": build.model.model.name, "images": 512, "tasks": tasks, "tensors": tensors, "warnings": []}
