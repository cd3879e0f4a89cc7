"""Activation functions x·s(x) with s(x) + s(−x) = 1: ReLU minus an even function from a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.fixed import MAX_SHIFT, Exact, Int64, rshift, sat9
from golden.linear import scalar
from hwgen.machine.tables import ACTIVATIONS

#: Steps of pre-activations h, thirteen bits that span [-32, 32), and of g, in 1.0.
H_STEPS, G_STEPS = 1 << 7, 1 << 9
H_MIN, H_MAX = -4096, 4095
#: The table reaches to |x| = 8; the function is ReLU beyond.
REACH = 1024
#: What the product of a gated MLP's other operand and the multiplier loses.
GATE_BITS = 7
#: Codes from a window of a channel's output to the next one.
WINDOW = 510

_CODES = np.arange(H_MIN, H_MAX + 1)


def activation_steps(h: Int64, kind: str) -> Int64:
    """g in steps of 2^-9, about `512 * f(h / 128)`, of pre-activations h, clamped to [-4096, 4095]."""
    codes = np.clip(h, H_MIN, H_MAX)
    even = np.abs(codes)
    table = np.array(ACTIVATIONS[kind], np.int64)
    return 4 * np.maximum(codes, 0) - np.where(even < REACH, table[np.minimum(even, REACH - 1)], 0)


@dataclass(frozen=True, kw_only=True)
class Activation:
    """An activation function and its output's scale: `mult` uint16, `shift` 0..31, `zero` -255..255 (code of 0.0)."""

    kind: str
    mult: int
    shift: int
    zero: int

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray], name: str, kind: str) -> Activation:
        """Take `name.mult`, `.shift` and `.zero` of a description."""
        return cls(kind=kind, **{part: scalar(tensors, f"{name}.{part}") for part in ("mult", "shift", "zero")})

    def __call__(self, h: Int64 | Exact, window: int = 0) -> NDArray[np.int16]:
        """`sat9(rshift(g·M, S) + zero - 510·window)`, -255..255, of pre-activations h (steps of 2^-7, clamped here)."""
        # Each of the 8192 codes has one result: finish the codes, not the tensor.
        return self.codes(window)[(np.clip(h, H_MIN, H_MAX) - H_MIN).astype(np.int16)]

    def codes(self, window: int = 0) -> NDArray[np.int16]:
        """The output [8192] of every pre-activation -4096..4095."""
        assert 0 <= self.shift <= MAX_SHIFT, f"shift must be in 0..31, not {self.shift}"
        scaled = rshift(activation_steps(_CODES, self.kind) * self.mult, self.shift)
        return sat9(scaled + self.zero - WINDOW * window)

    def gated(self, h: Int64 | Exact, up: NDArray[np.int16]) -> NDArray[np.int16]:
        """`sat9(rshift(g·((u·M) >> 7), S) + zero)`, -255..255, of pre-activations h and what g is multiplied by, u
        -255..255."""
        assert 0 <= self.shift <= MAX_SHIFT, f"shift must be in 0..31, not {self.shift}"
        g = activation_steps(_CODES, self.kind)[(np.clip(h, H_MIN, H_MAX) - H_MIN).astype(np.int16)]
        factor = up.astype(np.int64) * self.mult >> GATE_BITS
        return sat9(rshift(g * factor, self.shift) + self.zero)
