"""Seeded descriptions without a checkpoint: random integer weights, activations with a realistic spread.

Multipliers come from the statistics of the random weights, so that the array's operands have a standard deviation of a
fifth of their range, scores spread over a few log2 units and the residual stream grows mildly. As in trained networks a
few channels of that stream are 6 to 10 times the median channel in every layer, which LayerNorm's gammas even out, and
most pre-activations are negative: four of five outputs lie at or below the zero point, the others in a long tail. Such
a network has learnt nothing; it takes the cycles and exercises the bits of one that has.

python -m hwgen.quantize.synthetic model.yaml DIRECTORY [SEED] writes one that `hwgen build` reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from golden.activation import activation_steps
from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import read_yaml
from hwgen.network import description
from hwgen.network.description import DenseMlp, Description, Model, MoeMlp, parse_model, table_arrays
from hwgen.quantize.fixed import multiplier
from hwgen.quantize.steps import GATE

__all__ = ["RandomWeights", "synthetic", "synthetic_images"]

#: Wanted standard deviations: of the array's row operands (-255..255), of k and v (int8), of a head's outputs.
ROW, COLUMN, OUTPUT = 56.0, 28.0, 2000.0
#: Outlier channels of the residual stream: their share, and how many times the others they are.
OUTLIERS, OUTLIER_FACTOR = 0.02, (6.0, 8.0)
#: Pre-activations: standard deviation (steps of 2^-7), mean (in standard deviations), how much channels differ (log).
PRE_STD, PRE_MEAN, PRE_JITTER = 160.0, -1.0, 0.4
#: Experts' popularity: this times the logarithm of the rank, in standard deviations of a logit over the tokens.
POPULARITY = 1.05
#: Statistics of `synthetic_images`.
PIXEL_MEAN, PIXEL_STD = 120.0, 65.0


def synthetic(structure: Path | str, seed: int) -> Description:
    """A description of the structure in the file (`model.yaml`; the weights it names need not exist)."""
    path = Path(structure)
    model = parse_model(read_yaml(path), str(path))
    rng = np.random.default_rng(seed)
    made = Description(model, RandomWeights(rng, model, context=0.6).tensors)
    _balance(made, rng)
    description.check(made)
    return made


def _balance(desc: Description, rng: np.random.Generator) -> None:
    """Biases of the gates that load the experts as unevenly as training with a load-balancing loss does.

    What all tokens have in common, most of an untrained gate's logits, is taken out, popularity put in its place.
    """
    model, tensors = desc.model, desc.tensors
    images = synthetic_images(desc, 2, 0)
    for index, layer in enumerate(model.layers):
        if isinstance(layer.mlp, DenseMlp):
            continue
        experts = layer.mlp.experts
        upto = Description(model.model_copy(update={"layers": model.layers[: index + 1]}), tensors)
        for task in model.tasks:  # tokens differ between tasks from the first MoE layer on
            norm = Golden(upto).run(images, task.name, keep=True).tensors[f"layers.{index}.norm2"]
            gate = f"layers.{index}.moe.gate.{task.name}"
            logits = norm.reshape(-1, model.dim).astype(np.int64) @ tensors[f"{gate}.weight"].T.astype(np.int64)
            popularity = POPULARITY * np.log((rng.permutation(experts) + 1) / experts)
            tensors[f"{gate}.bias"] = np.rint(popularity * logits.std(0) - logits.mean(0)).astype(np.int32)


def synthetic_images(desc: Description, n: int, seed: int) -> np.ndarray:
    """n images, uint8 [n, height, width, channels]: a gradient, noise, a few black and white pixels."""
    rng = np.random.default_rng((seed, 1))
    image = desc.model.image
    shape = (n, image.height, image.width, image.channels)
    rows = np.linspace(-1, 1, image.height)[None, :, None, None]
    columns = np.linspace(-1, 1, image.width)[None, None, :, None]
    slope = rng.normal(0, 45, (2, n, 1, 1, image.channels))
    values = PIXEL_MEAN + slope[0] * rows + slope[1] * columns + rng.normal(0, 50, shape)
    extreme = rng.random(shape)
    values = np.where(extreme < 0.03, 0, np.where(extreme > 0.97, 255, values))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


class RandomWeights:
    """Draws all tensors of a structure in the order of the computation, tracking the spread of the residual stream.

    `variance` is that of its usual channels, `channels` the factor of each: 1, or an outlier's.
    `gain` multiplies every target spread: above 4 most tensors saturate, near 0 most are zero. `context` is a
    factor on that of attention: what is in all values alike does not average out over many tokens.
    """

    def __init__(self, rng: np.random.Generator, model: Model, gain: float = 1.0, context: float = 1.0) -> None:
        self.rng, self.model, self.gain = rng, model, gain
        self.tensors = table_arrays(model)
        dim = model.dim
        #: Steps of the residual stream that are 0.5 (outliers need the room), here and at the additions to come.
        self.unit, *self.units = (2.0**bits / 2 for bits in model.stream_bits)
        outlier = rng.permutation(dim) < round(OUTLIERS * dim)
        self.channels = np.where(outlier, rng.uniform(*OUTLIER_FACTOR, dim), 1.0)
        self.linear("embed", dim, model.patch_size, PIXEL_STD, 0.5 * self.unit * self.channels, offset=PIXEL_MEAN)
        position = rng.normal(0, 0.6 * self.unit * self.channels, (model.tokens, dim))
        self.tensors["position"] = np.clip(np.rint(position), -32768, 32767).astype(np.int16)
        self.variance = (0.5**2 + 0.6**2) * self.unit**2
        if model.norm_pre:
            self.norm("norm_pre")
            self.linear("stream", dim, dim, ROW, 0.8 * self.unit * self.channels)
            self.variance = (0.8 * self.unit) ** 2
        for index, layer in enumerate(model.layers):
            name = f"layers.{index}"
            self.front(name, 1)
            for part, spread in (("q", ROW), ("k", COLUMN), ("v", COLUMN)):
                if model.qk_norm and part != "v":
                    self.linear(f"{name}.attn.{part}", model.attn_dim, dim, ROW, OUTPUT)
                    self.affine(f"{name}.attn.{part}_norm", np.full(model.head_dim, spread), 2.0**-10)
                    eps = max(1, round(1e-6 * (model.head_dim * OUTPUT) ** 2))
                    self.tensors[f"{name}.attn.{part}_norm.eps"] = np.array([eps], np.int64)
                    continue
                self.linear(f"{name}.attn.{part}", model.attn_dim, dim, ROW, spread, bias=part != "k")
            spread = rng.uniform(1, 2.5) * 32  # log2 units, 5 fraction bits
            self.scaling(f"{name}.attn.score", spread / (np.sqrt(model.head_dim) * ROW * COLUMN))
            # Of the row factor remain 2^8.
            self.scaling(f"{name}.attn.context", context * rng.uniform(1, 2) * ROW / COLUMN / 256)
            self.linear(f"{name}.attn.proj", dim, model.attn_dim, 0.7 * ROW, self.update(name, 1))
            self.front(name, 2)
            if isinstance(layer.mlp, DenseMlp):
                self.mlp(f"{name}.mlp", layer.mlp, self.update(name, 2))
                continue
            for task in model.tasks:
                spread = rng.uniform(0.8, 2.5) * 65536  # log2 units, 16 fraction bits
                self.linear(f"{name}.moe.gate.{task.name}", layer.mlp.experts, dim, ROW, spread, jitter=0.1)
            self.grow(0.35)
            for expert in range(layer.mlp.experts):
                self.mlp(f"{name}.moe.experts.{expert}", layer.mlp, 0.7 * self.unit * self.channels)
        for task in model.tasks:
            name = f"tasks.{task.name}"
            if task.norm:
                self.norm(f"{name}.norm")
            if task.rescale:
                self.affine(f"{name}.rescale", ROW / np.sqrt(self.variance) / self.channels, 1.0)
            spread = ROW
            if task.head in ("mean", "mean_norm"):
                self.scaling(f"{name}.mean", 2 / model.patches)
                spread = 2 * ROW / np.sqrt(min(model.patches, 4))  # tokens of an image resemble each other
            if task.head == "mean_norm":
                self.linear(f"{name}.pool", dim, dim, spread, 0.5 * self.unit * self.channels)
                spread = ROW
            if task.mlp is not None:
                self.pool(f"{name}.map", task.mlp, context)
                if task.outputs is not None:
                    self.affine(f"{name}.map.rescale", ROW / (1200 * self.channels), 1.0)
                spread = ROW
            if task.outputs is not None:
                self.linear(f"{name}.head", task.outputs, dim, spread, OUTPUT)

    def front(self, name: str, number: int) -> None:
        """What makes the operand of attention (number 1) or MLP (2): a norm, or a rescale where norms come behind."""
        if self.model.post_norm:
            self.affine(f"{name}.rescale{number}", ROW / np.sqrt(self.variance) / self.channels, 1.0)
        else:
            self.norm(f"{name}.norm{number}")

    def update(self, name: str, number: int) -> np.ndarray:
        """Wanted deviation of what they make: of what is added, or of what a norm behind takes."""
        added = self.grow(0.35)
        if not self.model.post_norm:
            return added
        self.affine(f"{name}.norm{number}", np.full(self.model.dim, ROW), 2.0**-10)
        self.tensors[f"{name}.norm{number}.eps"] = np.array([max(1, round(1e-6 * (self.model.dim * OUTPUT) ** 2))])
        self.linear(f"{name}.stream{number}", self.model.dim, self.model.dim, ROW, added)
        return np.full(self.model.dim, OUTPUT)

    def grow(self, spread: float) -> np.ndarray:
        """Account for the next addition to the residual stream, an update of this standard deviation in units; returns
        that of each channel in steps."""
        before, self.unit = self.unit, self.units.pop(0)
        self.variance = (np.sqrt(self.variance) * self.unit / before) ** 2 + (self.gain * spread * self.unit) ** 2
        return spread * self.unit * self.channels

    def scaling(self, name: str, ratio: float, max_shift: int = 47) -> None:
        """A scalar multiplier and shift."""
        mult, shift = multiplier(ratio * self.gain, max_shift)
        self.tensors |= {f"{name}.mult": mult, f"{name}.shift": shift}

    def linear(self, name: str, outputs: int, inputs: int, spread_in: float, spread_out: np.ndarray | float, *,
               offset: float = 0, mean: float = 0, jitter: float = 0.25, bias: bool = True) -> None:
        """A linear for inputs of this spread around `offset`, with outputs of `spread_out` around `mean` spreads."""
        limit = 7 if name in self.model.weight_bits else 127
        weight = np.clip(np.rint(self.rng.normal(0, 45 * limit / 127, (outputs, inputs))), -limit, limit)
        accumulator = np.maximum(np.linalg.norm(weight, axis=1), 1) * spread_in
        factor = spread_out * np.exp(self.rng.normal(0, jitter, outputs))
        mult, shift = multiplier(factor * self.gain / accumulator)
        constant = self.rng.normal(mean, 0.3, outputs) * accumulator if bias else 0
        self.tensors |= {
            f"{name}.weight": weight.astype(np.int8),
            f"{name}.bias": np.rint(constant - offset * weight.sum(1) if bias else np.zeros(outputs)).astype(np.int32),
            f"{name}.mult": mult,
            f"{name}.shift": shift,
        }

    def affine(self, name: str, factor: np.ndarray, unit: float) -> None:
        """gamma, beta and shift: out ≈ factor·x·(1 ± 0.2) + 0.2·ROW, x in steps of `unit`."""
        gamma = factor * self.gain * unit * np.exp(self.rng.normal(0, 0.2, len(factor)))
        gamma *= self.rng.choice([1, -1], len(factor), p=[0.9, 0.1])
        shift = int(np.clip(14 - np.frexp(np.abs(gamma).max())[1], 0, 22))
        beta = self.rng.normal(0, 0.2 * ROW, len(factor))
        self.tensors |= {
            f"{name}.gamma": np.clip(np.rint(gamma * 2**shift), -32768, 32767).astype(np.int16),
            f"{name}.beta": np.rint(beta * 2**shift).astype(np.int32),
            f"{name}.shift": np.array([shift], np.uint8),
        }

    def norm(self, name: str) -> None:
        """A LayerNorm that evens the channels out; xhat has ten fraction bits."""
        self.affine(name, ROW * np.sqrt(np.mean(self.channels**2)) / self.channels, 2.0**-10)
        eps = self.rng.choice([1e-6, 1e-5]) * self.model.dim**2 * (2 * self.unit) ** 2
        self.tensors[f"{name}.eps"] = np.array([max(1, round(eps))], np.int64)

    def pool(self, name: str, mlp: DenseMlp, context: float) -> None:
        """Attention pooling; what it adds up has a deviation of some thousand steps."""
        model = self.model
        q = np.clip(np.rint(self.rng.normal(0, ROW, model.attn_dim)), -255, 255)
        self.tensors[f"{name}.q"] = q.astype(np.int16)
        for part in "kv":
            self.linear(f"{name}.{part}", model.attn_dim, model.dim, ROW, COLUMN, bias=part != "k")
        self.scaling(f"{name}.score", self.rng.uniform(1, 2.5) * 32 / (np.sqrt(model.head_dim) * ROW * COLUMN))
        self.scaling(f"{name}.context", context * self.rng.uniform(1, 2) * ROW / COLUMN / 256)
        self.linear(f"{name}.proj", model.dim, model.attn_dim, 0.7 * ROW, 1000 * self.channels)
        self.norm(f"{name}.norm")
        self.mlp(f"{name}.mlp", mlp, 700 * self.channels)

    def mlp(self, name: str, mlp: DenseMlp | MoeMlp, spread_out: np.ndarray) -> None:
        """fc1, activation and fc2; the zero point and the mean above it are folded into fc2's bias."""
        self.linear(f"{name}.fc1", mlp.hidden, self.model.dim, ROW, PRE_STD, mean=PRE_MEAN, jitter=PRE_JITTER)
        gated = isinstance(mlp, DenseMlp) and mlp.gated
        if gated:
            self.linear(f"{name}.up", mlp.hidden, self.model.dim, ROW, ROW)
        inputs = PRE_STD * np.exp(self.rng.normal(0, PRE_JITTER, 4096)) * self.rng.normal(PRE_MEAN, 1, 4096)
        outputs = activation_steps(np.rint(inputs).astype(np.int64), mlp.activation)
        ratio = 510 / np.ptp(outputs)
        zero = round(-outputs.min() * ratio) - 255
        mult, shift = multiplier(ratio, 31)
        if gated:  # of products the largest are rare, and as often negative
            outputs = outputs * np.clip(self.rng.normal(0, ROW, 4096), -255, 255)
            ratio, zero = 255 / (4 * outputs.std()), 0
            mult, shift = multiplier(ratio * GATE, 31)
        part = f"{name}.activation"
        self.tensors |= {f"{part}.mult": mult, f"{part}.shift": shift, f"{part}.zero": np.array([zero], np.int16)}
        offset = zero + ratio * outputs.mean()
        self.linear(f"{name}.fc2", self.model.dim, mlp.hidden, ratio * outputs.std(), spread_out, offset=offset)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python -m hwgen.quantize.synthetic model.yaml DIRECTORY [SEED]")
    try:
        print(description.save(synthetic(sys.argv[1], int(sys.argv[3]) if len(sys.argv) == 4 else 1), sys.argv[2]))
    except HwgenError as error:
        sys.exit(error.text())
