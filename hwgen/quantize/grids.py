"""What the codes of a description's tensors stand for, read off its integers and the float network it was made from.

A description keeps one step per tensor for information; where channels have steps and centres of their own, they follow
from gamma, beta, weights and biases. Reports and tests compare tensors by them.
"""

from __future__ import annotations

import numpy as np

from hwgen.network.description import Description, MoeMlp
from hwgen.network.floatmodel import FloatModel
from hwgen.quantize.steps import GATE, Grid


def grids(network: FloatModel, description: Description) -> dict[str, Grid]:
    """Grid of the tensors which `FloatModel.run` taps and `golden.model` has under the same name."""
    return _Grids(network, description).found


def _uniform(channels: int, step: float) -> Grid:
    return Grid(step=np.full(channels, step), centre=np.zeros(channels))


class _Grids:
    def __init__(self, network: FloatModel, description: Description) -> None:
        self.source = {name: tensor.astype(np.float64) for name, tensor in network.tensors.items()}
        self.tensors, self.scales, model = description.tensors, description.model.scales, description.model
        self.model = model
        stream = [_uniform(model.dim, 2.0**-bits) for bits in model.stream_bits]
        self.found = {"embed": stream[0]}
        if model.norm_pre:
            self.found = {"embed": _uniform(model.dim, self.scales["embed"]), "stream": stream[0],
                          "norm_pre": self._norm("norm_pre", "pre")}  # fmt: skip
        for index, layer in enumerate(model.layers):
            name = f"layers.{index}"
            for number, made in ((1, "proj"), (2, "fc2")):
                self.found[f"{name}.norm{number}"] = self._norm(f"{name}.norm{number}", f"l{index}.n{number}")
                if model.post_norm:
                    x = stream[2 * index + number - 1]
                    self.found[f"{name}.rescale{number}"] = self._affine(f"{name}.rescale{number}", x.step, x.centre)
                    self.found[f"{name}.{made}"] = _uniform(model.dim, self.scales[f"{name}.{made}"])
            self._attention(name, f"l{index}")
            if isinstance(layer.mlp, MoeMlp):
                for expert in range(layer.mlp.experts):
                    self._hidden(f"{name}.expert.{expert}.hidden", f"{name}.moe.experts.{expert}")
            else:
                self._mlp(name, f"l{index}", layer.mlp.gated)
            self.found |= {f"{name}.attn": stream[2 * index + 1], f"{name}.mlp": stream[2 * index + 2]}
        for number, task in enumerate(model.tasks):
            name, last = f"tasks.{task.name}", stream[-1]
            if task.head == "mean_norm":
                self.found[f"{task.name}.rescale"] = self._affine(f"{name}.rescale", last.step, last.centre)
                self.found[f"{task.name}.pool"] = _uniform(model.dim, self.scales[f"{name}.pool"])
            if task.norm:
                last = self.found[f"{task.name}.norm"] = self._norm(f"{name}.norm", "nf")
            elif task.head != "none":
                last = self.found[f"{task.name}.norm"] = self._affine(f"{name}.rescale", last.step, last.centre)
            if task.head == "mean":
                factor = model.patches * self._ratio(f"{name}.mean")
                self.found[f"{task.name}.mean"] = Grid(step=last.step / factor, centre=last.centre)
            if task.head == "map":
                self._map(number, task.name, last)
                last = self.found[f"{task.name}.mlp"]
            if task.outputs is not None:
                last = _uniform(task.outputs, self.scales[f"{name}.output"])
            self.found[f"{task.name}.output"] = last

    def _attention(self, name: str, source: str) -> None:
        norm = self.found[f"{name}.{'rescale' if self.model.post_norm else 'norm'}1"]
        weights, biases = (np.split(self.source[f"{source}.qkv.{part}"], 3) for part in "wb")
        biases[1] = np.zeros(len(biases[1]))  # k is tapped without
        for part, weight, bias in zip("qkv", weights, biases, strict=True):
            if part in "qk" and self.model.qk_norm:
                self._head_norm(name, source, part)
                continue
            made = self._products(f"{name}.attn.{part}", weight, bias, norm, self.scales[f"{name}.{part}"])
            if part == "q":  # its codes have none; what is left is the rounded weights' mean error, which the bias took
                made = Grid(step=made.step, centre=np.zeros(len(made.step)))
            self.found[f"{name}.{part}"] = made
        v = self.found[f"{name}.v"]
        self.found[f"{name}.context"] = Grid(step=v.step / 256 / self._ratio(f"{name}.attn.context"), centre=v.centre)

    def _products(self, name: str, weight: np.ndarray, bias: np.ndarray, inputs: Grid, usual: float) -> Grid:
        """Of a linear layer's outputs; `usual`: the step of a channel of zeros."""
        codes = self.tensors[f"{name}.weight"].astype(np.float64)
        squares = (codes**2).sum(1)
        # The scale of the rounded weights, by least squares.
        scale = (weight * inputs.step * codes).sum(1) / np.maximum(squares, 1)
        step = np.where(squares > 0, scale / self._ratio(name), usual)
        return Grid(step=step, centre=bias + weight @ inputs.centre - self.tensors[f"{name}.bias"] * scale)

    def _map(self, number: int, task: str, norm: Grid) -> None:
        """Attention pooling of tokens of this grid."""
        name, source, model = f"tasks.{task}.map", f"map{number}", self.model
        weights, biases = (np.split(self.source[f"{source}.kv.{part}"], 2) for part in "wb")
        biases[0] = np.zeros(len(biases[0]))  # k is tapped without
        for part, weight, bias in zip("kv", weights, biases, strict=True):
            usual = self.scales[f"{name}.{part}"]
            self.found[f"{task}.{part}"] = self._products(f"{name}.{part}", weight, bias, norm, usual)
        v = self.found[f"{task}.v"]
        self.found[f"{task}.context"] = Grid(step=v.step / 256 / self._ratio(f"{name}.context"), centre=v.centre)
        stream = _uniform(model.dim, self.scales[f"{name}.x"])
        self.found |= {f"{task}.proj": stream, f"{task}.mlp": stream}
        self.found[f"{task}.map_norm"] = self._norm(f"{name}.norm", f"{source}.n")
        self._hidden(f"{task}.hidden", f"{name}.mlp")

    def _head_norm(self, name: str, source: str, part: str) -> None:
        """q or k in front of its norm and behind it; k is tapped without what the norm adds."""
        model = self.model
        self.found[f"{name}.{part}_proj"] = _uniform(model.attn_dim, self.scales[f"{name}.{part}_proj"])
        made = self._norm(f"{name}.attn.{part}_norm", f"{source}.{part}n")
        centre = made.centre - (self.source[f"{source}.kn.b"] if part == "k" else 0)
        self.found[f"{name}.{part}"] = Grid(step=np.tile(made.step, model.heads), centre=np.tile(centre, model.heads))

    def _mlp(self, name: str, source: str, gated: bool) -> None:
        if not gated:
            self._hidden(f"{name}.hidden", f"{name}.mlp")
            return
        weight, bias = (self.source[f"{source}.up.{part}"] for part in "wb")
        inputs = self.found[f"{name}.{'rescale' if self.model.post_norm else 'norm'}2"]
        usual = self.scales[f"{name}.mlp.up"]
        made = self._products(f"{name}.mlp.up", weight, bias, inputs, usual)
        none = np.zeros(len(made.step))
        self.found[f"{name}.up"] = Grid(step=made.step, centre=none)
        step = made.step * GATE / 512 / self._ratio(f"{name}.mlp.activation")
        self.found[f"{name}.hidden"] = Grid(step=step, centre=none)

    def _hidden(self, tensor: str, name: str) -> None:
        step = np.array([self.scales[f"{name}.hidden"]])
        self.found[tensor] = Grid(step=step, centre=-step * self.tensors[f"{name}.activation.zero"])

    def _norm(self, name: str, source: str) -> Grid:
        return self._affine(name, self.source[f"{source}.g"] / 1024, self.source[f"{source}.b"])

    def _affine(self, name: str, gamma: np.ndarray, beta: np.ndarray) -> Grid:
        """Of codes x·G + B, G and B of the description, that stand for x·gamma + beta."""
        power = 2.0 ** int(self.tensors[f"{name}.shift"][0])
        codes = self.tensors[f"{name}.gamma"] / power
        # A gamma that rounds to zero leaves the step open: the code is constant.
        step = np.divide(gamma, codes, out=np.full(len(codes), self.scales[name]), where=codes != 0)
        return Grid(step=step, centre=beta - self.tensors[f"{name}.beta"] / power * step)

    def _ratio(self, name: str) -> np.ndarray:
        """M / 2^S."""
        return np.ldexp(self.tensors[f"{name}.mult"].astype(np.float64), -self.tensors[f"{name}.shift"].astype(int))
