"""Errors of the integer operators against the exact function of the same quantized input.

`python -m golden.errors` prints them in LSBs of each operator's output; 0.5 of it is the output's own rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden import reference
from golden.activation import G_STEPS, H_MAX, H_MIN, H_STEPS, Activation
from golden.attention import probabilities
from golden.layernorm import Norm, rsqrt
from golden.moe import GATES, route

#: Norms by whether they leave the mean in.
NORMS = {"layernorm": False, "rmsnorm": True}
#: Widths D of their cases.
WIDTHS = (16, 64, 192, 384, 768, 1024)
#: Output LSBs per standard deviation of their cases (255 saturates already at one sigma).
GAINS = (8, 64, 255)
#: Codes that gate an activation.
GATES_BY = (-255, -128, -1, 3, 255)
#: Largest real value of an activation's output code 255. Down to 2.0 one LSB is at least 2^-8.
FULL_SCALES = (32.0, 16.0, 8.0, 6.0, 4.0, 3.0, 2.5, 2.0)

#: Keys of the rows whose sums are measured.
ROWS = (16, 64, 197, 1024)


class Error(NamedTuple):
    """Largest and mean absolute error in LSBs over a case."""

    case: str
    largest: float
    mean: float


def measure(case: str, got: ArrayLike, exact: ArrayLike) -> Error:
    """Compare integers with the exact values."""
    distance = np.abs(np.asarray(got) - np.asarray(exact))
    return Error(case, float(distance.max()), float(distance.mean()))


def activation_errors(kind: str) -> Iterator[Error]:
    """All 8192 pre-activations at several output scales: the function's minimum has code -255."""
    h = np.arange(H_MIN, H_MAX + 1)
    low = float(reference.ACTIVATIONS[kind](h / H_STEPS).min())
    for full in FULL_SCALES:
        lsb = (full - low) / 510
        shift = int(np.floor(np.log2(65535 * G_STEPS * lsb)))
        mult, zero = round(2**shift / (G_STEPS * lsb)), int(np.ceil(-low / lsb)) - 255
        exact = np.clip(reference.activation_output(h, kind, mult, shift, zero), -255, 255)
        case = f"full scale {full:4.1f}, M {mult}, S {shift}, zero {zero}"
        yield measure(case, Activation(kind=kind, mult=mult, shift=shift, zero=zero).codes(), exact)


def gated_errors(kind: str) -> Iterator[Error]:
    """Every pre-activation by a code that gates it, at output scales whose largest code is a product so large."""
    h = np.arange(H_MIN, H_MAX + 1)
    for full in FULL_SCALES:
        ratio = 255 / (G_STEPS * full) * 128 / 255  # the largest code that gates, 255, makes `full` of 1.0
        shift = int(np.floor(np.log2(65535 / ratio)))
        made = Activation(kind=kind, mult=round(ratio * 2**shift), shift=shift, zero=0)
        for up in GATES_BY:
            exact = np.clip(reference.gated_output(h, kind, up, made.mult, shift, 0), -255, 255)
            yield measure(f"full scale {full:4.1f}, M {made.mult}, S {shift}, gate {up}",
                          made.gated(h, np.full(h.shape, up, np.int16)), exact)  # fmt: skip


def rows(d: int, rng: np.random.Generator) -> dict[str, NDArray[np.int16]]:
    """Rows int16 [n, d] by kind: usual ones and those which a LayerNorm finds hard."""
    sign = rng.choice([-1, 1], (32, d))
    noise = rng.normal(0, 300, (32, d))
    outlier = np.zeros((4, d))
    outlier[:2, d // 3], outlier[2:, d - 1] = 32767, -32768
    spiked = np.where(np.arange(d) == d // 2, 32767, noise)
    cases = {
        "normal, sigma 300": rng.normal(0, 300, (256, d)),
        "normal, sigma 3000, offset": rng.normal(0, 3000, (256, d)) + rng.normal(0, 5000, (256, 1)),
        "uniform, full range": rng.integers(-32768, 32768, (256, d)),
        "one outlier among zeros": outlier,
        "one outlier among noise": spiked,
        "constant": np.repeat([[0], [1], [-1], [32767], [-32768]], d, axis=1),
        "tiny variance": np.array([[0], [32766], [-32768]]) + (rng.random((3, d)) < 0.5),
        "one channel off by 1": np.array([[0], [32766], [-32768]]) + (np.arange(d) == d // 2),
        "all +-32767": 32767 * sign,
        "all 32767 or -32768": np.where(sign > 0, 32767, -32768),
    }
    return {kind: np.clip(np.rint(x), -32768, 32767).astype(np.int16) for kind, x in cases.items()}


def norm_errors(d: int, rms: bool, gains: tuple[float, ...] = GAINS, seed: int = 0) -> Iterator[Error]:
    """LayerNorm or RMSNorm: each kind of row at width d, the worst over `gains` and over eps = 1 and 1e-6 (with 9
    fraction bits)."""
    rng = np.random.default_rng([seed, d])
    for kind, x in rows(d, rng).items():
        found = []
        for gain in gains:
            shift = int(np.floor(np.log2(30000 * 1024 / (1.5 * gain))))
            gamma = np.rint(gain * rng.uniform(0.5, 1.5, d) * rng.choice([-1, 1], d) * 2.0 ** (shift - 10))
            beta = np.rint(rng.normal(0, 40, d) * 2.0**shift)
            for eps in (1, max(1, round(1e-6 * d * d * 2**18))):
                norm = Norm(gamma=gamma.astype(np.int16), beta=beta.astype(np.int32), shift=shift, eps=eps, rms=rms)
                exact = reference.layernorm(x, norm.gamma, norm.beta, norm.shift, eps, rms)
                found.append(measure(kind, norm(x).astype(np.int64), np.clip(exact, -255, 255)))
        yield Error(f"D {d:4}, {kind}", max(e.largest for e in found), float(np.mean([e.mean for e in found])))


def rsqrt_error() -> float:
    """Largest relative error of the reciprocal square root over all V: y1 depends on the 18 leading bits alone."""
    m = np.arange(1 << 16, 1 << 18)
    y1, lz = rsqrt(m << 34)
    assert not lz.any()
    ends = np.array([m, m + 1]) / 2.0**16
    return float(np.abs(y1 / 2**16 * np.sqrt(ends) - 1).max())


def softmax_errors() -> Iterator[Error]:
    """Attention's p for every u at each place of the dither; the mean over those u whose p is not always 0."""
    t = np.arange(32767, -32769, -1).astype(np.int16)
    turned = [probabilities(np.roll(t, place)) for place in range(32)]
    got = np.array([np.roll(p, -place) for place, p in enumerate(turned)]).astype(np.int64)
    exact = reference.probabilities(t)
    yield Error("p, every u and place", measure("", got, exact).largest, measure("", got[:, :416], exact[:416]).mean)


def sum_errors(seed: int = 0) -> Iterator[tuple[Error, float]]:
    """The sum of p over a row of n keys, whose scores have a standard deviation of one to six log2 units; second, the
    largest relative error."""
    rng = np.random.default_rng(seed)
    for keys in ROWS:
        scores = np.rint(32 * rng.uniform(1, 6, (2000, 1)) * rng.normal(0, 1, (2000, keys))).astype(np.int16)
        got, exact = probabilities(scores).sum(-1, dtype=np.int64), reference.probabilities(scores).sum(-1)
        yield measure(f"sum of p over {keys} keys", got, exact), float(np.abs(got / exact - 1).max())


def gate_errors(seed: int = 0) -> Iterator[tuple[Error, float]]:
    """Gate weights in 2^-16 with, second, the largest relative error among weights of 2^-8 and more."""
    rng = np.random.default_rng(seed)
    for gate in GATES:
        for experts, k in ((8, 2), (16, 2), (16, 4), (64, 8)):
            spread = 65536 * rng.uniform(0.1, 4, (4096, 1))
            t = np.clip(np.rint(rng.normal(0, spread, (4096, experts))), -(1 << 23), (1 << 23) - 1).astype(np.int32)
            winners, weights = route(t, k, gate)
            exact = 65536 * reference.gate_weights(t, winners, gate)
            large = exact >= 256
            relative = np.abs(weights[large] / exact[large] - 1).max()
            yield measure(f"{gate}, {experts} experts, top {k}", weights, exact), float(relative)


def main() -> None:
    """Print the table."""
    print(f"{'operator':<10} {'case':<52} {'max':>8} {'mean':>8}  LSB of the output")
    for kind in reference.ACTIVATIONS:
        for error in activation_errors(kind):
            print(f"{kind:<10} {error.case:<52} {error.largest:8.4f} {error.mean:8.4f}")
        for error in gated_errors(kind):
            print(f"{kind:<10} {error.case:<52} {error.largest:8.4f} {error.mean:8.4f}")
    for operator, rms, d in ((name, rms, d) for name, rms in NORMS.items() for d in WIDTHS):
        for error in norm_errors(d, rms):
            print(f"{operator:<10} {error.case:<52} {error.largest:8.4f} {error.mean:8.4f}")
    print(f"{'rsqrt':<10} {'every V':<52} {'':17}  relative {rsqrt_error():.6f}")
    for error in softmax_errors():
        print(f"{'softmax':<10} {error.case:<52} {error.largest:8.4f} {error.mean:8.4f}")
    for operator, found in (("softmax", sum_errors()), ("gate", gate_errors())):
        for error, relative in found:
            print(f"{operator:<10} {error.case:<52} {error.largest:8.2f} {error.mean:8.2f}  relative {relative:.5f}")


if __name__ == "__main__":
    main()
