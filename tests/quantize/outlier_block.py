"""One dense ViT block with the statistics of a trained M3ViT's first block, from a seed.

129 tokens, D = 192, 3 heads, MLP 768. A few channels of the residual stream are 6 to 10 times the median channel and
keep their sign; LayerNorm's gains do not even everything out; K has biases up to 51; GELU sees mostly negative inputs
and a long tail of positive ones, so that uint8 with a zero point has 27.8 dB where symmetric int8 has 20 to 22.5. The
updates of attention and MLP are 0.3 of an ordinary channel: with that the first version of the quantizer (minimum and
maximum, operands of eight bits) came near the 43.9 and 38.6 dB which the same scheme had on the trained block.
"""

from __future__ import annotations

import numpy as np

from hwgen.network.description import parse_model
from hwgen.network.floatmodel import FloatModel, expected_checkpoint, gelu

DIM, HIDDEN, HEADS = 192, 768, 3
#: Channels of the residual stream that are outliers, and how many times the others they are.
OUTLIERS, FACTOR = 4, (6.0, 10.0)
#: Updates of the residual stream, in ordinary channels.
UPDATE = 0.3
#: Standard deviation of a query's scores over the keys, as in `hwgen.quantize.synthetic` 1.75 in log2 units.
SCORE = 1.2
#: Range of GELU's outputs over their RMS: uint8 codes then have 27.8 dB.
GELU_RANGE = 255 * 12**0.5 / 10 ** (27.8 / 20)
#: The largest bias of K.
K_BIAS = 51.0

STRUCTURE = {
    "format": "hwgen-model", "version": 2, "name": "outlier_block", "weights": "weights.safetensors",
    "image": {"height": 64, "width": 128, "channels": 3}, "patch": {"height": 8, "width": 8},
    "dim": DIM, "heads": HEADS, "head_dim": DIM // HEADS, "class_token": True, "residual_fraction_bits": 0,
    "layers": [{"mlp": {"kind": "dense", "hidden": HIDDEN}}],
    "tasks": [{"name": "stream", "head": "none", "norm": False}],
}  # fmt: skip


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))


def score_spread(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Standard deviation of a query's scores over the keys, for each head; q, k [rows, D]."""
    heads = [part.reshape(-1, HEADS, DIM // HEADS).swapaxes(0, 1) for part in (q, k)]
    return (heads[0] @ heads[1].swapaxes(-1, -2)).std(-1).mean(-1) / np.sqrt(DIM // HEADS)


def gelu_level(h: np.ndarray) -> float:
    """What to add to GELU's inputs so that its outputs' range, from -0.17, is `GELU_RANGE` times their RMS."""
    low, high, top, some = -4.0, 4.0, h.max(keepdims=True), h.ravel()[::16]
    for _ in range(30):
        middle = (low + high) / 2
        narrow = gelu(top + middle).item() + 0.17 < GELU_RANGE * rms(gelu(some + middle))
        low, high = (low, middle) if narrow else (middle, high)
    return low


def images(count: int, seed: int) -> np.ndarray:
    """Pictures uint8 [count, 64, 128, 3] with the 1/f spectrum of natural ones."""
    rng = np.random.default_rng((seed, 1))
    noise = np.fft.rfft2(rng.normal(size=(count, 3, 64, 128)))
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(128))
    smooth = np.fft.irfft2(noise / np.maximum(frequency, 1 / 128), s=(64, 128))
    smooth = 120 + 60 * smooth / smooth.std((1, 2, 3), keepdims=True)
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def outlier_block(seed: int) -> FloatModel:
    """The block in float64, its layers scaled one after another by what they give on `images(4, seed)`."""
    rng = np.random.default_rng(seed)
    model = parse_model(STRUCTURE, "outlier block")
    tensors = {name: np.zeros(shape) for name, shape in expected_checkpoint(model).items()}
    block = FloatModel(model, tensors, eps=1e-6, mean=[120.0] * 3, std=[60.0] * 3, dtype=np.float64)
    tensors, probe = block.tensors, images(4, seed)

    def seen(name: str, pictures: np.ndarray = probe) -> np.ndarray:
        """The tensor of that name, [rows, channels], as far as the block is made."""
        found: dict[str, np.ndarray] = {}
        block.run(pictures, "stream", lambda key, value: found.setdefault(key, value.reshape(-1, value.shape[-1])))
        return found[name]

    def draw(name: str, spread: np.ndarray | float = 1.0) -> None:
        outputs, inputs = tensors[f"{name}.w"].shape
        tensors[f"{name}.w"] = rng.normal(size=(outputs, inputs)) * inputs**-0.5 * np.reshape(spread, (-1, 1))

    def norm(name: str, outliers: np.ndarray, rest: float) -> None:
        """Gains lognormal; an outlier's is smaller, yet leaves `rest` of its excess."""
        excess = np.where(outliers > 1, rest / outliers, 1)
        tensors[f"{name}.g"] = 0.6 * np.exp(rng.normal(0, 0.35, DIM)) * excess * np.sqrt(np.mean(outliers**2))
        tensors[f"{name}.b"] = rng.normal(0, 0.15, DIM) * np.exp(rng.normal(0, 0.6, DIM))

    channels = np.ones(DIM)
    where = rng.permutation(DIM)[:OUTLIERS]
    channels[where] = rng.uniform(*FACTOR, OUTLIERS)

    # Integers that the quantizer keeps: what is measured is the block, not the embedding before it.
    tensors["embed.w"] = np.clip(np.rint(rng.normal(0, 40, (DIM, model.patch_size))), -126, 126)
    tensors["embed.w"][:, 0] = 127
    tensors["embed.w"] *= (0.6 * channels / seen("embed").std(0))[:, None]
    tensors["embed.b"][where] = 0.6 * channels[where] * rng.choice([-1, 1], OUTLIERS)
    tensors["pos"] = rng.normal(0, 0.7, (model.tokens, DIM)) * np.where(channels > 1, 0.3 * channels, 1)
    tensors["cls"] = rng.normal(0, 0.7, (1, DIM)) * channels

    norm("l0.n1", channels, 2.5)
    draw("l0.qkv", 1 / rms(seen("layers.0.norm1")))
    tensors["l0.qkv.b"][:DIM] = rng.normal(0, 1, DIM)
    k_bias = rng.normal(0, 2, DIM)
    k_bias[rng.permutation(DIM)[:3]] = K_BIAS * np.array([1.0, -0.7, 0.5])
    tensors["l0.qkv.b"][DIM : 2 * DIM] = k_bias
    tensors["l0.qkv.b"][2 * DIM :] = rng.normal(0, 0.2, DIM)
    scores = score_spread(seen("layers.0.q"), seen("layers.0.k"))
    tensors["l0.qkv.w"][DIM : 2 * DIM] *= np.repeat(SCORE / scores, DIM // HEADS)[:, None]
    draw("l0.proj")
    tensors["l0.proj.w"] *= UPDATE / rms(seen("layers.0.attn") - seen("embed"))
    tensors["l0.proj.b"] = rng.normal(0, 0.2 * UPDATE, DIM)

    norm("l0.n2", channels, 2.5)
    draw("l0.fc1", 0.6 * np.exp(rng.normal(0, 0.3, HIDDEN)) / rms(seen("layers.0.norm2")))
    tensors["l0.fc1.b"] = rng.normal(0, 0.4, HIDDEN)
    tensors["l0.fc1.b"] += gelu_level(block._linear("l0.fc1", seen("layers.0.norm2", images(32, seed))))
    draw("l0.fc2")
    tensors["l0.fc2.w"] *= UPDATE / rms(seen("layers.0.mlp") - seen("layers.0.attn"))
    tensors["l0.fc2.b"] = rng.normal(0, 0.2 * UPDATE, DIM)
    return block
