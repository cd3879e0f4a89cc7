"""Mixed precision: which layers take four-bit weights, so that the outputs change least for the bits saved.

Each layer's weights are rounded to four bits alone; what this adds to the outputs is its noise. Rounding errors of
different layers are nearly independent, so noise adds up: a greedy choice by noise per bit saved is close to the best
(MPTQ-ViT, Tai and Wu, 2024, measures layers by the SQNR of the output as well).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.network.description import Model
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.calibrate import Statistics
from hwgen.quantize.convert import Converter
from hwgen.quantize.layers import checkpoint_rows, linear_layers
from hwgen.quantize.observers import significant
from hwgen.quantize.options import Options

#: Calibration images the outputs are compared on.
IMAGES = 16
#: Noise keeps this many significant bits, so that a machine's own rounding decides nothing.
NOISE_BITS = 8


def search(
    network: FloatModel,
    images: np.ndarray,
    seen: Statistics,
    options: Options,
    fixed: Mapping[str, int],
    progress: Callable[[str], None],
) -> dict[str, int]:
    """Bits of the linear layers, on average over all weights at most `options.mean_bits`; `fixed` is kept as it is.

    Gates stay at eight bits: they have few weights, and the choice of experts hangs on them.
    """
    assert options.mean_bits is not None
    sizes, candidates = linear_layers(network.model), _candidates(network.model, fixed)
    bits = dict.fromkeys(sizes, 8) | dict(fixed)
    converter = Converter(network, seen, options, dict(fixed) | dict.fromkeys(candidates, 4))
    converter.description()
    sample = images[np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int)]
    noise = Noise(network, sample)
    found = {}
    for number, name in enumerate(candidates, 1):
        progress(f"searching bits: {name}, {number} of {len(candidates)}")
        found[name] = noise.of(name, *converter.effective[name])
    for name in sorted(candidates, key=lambda name: found[name] / sizes[name]):
        if mean_bits(sizes, bits) <= options.mean_bits:
            break
        bits[name] = 4
    # The last layer may have saved more than it had to: give back where it helps most.
    for name in sorted((name for name in candidates if bits[name] == 4), key=lambda name: -found[name]):
        if mean_bits(sizes, bits | {name: 8}) <= options.mean_bits:
            bits[name] = 8
    four = [name for name in sizes if bits[name] == 4]
    progress(f"{mean_bits(sizes, bits):.2f} bits per weight: {len(four)} of {len(sizes)} layers have four")
    return bits


def mean_bits(sizes: Mapping[str, int], bits: Mapping[str, int]) -> float:
    """Bits per weight over all linear layers."""
    return sum(sizes[name] * bits[name] for name in sizes) / sum(sizes.values())


def check_budget(network: FloatModel, options: Options, fixed: Mapping[str, int]) -> None:
    """Raise HwgenError if no choice of layers reaches `options.mean_bits`."""
    sizes = linear_layers(network.model)
    fewest = dict.fromkeys(sizes, 8) | dict(fixed) | dict.fromkeys(_candidates(network.model, fixed), 4)
    kept = bool(network.given) and options.keep_weights
    least = mean_bits(sizes, fewest)
    anew = ", or quantize the graph's integer weights anew (--no-keep-weights)" if kept else ""
    if options.mean_bits is not None and options.mean_bits < least:
        raise HwgenError("options", "mean_bits", found=f"{options.mean_bits:g}",
                         expected=f"at least {np.ceil(least * 100) / 100:.2f}, as some layers keep eight bits",
                         mend="raise it, or name fewer layers with 8 in `weight_bits`" + anew)  # fmt: skip


def _candidates(model: Model, fixed: Mapping[str, int]) -> list[str]:
    """The layers whose bits are open."""
    return [name for name in checkpoint_rows(model) if name not in fixed and ".gate." not in name]


class Noise:
    """What a change of one layer's weights adds to the outputs of a float network."""

    def __init__(self, network: FloatModel, images: np.ndarray) -> None:
        self.network = FloatModel(network.model, network.tensors, eps=float(network.eps), mean=list(network.mean),
                                  std=list(network.std), dtype=np.float32)  # fmt: skip
        self.images, self.rows = images, checkpoint_rows(network.model)
        self.states = [self._states(number) for number in range(len(network.model.tasks))]

    def _states(self, task: int) -> list[np.ndarray]:
        """The residual stream in front of every layer and after the last one, then the outputs."""
        states = [self.network.embed(self.images)]
        for index in range(len(self.network.model.layers)):
            states.append(self.network.layer(index, states[-1], task))
        return [*states, self.network.head(task, states[-1])]

    def of(self, name: str, weight: np.ndarray, bias: np.ndarray) -> float:
        """Noise of these weights and this bias in a linear layer: relative to the outputs' power, summed over tasks."""
        with self._changed(name, weight, bias):
            total = sum(self._noise(number, name) for number in range(len(self.states)))
        return float(significant(np.array(total), NOISE_BITS))

    def _noise(self, task: int, name: str) -> float:
        kind, _, rest = name.partition(".")
        states, layers = self.states[task], len(self.network.model.layers)
        if kind == "tasks":
            x, first = states[layers], layers
        else:
            first = int(rest.split(".")[0]) if kind == "layers" else 0
            x = states[first] if kind == "layers" else self.network.embed(self.images)
        for index in range(first, layers):
            x = self.network.layer(index, x, task)
        wanted = states[-1]
        return float(((self.network.head(task, x) - wanted) ** 2).sum() / (wanted**2).sum())

    @contextmanager
    def _changed(self, name: str, weight: np.ndarray, bias: np.ndarray) -> Iterator[None]:
        source, rows = self.rows[name]
        tensors = self.network.tensors
        kept = {part: tensors[f"{source}.{part}"] for part in "wb"}
        try:
            for part, value in (("w", weight), ("b", bias)):
                tensors[f"{source}.{part}"] = kept[part].copy()
                tensors[f"{source}.{part}"][rows] = value
            yield
        finally:
            tensors |= {f"{source}.{part}": value for part, value in kept.items()}
