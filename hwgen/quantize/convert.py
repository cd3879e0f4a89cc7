"""From float weights and calibrated ranges to the integers of a description (docs/numerics.md)."""

from __future__ import annotations

import math

import numpy as np

from hwgen.description import Description, MoeMlp, check, table_arrays
from hwgen.floatmodel import FloatModel, prefix_names
from hwgen.quantize.calibrate import Ranges
from hwgen.quantize.fixed import multiplier

LOG2E = math.log2(math.e)
#: Room above the calibrated maximum of what int16 carries, where a bit more or less does not matter.
HEADROOM = 2.0
#: A bias may not take more than this, so that acc + bias keeps to 32 bits and a sign.
MAX_BIAS = 1 << 30


def convert(network: FloatModel, ranges: Ranges) -> Description:
    """The quantized description of a float network."""
    return _Converter(network, ranges).description()


class _Converter:
    """Builds the tensors in the order of the computation. An `s_…` is the real value of one step of an integer."""

    def __init__(self, network: FloatModel, ranges: Ranges) -> None:
        self.network, self.ranges = network, ranges
        self.source = {name: tensor.astype(np.float64) for name, tensor in network.tensors.items()}
        self.tensors = table_arrays()
        self.scales: dict[str, float] = {}
        stream = ["embed"] + [f"layers.{i}.{at}" for i in range(len(network.model.layers)) for at in ("attn", "mlp")]
        peak = HEADROOM * max(ranges.peak(name) for name in stream)
        self.fraction_bits = int(np.clip(math.floor(math.log2(32767 / peak)), 0, 15))
        self.s_x = 2.0**-self.fraction_bits

    def description(self) -> Description:
        """All tensors, checked."""
        model = self.network.model
        self._embed()
        for index, layer in enumerate(model.layers):
            self._attention(index)
            s_y = self.norm(f"layers.{index}.norm2", f"l{index}.n2", f"layers.{index}.norm2")
            if not isinstance(layer.mlp, MoeMlp):
                self._mlp(f"layers.{index}.mlp", f"l{index}", f"layers.{index}.hidden", s_y)
                continue
            for number, task in enumerate(model.tasks):
                gate = self.source[f"l{index}.gate{number}"]
                self.linear(f"layers.{index}.moe.gate.{task.name}", gate, None, s_y, 1 / (LOG2E * 65536))
            for expert in range(layer.mlp.experts):
                seen = self._hidden_name(index, layer.mlp, expert)
                self._mlp(f"layers.{index}.moe.experts.{expert}", f"l{index}.e{expert}", seen, s_y)
        for number in range(len(model.tasks)):
            self._task(number)
        update = {"residual_fraction_bits": self.fraction_bits, "scales": dict(sorted(self.scales.items()))}
        result = Description(model.model_copy(update=update), self.tensors)
        check(result)
        return result

    def linear(self, name: str, weight: np.ndarray, bias: np.ndarray | None, s_in: np.ndarray | float,
               s_out: float, zero: np.ndarray | int = 0) -> None:  # fmt: skip
        """A linear [out, in] for inputs of steps `s_in` and zero codes `zero` (per tensor or input channel).

        The zero is folded into the bias with the rounded weights: an input at its zero then adds exactly nothing.
        """
        weight = weight * s_in
        bias = np.zeros(len(weight)) if bias is None else bias
        s_acc = np.maximum(np.abs(weight).max(1) / 127, np.abs(bias) / MAX_BIAS)
        s_acc = np.where(s_acc > 0, s_acc, s_out)  # a channel of zeros
        codes = np.clip(np.rint(weight / s_acc[:, None]), -127, 127)
        mult, shift = multiplier(s_acc / s_out)
        self.tensors |= {
            f"{name}.weight": codes.astype(np.int8),
            f"{name}.bias": np.rint(bias / s_acc - (codes * zero).sum(1)).astype(np.int32),
            f"{name}.mult": mult,
            f"{name}.shift": shift,
        }

    def norm(self, name: str, source: str, seen: str) -> np.ndarray:
        """A LayerNorm with output ranges as `seen`; returns the step of each output channel."""
        s_out = self._channel_steps(seen)
        model = self.network.model
        gamma, beta = self.source[f"{source}.g"], self.source[f"{source}.b"]
        self._affine(name, gamma / 1024 / s_out, beta / s_out)  # xhat has ten fraction bits
        eps = float(self.network.eps) * model.dim**2 / self.s_x**2
        self.tensors[f"{name}.eps"] = np.array([max(1, round(eps))], np.int64)
        self.scales[name] = float(s_out.max())
        return s_out

    def _channel_steps(self, seen: str) -> np.ndarray:
        """Steps of an int8 tensor whose channels may be scaled by what precedes, and back by the next weights."""
        channels = self.ranges.channels(seen)
        return np.full(len(channels), channels.max() / 127)

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

    def _step(self, name: str) -> float:
        """Step of a symmetric int8 tensor with one scale."""
        self.scales[name] = self.ranges.peak(name) / 127
        return self.scales[name]

    def _embed(self) -> None:
        model, network = self.network.model, self.network
        # Pixels are the innermost part of a patch: channel values repeat over its rows and columns.
        repeat = model.patch.height * model.patch.width
        mean, std = np.tile(network.mean, repeat).astype(np.float64), np.tile(network.std, repeat).astype(np.float64)
        self.linear("embed", self.source["embed.w"], self.source["embed.b"], 1 / std, self.s_x, mean)
        position = self.source["pos"].copy()
        for row, token in enumerate(prefix_names(model)):
            position[row] += self.source[token][0]
        self.tensors["position"] = np.clip(np.rint(position / self.s_x), -32768, 32767).astype(np.int16)
        self.scales["residual"] = self.s_x

    def _attention(self, index: int) -> None:
        model, name = self.network.model, f"layers.{index}"
        s_y = self.norm(f"{name}.norm1", f"l{index}.n1", f"{name}.norm1")
        weights = np.split(self.source[f"l{index}.qkv.w"], 3)
        biases = np.split(self.source[f"l{index}.qkv.b"], 3)
        step = {}
        for part, weight, bias in zip("qkv", weights, biases, strict=True):
            step[part] = self._step(f"{name}.{part}")
            self.linear(f"{name}.attn.{part}", weight, None if part == "k" else bias, s_y, step[part])
        score = step["q"] * step["k"] / math.sqrt(model.head_dim) * LOG2E * 32  # five fraction bits
        self._scaling(f"{name}.attn.score", score)
        s_context = self._step(f"{name}.context")
        self._scaling(f"{name}.attn.context", step["v"] / s_context / 256)  # R is 2^24 / Σp, and >> 16
        proj = self.source[f"l{index}.proj.w"], self.source[f"l{index}.proj.b"]
        self.linear(f"{name}.attn.proj", *proj, s_context, self.s_x)

    def _mlp(self, name: str, source: str, seen: str, s_y: np.ndarray) -> None:
        self.linear(f"{name}.fc1", self.source[f"{source}.fc1.w"], self.source[f"{source}.fc1.b"], s_y, 1 / 64)
        low, high = self.ranges.bounds(seen)
        s_a = (high - low) / 255
        zero = round(-low / s_a)
        self._scaling(f"{name}.gelu", 1 / (256 * s_a), 31)
        self.tensors[f"{name}.gelu.zero"] = np.array([zero], np.uint8)
        self.scales[f"{name}.hidden"] = s_a
        self.linear(f"{name}.fc2", self.source[f"{source}.fc2.w"], self.source[f"{source}.fc2.b"], s_a, self.s_x, zero)

    def _hidden_name(self, index: int, mlp: MoeMlp, expert: int) -> str:
        """Where the expert's hidden range is found; an expert no calibration token chose takes its neighbour's."""
        names = [f"layers.{index}.expert.{(expert + i) % mlp.experts}.hidden" for i in range(mlp.experts)]
        return next(name for name in names if name in self.ranges.low)

    def _task(self, number: int) -> None:
        task, patches = self.network.model.tasks[number], self.network.model.patches
        name = f"tasks.{task.name}"
        if task.norm:
            steps = self.norm(f"{name}.norm", "nf", f"{task.name}.norm")
        elif task.head != "none":
            steps = self._channel_steps(f"{task.name}.norm")
            self._affine(f"{name}.rescale", self.s_x / steps, np.zeros(len(steps)))
            self.scales[f"{name}.rescale"] = float(steps.max())
        if task.head == "none":
            return
        if task.head == "mean":
            # One factor for all channels: the largest mean, in steps of its channel, becomes 127.
            factor = float((self.ranges.channels(f"{task.name}.mean") / steps).max()) / 127
            self._scaling(f"{name}.mean", 1 / (patches * factor))
            steps = steps * factor
        s_out = HEADROOM * self.ranges.peak(f"{task.name}.output") / 32767
        self.linear(f"{name}.head", self.source[f"head{number}.w"], self.source[f"head{number}.b"], steps, s_out)
        self.scales[f"{name}.output"] = s_out
