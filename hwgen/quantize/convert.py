"""From float weights and calibrated statistics to the integers of a description (docs/numerics.md).

Tested by tests/quantize/test_quantize.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hwgen.network.description import Description, Layer, MoeMlp, check
from hwgen.network.floatmodel import FloatModel, mlp_names, prefix_tokens
from hwgen.quantize.calibrate import Statistics
from hwgen.quantize.operators import Operators
from hwgen.quantize.options import Options
from hwgen.quantize.pooling import pooling
from hwgen.quantize.ranges import bounds, channel_bounds, peak, peaks, round_up, rule
from hwgen.quantize.steps import GATE, Grid, gated, post_norm, query_key, value_context
from hwgen.quantize.stream import EXTREMES, HEADROOM, fraction_bits, stream_bits

LOG2E = math.log2(math.e)
#: Further windows of a layer's hidden channels are at most this part of these; a channel has as many as its largest
#: value needs, with room for what unseen images bring.
FURTHER, ROOM = 8, 1.1


class Converter(Operators):
    """Builds the tensors of a description in the order of the computation.

    After `description()`, `effective` holds by linear layer the real weights [out, in] and the real bias [out] that its
    integers stand for (of what is less than eight bits).
    """

    def __init__(self, network: FloatModel, seen: Statistics, options: Options, bits: Mapping[str, int]) -> None:
        super().__init__(network, seen, options, bits)
        self.windows: dict[int, int] = {}  #: of dense layers with more than one
        self.stream_bits = stream_bits(network.model, seen)
        self.s_x = 2.0 ** -self.stream_bits[0]
        #: Of the embedding, which is the residual stream if no norm lies between.
        self.s_embed = 2.0 ** -fraction_bits(seen["embed"]) if network.model.norm_pre else self.s_x

    def description(self) -> Description:
        """All tensors, checked."""
        model = self.network.model
        self._embed()
        if model.norm_pre:
            self._norm_pre()
        for index, layer in enumerate(model.layers):
            self._attention(index)
            self.s_x = 2.0 ** -self.stream_bits[2 + 2 * index]
            name, source = f"layers.{index}", f"l{index}"
            mlps = mlp_names(source, layer)
            readers = [f"{source}.gate{number}" for number in range(len(model.tasks))]
            readers = [reader for reader in (*readers, f"{source}.up.w") if reader in self.source]
            readers += [f"{mlp}.fc1.w" for mlp in mlps]
            s_attn = 2.0 ** -self.stream_bits[1 + 2 * index]
            grid, inputs = self._in_front(index, 2, readers, s_attn)
            if not isinstance(layer.mlp, MoeMlp):
                s_update = self._behind(index, 2, self.s_x)
                if layer.mlp.gated:
                    self._gated(name, source, grid, inputs, s_update)
                    continue
                self._windows(index, f"{name}.hidden")
                self._mlp(f"{name}.mlp", source, grid, inputs, f"{name}.hidden", s_update)
                continue
            for number, task in enumerate(model.tasks):
                gate = self.source[f"{source}.gate{number}"]
                none = np.zeros(len(gate))
                self._linear(f"{name}.moe.gate.{task.name}", gate, none, grid, 1 / (LOG2E * 65536), f"{name}.norm2")
            for expert, mlp in enumerate(mlps):
                hidden = self._hidden_name(index, layer.mlp, expert)
                self._mlp(f"{name}.moe.experts.{expert}", mlp, grid, f"{name}.norm2", hidden, self.s_x)
        for number in range(len(model.tasks)):
            self._task(number)
        update = {
            "residual_fraction_bits": self.stream_bits,
            "scales": dict(sorted(self.scales.items())),
            "weight_bits": {name: 4 for name, bits in sorted(self.bits.items()) if bits == 4},
        }
        if self.windows:
            update["layers"] = [self._layer(index, layer) for index, layer in enumerate(model.layers)]
        result = Description(model.model_copy(update=update), self.tensors)
        check(result)
        return result

    def _layer(self, index: int, layer: Layer) -> Layer:
        """With its windows."""
        if index not in self.windows:
            return layer
        return layer.model_copy(update={"mlp": layer.mlp.model_copy(update={"windows": self.windows[index]})})

    def _norm(self, name: str, source: str, inputs: str, readers: list[str], s_in: float | None = None) -> Grid:
        """A LayerNorm whose output is tapped as `inputs` and read by linear layers of the weights `readers`.

        s_in: the step of its input, if not the residual stream's
        """
        grid = self._post_norm(name, inputs, readers)
        self._layernorm(name, source, grid, s_in or self.s_x)
        return grid

    def _post_norm(self, name: str, inputs: str, readers: list[str]) -> Grid:
        """The grid of an int8 tensor whose channels may be scaled by what precedes, and back by the next weights."""
        # Without readers it is an output, and has one scale.
        options = self.options if readers else self.options.model_copy(update={"repq": False, "equalize": False})
        kind = inputs.rpartition(".")[2]
        even, weights = not self.even.isdisjoint(readers), [self.source[reader] for reader in readers]
        grid = post_norm(self.seen[inputs], weights, options, kind, even)
        self.scales[name] = float(grid.step.max())
        return grid

    def _embed(self) -> None:
        model, network = self.network.model, self.network
        # Pixels are the innermost part of a patch: channel values repeat over its rows and columns.
        repeat = model.patch.height * model.patch.width
        mean, std = np.tile(network.mean, repeat).astype(np.float64), np.tile(network.std, repeat).astype(np.float64)
        grid = Grid(step=1 / std, centre=np.zeros(len(std)))
        self._linear("embed", self.source["embed.w"], self.source["embed.b"], grid, self.s_embed, "pixels", mean)
        position = self.source["pos"].copy()
        if model.prefix:
            position[: model.prefix] += np.concatenate([self.source[token] for token in prefix_tokens(model)])
        self.tensors["position"] = np.clip(np.rint(position / self.s_embed), -32768, 32767).astype(np.int16)

    def _norm_pre(self) -> None:
        """Nine bits between the embedding and the stream."""
        self.scales["embed"] = self.s_embed
        self._to_stream("norm_pre", "pre", "stream", self.s_embed, self.s_x, "norm_pre")

    def _to_stream(self, name: str, source: str, stream: str, s_in: float, s_out: float, kind: str) -> None:
        """A norm of inputs of step `s_in` whose output goes to the residual stream: each channel has a step and a
        centre of its own, whatever the options, as its only reader has a factor and a bias for it."""
        dim = self.network.model.dim
        options, room = rule(self.options, kind)
        low, high = channel_bounds(self.seen[name], options)
        grid = Grid(step=room * (high - low) / 510, centre=(low + high) / 2)
        self._layernorm(name, source, grid, s_in)
        self._linear(stream, np.eye(dim), np.zeros(dim), grid, s_out, None)
        self.scales[name] = float(grid.step.max())

    def _in_front(self, index: int, number: int, readers: list[str], s_in: float) -> tuple[Grid, str]:
        """What makes the operand of attention (number 1) or MLP (2), read by these weights, of a residual stream of
        this step; its grid and name."""
        name = f"layers.{index}.{'rescale' if self.network.model.post_norm else 'norm'}{number}"
        if not self.network.model.post_norm:
            return self._norm(name, f"l{index}.n{number}", name, readers, s_in), name
        grid = self._post_norm(name, name, readers)
        self._affine(name, s_in / grid.step, -grid.centre / grid.step)
        return grid, name

    def _behind(self, index: int, number: int, s_out: float) -> float:
        """The step of what attention or MLP make: that of the residual stream, or of what a norm behind takes."""
        name = f"layers.{index}"
        if not self.network.model.post_norm:
            return s_out
        tensor = f"{name}.{('proj', 'fc2')[number - 1]}"
        step = self.scales[tensor] = HEADROOM * peak(self.seen[tensor], EXTREMES) / 32767
        norm, stream = f"{name}.norm{number}", f"{name}.stream{number}"
        self._to_stream(norm, f"l{index}.n{number}", stream, step, s_out, "post_norm")
        return step

    def _attention(self, index: int) -> None:
        model, name, source, seen = self.network.model, f"layers.{index}", f"l{index}", self.seen
        grid, inputs = self._in_front(index, 1, [f"{source}.qkv.w"], self.s_x)
        weights = dict(zip("qkv", np.split(self.source[f"{source}.qkv.w"], 3), strict=True))
        biases = dict(zip("qkv", np.split(self.source[f"{source}.qkv.b"], 3), strict=True))
        if model.qk_norm:
            q, k = self._head_norms(index, grid, inputs, weights, biases)
        else:
            q, k = query_key(seen[f"{name}.q"], seen[f"{name}.k"], weights["k"] @ grid.centre, self.options)
            self._linear(f"{name}.attn.q", weights["q"], biases["q"], grid, q.step, inputs)
            self._linear(f"{name}.attn.k", weights["k"], None, grid, k.step, inputs)
        even = f"{source}.proj.w" in self.even
        v, context = value_context(seen[f"{name}.v"], seen[f"{name}.context"], self.options, even)
        self._linear(f"{name}.attn.v", weights["v"], biases["v"] - v.centre, grid, v.step, inputs)
        self.scales |= {f"{name}.{part}": float(out.step.max()) for part, out in (("q", q), ("k", k), ("v", v))}
        self._softmax(f"{name}.attn", q, k, v, context)
        self.scales[f"{name}.context"] = float(context.step.max())
        proj = self.source[f"{source}.proj.w"], self.source[f"{source}.proj.b"]
        s_update = self._behind(index, 1, 2.0 ** -self.stream_bits[1 + 2 * index])
        self._linear(f"{name}.attn.proj", *proj, context, s_update, f"{name}.context")

    def _softmax(self, name: str, q: Grid, k: Grid, v: Grid, context: Grid) -> None:
        """Its two factors."""
        head_dim = self.network.model.head_dim
        score = float(q.step[0] * k.step[0]) / math.sqrt(head_dim) * LOG2E * 32  # five fraction bits
        self._scaling(f"{name}.score", score)
        self._scaling(f"{name}.context", float(v.step[0] / context.step[0]) / 256)  # R is 2^24 / Σp, and >> 16

    def _head_norms(
        self, index: int, grid: Grid, inputs: str, weights: Mapping[str, np.ndarray], biases: Mapping[str, np.ndarray]
    ) -> tuple[Grid, Grid]:
        """q and k through int16 and a LayerNorm, the same for all heads. What it adds to k cancels in the softmax."""
        model, name, source, seen = self.network.model, f"layers.{index}", f"l{index}", self.seen
        none = np.zeros(model.attn_dim)
        found = query_key(seen[f"{name}.q"], seen[f"{name}.k"], none, self.options, model.heads)
        for part, codes in zip("qk", found, strict=True):
            step = HEADROOM * peak(seen[f"{name}.{part}_proj"], EXTREMES) / 32767
            self._linear(f"{name}.attn.{part}", weights[part], biases[part], grid, step, inputs)
            beta = self.source[f"{source}.{part}n.b"]
            head = Grid(step=codes.step[: model.head_dim], centre=beta if part == "k" else np.zeros(len(beta)))
            self._layernorm(f"{name}.attn.{part}_norm", f"{source}.{part}n", head, step)
            self.scales |= {f"{name}.{part}_proj": step, f"{name}.attn.{part}_norm": float(head.step.max())}
        return found

    def _mlp(self, name: str, source: str, grid: Grid, inputs: str, hidden: str, s_out: float) -> None:
        fc1, fc2 = ((self.source[f"{source}.{part}.w"], self.source[f"{source}.{part}.b"]) for part in ("fc1", "fc2"))
        self._linear(f"{name}.fc1", *fc1, grid, 1 / 128, inputs)
        low, high = bounds(self.seen[hidden], rule(self.options, "hidden")[0])
        windows = self.tensors.get(f"{name}.activation.windows", np.ones(1, np.uint8))
        s_a = (high - low) / (510 * int(windows.max()))
        zero = round(-low / s_a) - 255
        self._scaling(f"{name}.activation", 1 / (512 * s_a), 31)
        self.tensors[f"{name}.activation.zero"] = np.array([zero], np.int16)
        self.scales[f"{name}.hidden"] = s_a
        codes = Grid.uniform(fc2[0].shape[1], 255 * s_a)
        self._linear(f"{name}.fc2", *fc2, codes, s_out, hidden, zero)

    def _gated(self, layer: str, source: str, grid: Grid, inputs: str, s_out: float) -> None:
        """fc1's activation times up, to fc2: each channel of the product has a step of its own, up's in proportion."""
        name = f"{layer}.mlp"
        parts = {part: (self.source[f"{source}.{part}.w"], self.source[f"{source}.{part}.b"])
                 for part in ("fc1", "up", "fc2")}  # fmt: skip
        seen = self.seen[f"{layer}.up"], self.seen[f"{layer}.hidden"]
        up, hidden = gated(*seen, parts["fc2"][0], self.options, f"{source}.fc2.w" in self.even)
        self._linear(f"{name}.fc1", *parts["fc1"], grid, 1 / 128, inputs)
        self._linear(f"{name}.up", *parts["up"], grid, up.step, inputs)
        self._scaling(f"{name}.activation", float(up.step[0] / hidden.step[0]) * GATE / 512, 31)
        self.tensors[f"{name}.activation.zero"] = np.zeros(1, np.int16)
        self.scales |= {f"{name}.up": float(up.step.max()), f"{name}.hidden": float(hidden.step.max())}
        self._linear(f"{name}.fc2", *parts["fc2"], hidden, s_out, f"{layer}.hidden")

    def _windows(self, index: int, hidden: str) -> None:
        """How many windows of 511 codes the hidden channels of a dense layer have: few reach far beyond the others, and
        would set the step of all. The more windows, the finer the step, up to an eighth more channels for them."""
        low, high = bounds(self.seen[hidden], rule(self.options, "hidden")[0])
        limit = self.options.windows if self.options.ranges == "auto" else 1
        for windows in range(limit, 1, -1):
            reach = np.ceil((ROOM * round_up(self.seen[hidden].high) - low) / ((high - low) / windows))
            count = np.clip(reach, 1, windows).astype(np.uint8)
            if (count - 1).sum() <= len(count) // FURTHER:
                self.tensors[f"layers.{index}.mlp.activation.windows"] = count
                self.windows[index] = windows
                return

    def _hidden_name(self, index: int, mlp: MoeMlp, expert: int) -> str:
        """Where the expert's hidden range is found; an expert no calibration token chose takes its neighbour's."""
        names = [f"layers.{index}.expert.{(expert + i) % mlp.experts}.hidden" for i in range(mlp.experts)]
        return next(name for name in names if name in self.seen)

    def _task(self, number: int) -> None:
        task, patches = self.network.model.tasks[number], self.network.model.patches
        name, inputs = f"tasks.{task.name}", f"{task.name}.norm"
        readers = {"none": [], "map": [f"map{number}.kv.w"]}.get(task.head, [f"head{number}.w"])
        if task.norm:
            s_in = self._pool(task.name) if task.head == "mean_norm" else None
            grid = self._norm(f"{name}.norm", "nf", inputs, readers, s_in)
        elif task.head != "none":
            grid = self._post_norm(f"{name}.rescale", inputs, readers)
            self._affine(f"{name}.rescale", self.s_x / grid.step, -grid.centre / grid.step)
        if task.head == "none":
            return
        if task.head == "mean":
            # One factor for all channels: the largest mean, in steps of its channel, becomes 127.
            inputs = f"{task.name}.mean"
            factor = float((peaks(self.seen[inputs], EXTREMES, grid.centre) / grid.step).max()) / 255
            self._scaling(f"{name}.mean", 1 / (patches * factor))
            grid = Grid(step=grid.step * factor, centre=grid.centre)
        if task.head == "map":
            grid, inputs = self._map(number, grid), f"{task.name}.mlp"
            if task.outputs is None:
                return
        s_out = HEADROOM * peak(self.seen[f"{task.name}.output"], EXTREMES) / 32767
        head = self.source[f"head{number}.w"], self.source[f"head{number}.b"]
        self._linear(f"{name}.head", *head, grid, s_out, inputs)
        self.scales[f"{name}.output"] = s_out

    def _map(self, number: int, grid: Grid) -> Grid:
        """Attention pooling of codes of this grid; returns that of what its result is rescaled to for a head."""
        model, seen = self.network.model, self.seen
        task = model.tasks[number]
        name, source, tapped = f"tasks.{task.name}.map", f"map{number}", task.name
        weights, biases = (np.split(self.source[f"{source}.kv.{part}"], 2) for part in "wb")
        q, k = query_key(seen[f"{tapped}.q"], seen[f"{tapped}.k"], weights[0] @ grid.centre, self.options)
        even = f"{source}.proj.w" in self.even
        v, context = value_context(seen[f"{tapped}.v"], seen[f"{tapped}.context"], self.options, even)
        self.tensors[f"{name}.q"] = np.clip(np.rint(self.source[f"{source}.q"] / q.step), -255, 255).astype(np.int16)
        self._linear(f"{name}.k", weights[0], None, grid, k.step, f"{tapped}.norm")
        self._linear(f"{name}.v", weights[1], biases[1] - v.centre, grid, v.step, f"{tapped}.norm")
        self._softmax(name, q, k, v, context)
        # x is int16 with one step, in front of the MLP and behind it.
        ends = [peak(seen[f"{tapped}.{part}"], EXTREMES) for part in ("proj", "mlp")]
        self.s_x = HEADROOM * max(ends) / 32767
        proj = self.source[f"{source}.proj.w"], self.source[f"{source}.proj.b"]
        self._linear(f"{name}.proj", *proj, context, self.s_x, f"{tapped}.context")
        y = self._norm(f"{name}.norm", f"{source}.n", f"{tapped}.map_norm", [f"{source}.fc1.w"])
        self._mlp(f"{name}.mlp", source, y, f"{tapped}.map_norm", f"{tapped}.hidden", self.s_x)
        self.scales |= {f"{name}.{part}": float(one.step.max()) for part, one in zip("qkv", (q, k, v), strict=True)}
        self.scales |= {f"{name}.x": self.s_x, f"tasks.{tapped}.output": self.s_x}
        low, high = channel_bounds(seen[f"{tapped}.mlp"], EXTREMES)
        made = Grid(step=(high - low) / 510, centre=(low + high) / 2)
        if f"head{number}.w" in self.even:
            made = Grid(step=np.full(model.dim, made.step.max()), centre=made.centre)
        if task.outputs is not None:
            self._affine(f"{name}.rescale", self.s_x / made.step, -made.centre / made.step)
            self.scales[f"{name}.rescale"] = float(made.step.max())
        self.s_x = 2.0 ** -self.stream_bits[-1]
        return made

    def _pool(self, task: str) -> float:
        """The mean in front of a norm; returns its step."""
        model, name = self.network.model, f"tasks.{task}"
        tokens, means = (channel_bounds(self.seen[f"{task}.{part}"], EXTREMES) for part in ("rescale", "pool"))
        made = pooling(tokens, means, model.patches)
        self._affine(f"{name}.rescale", self.s_x / made.steps, -made.centre / made.steps)
        self._scaling(f"{name}.mean", 1 / (model.patches * made.factor))
        step = HEADROOM * peak(self.seen[f"{task}.pool"], EXTREMES) / 32767
        codes = Grid(step=made.steps * made.factor, centre=made.centre)
        self._linear(f"{name}.pool", np.eye(model.dim), np.zeros(model.dim), codes, step, None)
        self.scales |= {f"{name}.rescale": float(made.steps.max()), f"{name}.pool": step}
        return step
