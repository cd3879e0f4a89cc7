"""A failing case made small: structure, images and memory reduced for as long as it fails in the same way.

Tensors are cut, not drawn anew, so that what fails because of its values goes on failing.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwgen.common.errors import HwgenError
from hwgen.network.description import Description, check, expected_tensors, parse_model
from hwgen.verify.draw import Case
from sim.job import Timing

__all__ = ["TRIES", "shrunk", "smaller"]

#: Cases looked at, at most.
TRIES = 300
FLAGS = ("post_norm", "norm_pre", "qk_norm", "rms_norm", "distillation_token", "class_token")


def shrunk(case: Case, fails: Callable[[Case], bool], tries: int = TRIES) -> Case:
    """The last one that failed: nothing of `smaller` does any more, or there were too many tries."""
    while True:
        for candidate in smaller(case):
            tries -= 1
            if fails(candidate):
                case = candidate
                break
            if tries <= 0:
                return case
        else:
            return case


def smaller(case: Case) -> Iterator[Case]:
    """Cases that are smaller in one thing each; what saves most comes first."""
    if len(case.images) > case.batch:
        for run in range(0, len(case.images), case.batch):
            yield replace(case, images=case.images[run : run + case.batch])
    if case.batch > 1:
        for image in range(case.batch):
            yield replace(case, images=case.images[image : image + 1], batch=1)
    for structure, dropped in _structures(case.network):
        if (network := _cut(case.network, structure, dropped)) is not None:
            size = network.model.image
            images = case.images[:, : size.height, : size.width, : size.channels]
            yield replace(case, network=network, images=images)
    usual = Timing(seed=case.timing.seed, longest_burst=case.timing.longest_burst)
    for plain in ({"stall_percent": 0}, {"jitter": 0}, {"weight_latency": ()}, {"latency": usual.latency}):
        if (timing := replace(case.timing, **plain)) != case.timing:  # type: ignore[arg-type]
            yield replace(case, timing=timing)


def _structures(network: Description) -> Iterator[tuple[dict[str, Any], int | None]]:
    """Of `model.yaml`, each with one thing less, and which layer that was, if it was one."""
    whole = network.model.model_dump(exclude_none=True)

    def less(place: tuple[Any, ...], key: str, value: Any) -> tuple[dict[str, Any], None]:
        made = copy.deepcopy(whole)
        _at(made, place)[key] = value
        return made, None

    if len(whole["tasks"]) > 1:
        yield from (less((), "tasks", [task]) for task in whole["tasks"])
    if len(whole["layers"]) > 1:
        yield from ((_without_layer(whole, index), index) for index in reversed(range(len(whole["layers"]))))
    for size in ("height", "width"):
        step = whole["patch"][size]
        count = whole["image"][size] // step
        yield from (less(("image",), size, fewer * step) for fewer in sorted({count // 2, count - 1} - {0, count}))
    yield from (less((), name, False) for name in FLAGS if whole.get(name))
    for place, key, least in _counts(whole):
        value = _at(whole, place)[key]
        yield from (less(place, key, n) for n in sorted({value // 2, value - 1, least}) if least <= n < value)
    for index, layer in enumerate(whole["layers"]):
        for key, plain in (("windows", 1), ("gated", False)):
            if layer["mlp"].get(key, plain) != plain:
                yield less(("layers", index, "mlp"), key, plain)
    yield from (less(("tasks", index), "norm", False) for index, task in enumerate(whole["tasks"]) if task["norm"])
    if whole["weight_bits"]:
        yield less((), "weight_bits", {})


def _counts(whole: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str, int]]:
    """Where a number that may be smaller is: the mapping, its key, the least it can be."""
    yield from (((), key, least) for key, least in (("dim", 1), ("heads", 1), ("head_dim", 1), ("register_tokens", 0)))
    yield ("image",), "channels", 1
    for index, layer in enumerate(whole["layers"]):
        yield ("layers", index, "mlp"), "hidden", 1
        if layer["mlp"]["kind"] == "moe":
            yield ("layers", index, "mlp"), "top_k", 1
            yield ("layers", index, "mlp"), "experts", 2
    for index, task in enumerate(whole["tasks"]):
        if "outputs" in task:
            yield ("tasks", index), "outputs", 1
        if "mlp" in task:
            yield ("tasks", index, "mlp"), "hidden", 1


def _at(whole: dict[str, Any], place: tuple[Any, ...]) -> Any:
    for step in place:
        whole = whole[step]
    return whole


def _without_layer(whole: dict[str, Any], index: int) -> dict[str, Any]:
    made = copy.deepcopy(whole)
    del made["layers"][index]
    if isinstance(made["residual_fraction_bits"], list):
        del made["residual_fraction_bits"][1 + 2 * index : 3 + 2 * index]
    bits = {name: _moved(name, index, -1) for name in made["weight_bits"]}
    made["weight_bits"] = {to: 4 for name, to in bits.items() if not name.startswith(f"layers.{index}.")}
    return made


def _moved(name: str, dropped: int, by: int) -> str:
    """Of a tensor behind a layer that was dropped; by 1: the name it had before."""
    found = re.match(r"layers\.(\d+)\.", name)
    behind = found and int(found[1]) >= dropped + (by < 0)
    return f"layers.{int(found[1]) + by}.{name[found.end():]}" if found and behind else name


def _cut(network: Description, structure: dict[str, Any], dropped: int | None) -> Description | None:
    """With the tensors' first rows and columns; None where that is no network."""
    names = structure["weight_bits"]
    structure = structure | {"scales": {"pixels": network.model.scales.get("pixels", 1 / 255)}, "weight_bits": {}}
    tensors: dict[str, NDArray[Any]] = {}
    try:
        model = parse_model(structure, "a smaller case")
        specs = expected_tensors(model)
        model = model.model_copy(update={"weight_bits": {n: 4 for n in names if f"{n}.weight" in specs}})
        for name, spec in expected_tensors(model).items():
            old = network.tensors.get(name if dropped is None else _moved(name, dropped, 1))
            if old is None or old.ndim != len(spec.shape):
                return None
            part = old[tuple(slice(size) for size in spec.shape)]
            tensors[name] = np.ascontiguousarray(np.clip(part, spec.lo, spec.hi).astype(spec.dtype))
        made = Description(model, tensors)
        check(made)
    except HwgenError:
        return None
    return made
