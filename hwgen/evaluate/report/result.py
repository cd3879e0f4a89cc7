"""A finished report: for programs as a dictionary, for people as tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from golden.errors import Error
from hwgen.evaluate.report.tensors import WATCHED, WORTH_A_WARNING, Tensor
from hwgen.evaluate.report.weights import Weights

EXPERT = re.compile(r"\.expert\.\d+\.")
#: Tensors of a layer and of a task, in the order of the computation.
STAGES = ("norm1", "q_proj", "k_proj", "q", "k", "v", "context", "attn", "norm2", "pre", "up", "hidden",
          "expert", "mlp")
TASK_STAGES = (
    "rescale", "pool", "norm", "mean", "k", "v", "context", "proj", "map_norm", "hidden", "mlp", "output"
)  # fmt: skip
#: The part of the model that a linear layer belongs to.
PART = re.compile(r"layers\.\d+\.(attn|mlp|moe\.gate|moe\.experts)|tasks\.[^.]+|embed")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What quantization costs.

    tensors: by name as in docs/description.md; the residual stream is `embed`, `layers.i.attn`, `layers.i.mlp`,
             `pre` the pre-activations
    by_task: the same by task and name
    gates:   by layer and task, share of the tokens which get the same experts as in the float network
    units:   by unit and tensor, errors in LSBs of the output
    tasks:   noise of the outputs, agreement of the classes, metrics of both models where labels were given
    weights: by linear layer
    """

    model: str
    images: int
    tensors: Mapping[str, Tensor]
    by_task: Mapping[str, Mapping[str, Tensor]]
    gates: Mapping[str, Mapping[str, float]]
    units: Mapping[str, Mapping[str, Error]]
    tasks: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Weights]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "model": self.model,
            "images": self.images,
            "tasks": {name: dict(task) for name, task in self.tasks.items()},
            "tensors": {name: self._tensor(name) for name in sorted(self.tensors, key=self._order)},
            "warnings": self.warnings(),
            "gate_agreement": {layer: dict(tasks) for layer, tasks in self.gates.items()},
            "unit_errors_lsb": {
                unit: {name: {"max": error.largest, "mean": error.mean} for name, error in errors.items()}
                for unit, errors in self.units.items()
            },
            "weights": {
                "bytes": sum(one.bytes for one in self.weights.values()),
                "layers": {
                    name: {"outputs": one.outputs, "inputs": one.inputs, "bits": one.bits, "bytes": one.bytes}
                    | ({} if one.kept is None else {"kept": one.kept})
                    for name, one in self.weights.items()
                },
            },
        }

    def _tensor(self, name: str) -> dict[str, Any]:
        """Pooled over the tasks and, where there are several, of each."""
        tasks = {task: tensors[name].as_dict() for task, tensors in self.by_task.items() if name in tensors}
        return self.tensors[name].as_dict() | ({"by_task": tasks} if len(tasks) > 1 else {})

    def warnings(self) -> list[str]:
        """Of tensors whose clipped values make more of the error than `WORTH_A_WARNING`, in any task."""
        found = []
        for name in sorted(self.tensors, key=self._order):
            shares = {
                task: tensors[name].clipped_error_share
                for task, tensors in self.by_task.items()
                if name in tensors and name.rpartition(".")[2] in WATCHED
            }
            worst = {task: share for task, share in shares.items() if share > WORTH_A_WARNING}
            if worst:
                tasks = ", ".join(f"{task} {share:.0%}" for task, share in worst.items())
                found.append(f"{name}: values beyond its codes make a good part of its error ({tasks})")
        return found

    def show(self, console: Console) -> None:
        """Print the tables. All experts of a layer share a row, which has the worst of each figure."""
        console.print(self._tasks())
        console.print(self._tensors())
        if self.gates:
            console.print(self._gates())
        console.print(self._units())
        console.print(self._weights())
        self.show_warnings(console)

    def show_warnings(self, console: Console) -> None:
        """Print what is clipped and matters, a line each."""
        for warning in self.warnings():
            console.print(f"[yellow]warning:[/] {warning}", highlight=False, soft_wrap=True)

    def _tasks(self) -> Table:
        table = Table("task", "SQNR dB", "same class", "float", "integer", title=f"{self.model}: {self.images} images")
        for name, task in self.tasks.items():
            same = f"{task['same_class_share']:.2%}" if "same_class_share" in task else "-"
            table.add_row(name, _decibels(task["sqnr_db"]), same, _metrics(task.get("float")),
                          _metrics(task.get("integer")))  # fmt: skip
        return table

    def _tensors(self) -> Table:
        # Eighty columns hold it.
        table = Table(Column("tensor", no_wrap=True), "SQNR", "float range", "codes", "clipped", "channels",
                      title="Tensors against the float network", box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0),
                      caption="SQNR in dB; clipped: share of the values, of the error; channels: the largest over "
                              "the median one (how many outliers)")  # fmt: skip
        for name, tensors in self._rows():
            rows = [tensor.as_dict() for tensor in tensors]
            low, high = min(t.low for t in tensors), max(t.high for t in tensors)
            codes = f"{min(t.code_low for t in tensors)}..{max(t.code_high for t in tensors)}"
            known = [t.sqnr for t in tensors if t.sqnr is not None]
            outliers = max(row["outliers"] for row in rows)
            table.add_row(
                name, _decibels(min(known, default=None)), f"{low:.3g}..{high:.3g}", codes,
                f"{max(row['clipped_share'] for row in rows):.2%} "
                f"{max(row['clipped_error_share'] for row in rows):.0%}",
                f"{max(row['largest_channel_ratio'] for row in rows):.1f}" + f" ({outliers})" * (outliers > 0),
            )  # fmt: skip
        return table

    def _rows(self) -> Iterable[tuple[str, list[Tensor]]]:
        """Tensors by name, those of a layer's experts together."""
        for name, names in groupby(sorted(self.tensors, key=self._order), lambda name: EXPERT.sub(".experts.", name)):
            yield name, [self.tensors[one] for one in names]

    def _order(self, name: str) -> tuple[int, ...]:
        """Sorts tensors as they are computed: embedding, layers, tasks."""
        first, *rest = name.split(".")
        if first in self.tasks:
            return (2, list(self.tasks).index(first), TASK_STAGES.index(rest[0]))
        if first == "layers":
            expert = (STAGES.index(rest[-1]), int(rest[2])) if rest[1] == "expert" else ()
            return (1, int(rest[0]), STAGES.index(rest[1]), *expert)
        return (0,)

    def _gates(self) -> Table:
        tasks = list(next(iter(self.gates.values())))
        table = Table("layer", *tasks, title="Tokens with the same experts as in the float network")
        for layer, shares in self.gates.items():
            table.add_row(layer, *(f"{shares[task]:.2%}" for task in tasks))
        return table

    def _units(self) -> Table:
        table = Table("unit", "largest", "mean", "where", title="Errors of the units, in LSBs of their outputs")
        for unit, errors in self.units.items():
            worst = max(errors.values(), key=lambda error: error.largest)
            mean = sum(error.mean for error in errors.values()) / len(errors)
            table.add_row(unit, f"{worst.largest:.3f}", f"{mean:.3f}", worst.case)
        return table

    def _weights(self) -> Table:
        table = Table("linear layers", "weights", "bits", "bytes", title="Weights in DRAM", show_footer=True)
        given = [one.kept for one in self.weights.values() if one.kept is not None]
        if given:
            table.caption = f"{sum(given)} of {len(given)} layers have the integers of the checkpoint"
        table.columns[3].footer = f"{sum(one.bytes for one in self.weights.values()):,}"
        for part, names in groupby(self.weights, _part):
            layers = [self.weights[name] for name in names]
            count = sum(one.outputs * one.inputs for one in layers)
            bits = sum(one.outputs * one.inputs * one.bits for one in layers) / count
            table.add_row(part, f"{count:,}", f"{bits:.3g}", f"{sum(one.bytes for one in layers):,}")
        return table


def _part(name: str) -> str:
    match = PART.match(name)
    return match[0] if match else name


def _decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _metrics(found: Mapping[str, float] | None) -> str:
    if not found:
        return "-"
    return ", ".join(f"{name} {value:.4g}" if name == "mae" else f"{name} {value:.2%}" for name, value in found.items())
