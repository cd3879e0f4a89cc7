"""The integers of one operator each, from float weights and the grids of what it reads and makes (docs/numerics.md).

Tested by tests/quantize/test_quantize.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hwgen.network.description import table_arrays
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.calibrate import Statistics
from hwgen.quantize.fixed import multiplier
from hwgen.quantize.layers import checkpoint_rows, given_layers
from hwgen.quantize.options import Options
from hwgen.quantize.second_order import fit_scales, round_second_order
from hwgen.quantize.steps import Grid
from hwgen.quantize.weights import given_codes, round_weights

__all__ = ["Operators"]

#: A bias may not take more than this, so that acc + bias keeps to 32 bits and a sign.
MAX_BIAS = 1 << 30


class Operators:
    """Puts the tensors of operators into `tensors`, their steps for reports into `scales`.

    `bits` are those of the weights by linear layer, eight where it names none. An `s_…` is the real value of one step
    of an integer. `effective`: by linear layer, what the integers stand for.
    """

    def __init__(self, network: FloatModel, seen: Statistics, options: Options, bits: Mapping[str, int]) -> None:
        self.network, self.seen, self.options, self.bits = network, seen, options, bits
        self.source = {name: tensor.astype(np.float64) for name, tensor in network.tensors.items()}
        #: Scales of weights that stay the checkpoint's integers; what they read has one step, as others go into them.
        self.given = {name: one.scales for name, one in given_layers(network).items()
                      if options.keep_weights and bits.get(name, 8) == one.bits}  # fmt: skip
        self.even = {f"{checkpoint_rows(network.model)[name][0]}.w" for name in self.given}
        self.tensors = table_arrays(network.model)
        self.scales: dict[str, float] = {}
        self.effective: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def _linear(self, name: str, weight: np.ndarray, bias: np.ndarray | None, grid: Grid, s_out: np.ndarray | float,
                inputs: str | None, zero: np.ndarray | int = 0) -> None:  # fmt: skip
        """A linear [out, in] for inputs of this grid, with outputs of steps `s_out`; no bias at all without `bias`.

        inputs: the tensor whose variance says which weights matter and whose mean tells what their rounding adds
        zero:   code of zero, per tensor or input channel; folded into the bias with the rounded weights: an input at
                its zero then adds exactly nothing
        """
        bits = self.bits.get(name, 8)
        scaled = weight * grid.step
        added = np.zeros(len(weight)) if bias is None else bias + weight @ grid.centre
        smallest = np.abs(added) / MAX_BIAS
        mean, importance = np.zeros(weight.shape[1]), np.ones(weight.shape[1])
        if inputs is not None:
            importance = self.seen[inputs].variance() / grid.step**2
            mean = (self.seen[inputs].mean() - grid.centre) / grid.step
        own = self.given.get(name) if np.ptp(grid.step) == 0 else None
        kept = None if own is None else given_codes(scaled, own * grid.step[0], smallest)
        codes, s_acc = kept or round_weights(scaled, bits, smallest, importance)
        s_acc = np.where(s_acc > 0, s_acc, s_out)  # a channel of zeros
        second_order = kept is None and self.options.rounding == "second_order"
        covariance = self.seen[inputs].covariance() if inputs is not None and second_order else None
        if inputs is not None and covariance is not None:
            limit, in_codes = (1 << bits - 1) - 1, covariance / np.outer(grid.step, grid.step)
            rows = self.seen[inputs].rows
            if bits == 4:
                codes, s_acc = fit_scales(scaled, smallest, in_codes, rows, limit)
            else:
                codes = round_second_order(scaled, s_acc, in_codes, rows, limit)
        if bits < 8 or covariance is not None:
            error = codes * s_acc[:, None] - scaled
            added = added - error @ mean if bias is not None else added
            effective = codes * s_acc[:, None] / grid.step
            self.effective[name] = effective, added - effective @ grid.centre
        mult, shift = multiplier(s_acc / s_out)
        self.tensors |= {
            f"{name}.weight": codes.astype(np.int8),
            f"{name}.bias": np.rint(added / s_acc - (codes * zero).sum(1)).astype(np.int32),
            f"{name}.mult": mult,
            f"{name}.shift": shift,
        }

    def _layernorm(self, name: str, source: str, grid: Grid, s_in: float) -> None:
        """A LayerNorm from inputs of this step to codes of this grid."""
        gamma, beta = self.source[f"{source}.g"], self.source[f"{source}.b"]
        self._affine(name, gamma / 1024 / grid.step, (beta - grid.centre) / grid.step)  # xhat has ten fraction bits
        eps = float(self.network.eps) * len(gamma) ** 2 / s_in**2
        self.tensors[f"{name}.eps"] = np.array([max(1, round(eps))], np.int64)

    def _affine(self, name: str, gamma: np.ndarray, beta: np.ndarray) -> None:
        """gamma and beta, in output steps, with the largest shift that fits int16 and int32."""
        room = min(32767 / max(np.abs(gamma).max(), 1e-30), (2**31 - 1) / max(np.abs(beta).max(), 1e-30))
        shift = int(np.clip(math.floor(math.log2(room)), 0, 31))
        self.tensors |= {
            f"{name}.gamma": np.clip(np.rint(gamma * 2**shift), -32768, 32767).astype(np.int16),
            f"{name}.beta": np.clip(np.rint(beta * 2**shift), -(2**31), 2**31 - 1).astype(np.int32),
            f"{name}.shift": np.array([shift], np.uint8),
        }

    def _scaling(self, name: str, ratio: float, max_shift: int = 47) -> None:
        self.tensors[f"{name}.mult"], self.tensors[f"{name}.shift"] = multiplier(ratio, max_shift)
