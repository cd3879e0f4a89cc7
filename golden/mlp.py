"""The two-layer perceptron of a dense layer and of one expert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from golden.activation import Activation
from golden.fixed import add16, sat9, sat16
from golden.linear import Linear
from golden.postnorm import PostNorm


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """`fc1` maps D to hidden channels in steps of 2^-7, `fc2` maps back to the residual's scale.

    `shift` is what the residual stream is shifted by where a dense layer's output is added. `windows`: the channels
    that have a second window, a third one, ...: `fc2` reads each window as an operand of its own. `up`, of a gated MLP,
    maps D to what the activations are multiplied by. `behind`: a norm in front of a dense layer's addition.
    """

    fc1: Linear
    activation: Activation
    fc2: Linear
    shift: int = 0
    windows: tuple[NDArray[np.intp], ...] = ()
    up: Linear | None = None
    behind: PostNorm | None = None

    @classmethod
    def load(
        cls, tensors: Mapping[str, NDArray], name: str, *, activation: str, shift: int = 0,
        behind: PostNorm | None = None,
    ) -> Mlp:  # fmt: skip
        """Take `name.fc1`, `.activation`, `.fc2` and, where it is, `.up` of a description."""
        count = tensors.get(f"{name}.activation.windows", np.ones(1, np.uint8))
        windows = tuple(np.flatnonzero(count > window) for window in range(1, int(count.max())))
        return cls(
            fc1=Linear.load(tensors, f"{name}.fc1"),
            activation=Activation.load(tensors, f"{name}.activation", activation),
            fc2=_continued(Linear.load(tensors, f"{name}.fc2"), windows),
            shift=shift,
            windows=windows,
            up=Linear.load(tensors, f"{name}.up") if f"{name}.up.weight" in tensors else None,
            behind=behind,
        )

    def hidden(self, y: NDArray[np.int16]) -> NDArray[np.int16]:
        """Activations -255..255 [..., hidden and further windows] of y -255..255 [..., D]."""
        h = self.fc1(y)
        further = [self.activation(h[..., channels], number) for number, channels in enumerate(self.windows, 1)]
        return np.concatenate([self.activation(h), *further], axis=-1)

    def dense(self, x: NDArray[np.int16], y: NDArray[np.int16]) -> dict[str, NDArray]:
        """`hidden` [B, N, hidden and further windows] and `mlp`, the new residual, for x int16 and its norm or rescale
        y [B, N, D]; of a gated MLP also `up` -255..255 [B, N, hidden], with a norm behind also `fc2` int16 and `norm2`
        -255..255 [B, N, D]."""
        out: dict[str, NDArray] = {}
        if self.up is None:
            out["hidden"] = self.hidden(y)
        else:
            out["up"] = sat9(self.up(y))
            out["hidden"] = self.activation.gated(self.fc1(y), out["up"])
        update = sat16(self.fc2(out["hidden"]))
        if self.behind is None:
            return out | {"mlp": add16(x, update, self.shift)}
        norm, mlp = self.behind(x, update)
        return out | {"fc2": update, "norm2": norm, "mlp": mlp}


def joined(operands: NDArray[np.int16], windows: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The activations -255 .. 510n - 255 [..., hidden] of channels with n `windows` [hidden], from their operands."""
    first = windows.size
    whole = operands[..., :first].copy()
    for window in range(1, int(windows.max())):
        channels = np.flatnonzero(windows > window)
        whole[..., channels] += operands[..., first : first + channels.size] + 255
        first += channels.size
    return whole


def _continued(fc2: Linear, windows: tuple[NDArray[np.intp], ...]) -> Linear:
    """`fc2` with a column for each further window: the channel's weights again. An operand of it is -255 where the
    channel does not reach it; that is made up for in the bias."""
    if not windows:
        return fc2
    weight = fc2.weight[:, np.concatenate(windows)]
    return replace(
        fc2,
        weight=np.concatenate([fc2.weight, weight], axis=1),
        bias=fc2.bias + 255 * weight.sum(axis=1, dtype=np.int32),
    )
