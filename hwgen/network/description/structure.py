"""The structure of a quantized network, `model.yaml`: what it may say, and what follows (docs/description.md)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict

#: Largest `dim`: LayerNorm's V = D·Σx² − (Σx)² + eps must stay below 2^52 for any int16 x.
MAX_DIM = 2047
#: Largest number of inputs of a matrix product: |acc| <= Cin·255·128 must stay below 2^31.
MAX_INPUTS = 65535
#: Largest number of tokens: ⌊2^24 / Σp⌋ must not become zero.
MAX_TOKENS = 65535
#: Windows of a hidden channel: the zero point of the last one has twelve bits.
MAX_WINDOWS = 4
#: Most experts of a layer: an instruction names one in eight bits.
MAX_EXPERTS = 256
#: Most register tokens.
MAX_REGISTERS = 64
#: How far the residual stream's fraction bits may fall at an addition.
MAX_FALL = 3

Count = Annotated[int, Field(ge=1, le=MAX_INPUTS)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
FractionBits = Annotated[int, Field(ge=0, le=15)]
#: One number, or one for each place; told apart before either is checked, for errors that name the number.
StreamBits = Annotated[
    Annotated[FractionBits, Tag("one")] | Annotated[list[FractionBits], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, list) else "one"),
]
#: Those of `hwgen.machine.tables.ACTIVATIONS`.
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "silu", "hardswish", "relu"]
HeadKind = Literal["class_token", "distillation_token", "mean", "mean_norm", "map", "every_token", "none"]


class Image(Strict):
    """Input raster, [row][column][channel] uint8."""

    height: Count
    width: Count
    channels: Count


class Patch(Strict):
    """Size of one patch in pixels."""

    height: Count
    width: Count


class DenseMlp(Strict):
    """fc2(activation(fc1(y))), or with `gated` fc2(activation(fc1(y)) · up(y)): SwiGLU and its like (Shazeer, 2020).

    Channels of the activation may have several windows of codes, one above the other, if it is not gated.
    """

    kind: Literal["dense"]
    hidden: Count
    activation: Activation = "gelu"
    windows: Annotated[int, Field(ge=1, le=MAX_WINDOWS)] = 1
    gated: bool = False


class MoeMlp(Strict):
    """Mixture of experts: the `top_k` experts the running task's gate picks."""

    kind: Literal["moe"]
    experts: Annotated[int, Field(ge=2, le=MAX_EXPERTS)]
    hidden: Count
    top_k: Count
    gate: Literal["softmax_topk", "topk_softmax"]
    activation: Activation = "gelu"


class Layer(Strict):
    """One transformer block: attention and an MLP."""

    mlp: Annotated[DenseMlp | MoeMlp, Field(discriminator="kind")]


class Task(Strict):
    """One task: its head and whether a final LayerNorm precedes it. `outputs` is None for `head: none`, and for `map`
    if what it pools is the output; only this one has an MLP."""

    name: Name
    head: HeadKind
    outputs: Count | None = None
    norm: bool
    mlp: DenseMlp | None = None

    @property
    def rescale(self) -> bool:
        """Whether the residual stream is rescaled to int8 instead of normalized, or before it is."""
        return self.head == "mean_norm" or (not self.norm and self.head != "none")


class Model(Strict):
    """The whole of `model.yaml`."""

    format: Literal["hwgen-model"]
    version: Literal[2]
    name: Name
    weights: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    image: Image
    patch: Patch
    dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    heads: Count
    head_dim: Count
    class_token: bool
    #: Distilled DeiT's second token, behind the class token.
    distillation_token: bool = False
    #: Behind class token and distillation token.
    register_tokens: Annotated[int, Field(ge=0, le=MAX_REGISTERS)] = 0
    #: A LayerNorm between the embedding and the first layer: its output is the residual stream.
    norm_pre: bool = False
    #: All norms are RMSNorms: they leave the mean in.
    rms_norm: bool = False
    #: Norms lie behind attention and MLP, in front of the residual addition, and none in front of them.
    post_norm: bool = False
    #: q and k of each head pass a LayerNorm of their own, the same for all heads of a layer.
    qk_norm: bool = False
    #: Of the residual stream: in front of the first layer, then per layer after attention and after the MLP; or one for
    #: all.
    residual_fraction_bits: StreamBits
    layers: Annotated[list[Layer], Field(min_length=1)]
    tasks: Annotated[list[Task], Field(min_length=1)]
    #: Linear layers by name whose weights are packed two to a byte in DRAM; all others have eight bits.
    weight_bits: dict[str, Literal[4]] = {}
    scales: dict[str, Annotated[float, Field(gt=0)]] = {}

    @property
    def patches(self) -> int:
        """Number of patches of an image."""
        return (self.image.height // self.patch.height) * (self.image.width // self.patch.width)

    @property
    def prefix(self) -> int:
        """Number of tokens in front of the patches: class token, distillation token, register tokens."""
        return int(self.class_token) + int(self.distillation_token) + self.register_tokens

    @property
    def tokens(self) -> int:
        """N: patches and the tokens in front of them."""
        return self.prefix + self.patches

    @property
    def patch_size(self) -> int:
        """P: values of one patch, [row][column][channel]."""
        return self.patch.height * self.patch.width * self.image.channels

    @property
    def stream_bits(self) -> tuple[int, ...]:
        """Fraction bits of the residual stream: in front of the layers, in each after attention and after MLP."""
        bits = self.residual_fraction_bits
        return tuple(bits) if isinstance(bits, list) else (bits,) * (1 + 2 * len(self.layers))

    @property
    def attn_dim(self) -> int:
        """A: width of q, k, v and the context over all heads."""
        return self.heads * self.head_dim

    def output_shape(self, task: Task) -> tuple[int, int]:
        """Rows and columns of a task's output for one image."""
        rows = {"every_token": self.patches, "none": self.tokens}.get(task.head, 1)
        return rows, task.outputs or self.dim

    def output_scale(self, task: Task) -> float | None:
        """Real value of one step of a task's int16 outputs; None where the description tells no scale."""
        if task.head == "none" and not task.norm:
            return 2.0 ** -self.stream_bits[-1]
        return self.scales.get(f"tasks.{task.name}.{'norm' if task.head == 'none' else 'output'}")

    def output_unit(self, task: Task) -> str:
        """What a task's int16 outputs are once multiplied with `output_scale`: as the float network gives it."""
        if self.output_scale(task) is None:
            return "no scale known"
        if task.outputs is None:
            return "token features" if task.head == "none" else "pooled features"
        return "logits or values"


def check_structure(model: Model, where: str) -> None:
    """The rules that need more than one key."""
    for size in ("height", "width"):
        image, patch = getattr(model.image, size), getattr(model.patch, size)
        if image % patch:
            raise HwgenError(where, f"patch.{size}", expected=f"a divisor of image.{size} = {image}", found=str(patch),
                             mend=f"choose a patch {size} that divides the image, or pad the image")
    for key, what, value, limit in (
        ("patch", "values per patch", model.patch_size, MAX_INPUTS),
        ("patch", "tokens", model.tokens, MAX_TOKENS),
        ("heads", "heads * head_dim", model.attn_dim, MAX_INPUTS),
    ):
        if value > limit:
            raise HwgenError(where, key, expected=f"at most {limit} {what}", found=str(value))
    for index, layer in enumerate(model.layers):
        mlp = layer.mlp
        if isinstance(mlp, MoeMlp) and mlp.top_k > mlp.experts:
            raise HwgenError(where, f"layers.{index}.mlp.top_k", expected=f"at most experts = {mlp.experts}",
                             found=str(mlp.top_k))
        if isinstance(mlp, DenseMlp) and mlp.gated and mlp.windows > 1:
            raise HwgenError(where, f"layers.{index}.mlp.windows", expected="1 with `gated: true`",
                             found=str(mlp.windows), mend="remove `windows`: a product has one window")
        if isinstance(mlp, MoeMlp) and model.post_norm:
            raise HwgenError(where, f"layers.{index}.mlp.kind", expected="dense with `post_norm: true`", found="moe",
                             mend="experts add to the residual stream one by one: no norm can follow them")
    _check_stream(model, where)
    if model.distillation_token and not model.class_token:
        raise HwgenError(where, "distillation_token", expected="false, or `class_token: true`",
                         found="true with `class_token: false`", mend="it is token 1, behind the class token")
    names: dict[str, int] = {}
    for index, task in enumerate(model.tasks):
        key = f"tasks.{index}"
        if task.name in names:
            raise HwgenError(where, f"{key}.name", expected="a name no other task has",
                             found=f"{task.name!r}, also the name of tasks.{names[task.name]}",
                             mend="rename one of them")
        names[task.name] = index
        if task.head in ("class_token", "distillation_token") and not getattr(model, task.head):
            raise HwgenError(where, f"{key}.head", mend="use mean, every_token or none",
                             expected=f"a head that needs no {task.head.replace('_', ' ')}, or `{task.head}: true`",
                             found=f"{task.head!r} with `{task.head}: false`")
        if task.head == "mean_norm" and not task.norm:
            raise HwgenError(where, f"{key}.norm", expected="true with `head: mean_norm`", found="false",
                             mend="use the head `mean` if nothing is to be normalized")
        if task.head == "none" and task.outputs is not None:
            raise HwgenError(where, f"{key}.outputs", expected="no `outputs` with `head: none`",
                             found=str(task.outputs), mend="remove `outputs` or choose another head")
        if (task.head == "map") != (task.mlp is not None):
            found = f"{'one' if task.mlp else 'none'} with `head: {task.head}`"
            raise HwgenError(where, f"{key}.mlp", expected="an MLP with `head: map`, and only there", found=found,
                             mend="add `mlp: {kind: dense, hidden: ...}`" if task.mlp is None else "remove `mlp`")
        if task.mlp is not None and task.mlp.gated:
            raise HwgenError(where, f"{key}.mlp.gated", expected="false: the MLP of attention pooling has no gate",
                             found="true", mend="gate the MLPs of layers only")
        if task.head not in ("none", "map") and task.outputs is None:
            raise HwgenError(where, f"{key}.outputs", expected=f"the number of outputs of the {task.head} head",
                             found="no such key", mend="add `outputs`")


def _check_stream(model: Model, where: str) -> None:
    """Fraction bits of the residual stream fall by what the hardware shifts at an addition, and never rise."""
    key, bits = "residual_fraction_bits", model.stream_bits
    if len(bits) != 1 + 2 * len(model.layers):
        raise HwgenError(where, key, found=f"{len(bits)} numbers", expected="one number, or one after the embedding "
                         f"and two for each of the {len(model.layers)} layers: after attention, after the MLP")
    for place, (before, after) in enumerate(pairwise(bits)):
        routed = place % 2 == 1 and isinstance(model.layers[place // 2].mlp, MoeMlp)
        if not 0 <= before - after <= (0 if routed else MAX_FALL):
            expected = f"{before}, as in front of the experts" if routed else f"{before} or up to {MAX_FALL} less"
            raise HwgenError(where, f"{key}.{place + 1}", expected=expected, found=str(after))
