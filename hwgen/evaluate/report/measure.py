"""Runs both models chunk by chunk and compares their tensors, their experts and their outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from golden.activation import H_MAX, H_MIN, H_STEPS, WINDOW
from golden.linear import Linear
from golden.mlp import joined
from golden.model import Golden
from hwgen.evaluate.quality import metrics, task_labels
from hwgen.evaluate.report.result import Report
from hwgen.evaluate.report.tensors import LIMITS, Tensor
from hwgen.evaluate.report.units import UNITS, unit_errors
from hwgen.evaluate.report.weights import weights
from hwgen.network.description import Description, MoeMlp, Task
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.grids import grids
from hwgen.quantize.steps import Grid

#: Unit errors are measured on so many images.
UNIT_IMAGES = 1
#: Heads that read one token: which.
TOKENS = {"class_token": 0, "distillation_token": 1}
#: Of pre-activations.
PRE = Grid(step=np.array([1 / H_STEPS]), centre=np.array([0.0]))


def report(
    network: FloatModel, description: Description, images: np.ndarray, labels: Mapping[str, np.ndarray] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Report:  # fmt: skip
    """Compare a description with the float network it was made from, on images uint8 [B, H, W, C].

    labels: by task, as `hwgen.network.images.load_images` gives them; HwgenError if they do not fit the tasks.
    """
    wanted = task_labels(description.model, labels, "labels")
    comparison = _Comparison(network, description)
    for task in description.model.tasks:
        for part in network.chunks(len(images)):
            progress(f"comparing {task.name} on image {part.start + 1} of {len(images)}")
            comparison.see(images[part], task)
    progress("errors of the units")
    units: dict[str, dict[str, Any]] = {unit: {} for unit in UNITS}
    for task in description.model.tasks:
        run = comparison.golden.run(images[:UNIT_IMAGES], task.name, keep=True).tensors
        for unit, errors in unit_errors(description, task.name, run).items():
            units[unit] |= errors
    return Report(
        model=description.model.name,
        images=len(images),
        tensors=comparison.pooled(),
        by_task=comparison.tensors,
        gates={
            layer: {task: float(np.mean(same)) for task, same in by.items()} for layer, by in comparison.same.items()
        },
        units=units,
        tasks={task.name: comparison.quality(task, wanted.get(task.name)) for task in description.model.tasks},
        weights=weights(description, network),
    )


class _Comparison:
    """tensors: by task and name; same: by layer and task, whether each token has the same experts; outputs: both, by
    task."""

    def __init__(self, network: FloatModel, description: Description) -> None:
        self.network, self.description, self.model = network, description, description.model
        self.golden = Golden(description)
        self.grids = grids(network, description)
        self.tensors: dict[str, dict[str, Tensor]] = {task.name: {} for task in self.model.tasks}
        self.same: dict[str, dict[str, list[bool]]] = {}
        self.outputs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def see(self, images: np.ndarray, task: Task) -> None:
        """Account for images few enough to be one chunk of the float network."""
        taps: dict[str, np.ndarray] = {}
        self.network.run(images, task.name, taps.__setitem__)
        run = self.golden.run(images, task.name, keep=True).tensors
        number = self.model.tasks.index(task)
        for name, value in taps.items():
            if name in self.grids and ".expert." not in name:
                self._see(task, name, value, self._rows(task, value, self._whole(name, run[name])))
        for index, layer in enumerate(self.model.layers):
            name = f"layers.{index}"
            if isinstance(layer.mlp, MoeMlp):
                self._experts(index, layer.mlp, number, taps, run)
            else:
                self._pre(task, f"{name}.pre", taps[f"{name}.pre"], f"{name}.mlp", run[f"{name}.norm2"])
        output = f"{task.name}.output"
        grid = self.grids[output]
        self.outputs.setdefault(task.name, []).append((taps[output], run[output] * grid.step + grid.centre))

    def pooled(self) -> dict[str, Tensor]:
        """By name, over all tasks."""
        found: dict[str, Tensor] = {}
        for tensors in self.tensors.values():
            for name, tensor in tensors.items():
                found.setdefault(name, Tensor(tensor.grid, tensor.limits)).add(tensor)
        return found

    def _see(self, task: Task, name: str, wanted: np.ndarray, codes: np.ndarray) -> None:
        kind = name.rpartition(".")[2]
        if kind == "output" and task.head == "none" and task.norm:
            kind = "norm"
        grid = PRE if kind == "pre" else self.grids[name]
        low, high = LIMITS[kind]
        windows = self._windows(name)
        limits = (low, high) if windows is None else (low, high + (windows.astype(int) - 1) * WINDOW)
        self.tensors[task.name].setdefault(name, Tensor(grid, limits)).see(wanted, codes)

    def _windows(self, name: str) -> np.ndarray | None:
        """Of the channels of a dense layer's hidden activations, if any has more than one."""
        layer, _, kind = name.rpartition(".")
        return self.description.tensors.get(f"{layer}.mlp.activation.windows") if kind == "hidden" else None

    def _whole(self, name: str, codes: np.ndarray) -> np.ndarray:
        """Codes with the windows of each channel in one."""
        windows = self._windows(name)
        return codes if windows is None else joined(codes, windows)

    def _pre(self, task: Task, name: str, wanted: np.ndarray, mlp: str, inputs: np.ndarray) -> None:
        """Pre-activations of an MLP's codes `inputs`. Below the smallest code nothing is lost: the function is zero."""
        codes = np.clip(Linear.load(self.description.tensors, f"{mlp}.fc1")(inputs), H_MIN, H_MAX)
        self._see(task, name, np.maximum(wanted, H_MIN / H_STEPS), codes.astype(np.int16))

    def _rows(self, task: Task, wanted: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Of codes of all tokens those of the tokens which the float network's head reads."""
        if wanted.shape[1] == codes.shape[1]:
            return codes
        token = TOKENS.get(task.head)
        return codes[:, self.model.prefix :] if token is None else codes[:, token : token + 1]

    def _experts(self, index: int, mlp: MoeMlp, task: int, taps: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Experts' choice; hidden activations of the tokens which both models give to an expert."""
        name, shape = f"layers.{index}", run[f"layers.{index}.experts"].shape
        logits = taps[f"{name}.norm2"].reshape(-1, self.model.dim) @ self.network.tensors[f"l{index}.gate{task}"].T
        winners = np.sort(np.argsort(-logits, axis=-1, kind="stable")[:, : mlp.top_k])
        found = run[f"{name}.experts"].reshape(winners.shape)
        same = self.same.setdefault(name, {}).setdefault(self.model.tasks[task].name, [])
        same.extend((winners == found).all(-1).tolist())
        tokens = shape[1]
        for expert in range(mlp.experts):
            hidden, pre = (f"{name}.expert.{expert}.{part}" for part in ("hidden", "pre"))
            queues = run[f"{name}.expert.{expert}.tokens"]
            codes = np.concatenate(run[hidden])
            rows = np.concatenate([image * tokens + queue for image, queue in enumerate(queues)])
            _, left, right = np.intersect1d(np.nonzero((winners == expert).any(-1))[0], rows, return_indices=True)
            if len(left):
                self._see(self.model.tasks[task], hidden, taps[hidden][left], codes[right])
                inputs = run[f"{name}.norm2"].reshape(-1, self.model.dim)[rows[right]]
                self._pre(self.model.tasks[task], pre, taps[pre][left], f"{name}.moe.experts.{expert}", inputs)

    def quality(self, task: Task, labels: np.ndarray | None) -> dict[str, Any]:
        """Of a task: noise of the outputs, agreement of the classes, with labels the metrics of both models."""
        wanted, found = (np.concatenate(parts) for parts in zip(*self.outputs[task.name], strict=True))
        result: dict[str, Any] = {"sqnr_db": self.tensors[task.name][f"{task.name}.output"].sqnr}
        if task.outputs not in (None, 1):
            result["same_class_share"] = float((wanted.argmax(-1) == found.argmax(-1)).mean())
        if labels is not None:
            result |= {"float": metrics(wanted, labels), "integer": metrics(found, labels)}
        return result
