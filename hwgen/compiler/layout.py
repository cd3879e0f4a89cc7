"""Where everything lies on chip: strides, head padding, and how deep each buffer must be for a model.

Tested by tests/compiler/test_layout.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from amaranth.utils import ceil_log2

from hwgen.compiler import stream
from hwgen.compiler.areas import Area
from hwgen.compiler.blocks import Blocks
from hwgen.compiler.windows import Windows
from hwgen.machine.params import ALIGN, HwParams
from hwgen.network.description import DenseMlp, Description, MoeMlp, Task

__all__ = ["Layout", "div_up", "dot_steps", "stored_words"]


def div_up(value: int, unit: int) -> int:
    """Number of units that hold `value`."""
    return -(-value // unit)


def dot_steps(p: HwParams, inputs: int) -> int:
    """Array steps of a dot product with weights. With each of the first a parameter word is read, so there are as many
    as of these at least; zeros fill up."""
    return max(div_up(inputs, p.k), p.param_words)


def stored_words(desc: Description, p: HwParams, task: Task) -> int:
    """C-words of one stored output row."""
    return div_up(desc.model.output_shape(task)[1], p.c)


@dataclass(frozen=True)
class Layout:
    """Strides and areas of a model's tensors in the buffers of `p`, for `batch` images at once, cut into `blocks`.

    A `*_words` is a row's length in C-words, a `*_stride` in words of W bytes (the last one may be written in part:
    what is behind a row's channels meets zero weights only). Attention reads whole words of q and k, so there the heads
    are padded to whole words, and the padding is written with zeros. Rows of images lie densely, one image after
    another. Areas of one buffer overlap where their tensors are not needed at the same time.
    """

    desc: Description
    p: HwParams
    batch: int
    blocks: Blocks

    @property
    def rows(self) -> int:
        """Rows of the residual stream."""
        return self.batch * self.desc.model.tokens

    @cached_property
    def groups(self) -> int:
        """Row tiles of T tokens."""
        return div_up(self.rows, self.p.t)

    def words(self, channels: int) -> int:
        """C-words of a row, which is also its number of tiles."""
        return div_up(channels, self.p.c)

    def stride(self, channels: int) -> int:
        """Words of W bytes of a row: as many as a dot product reads at least."""
        return div_up(max(channels, dot_steps(self.p, 1) * self.p.k), self.p.word)

    @property
    def dim_words(self) -> int:
        return self.words(self.desc.model.dim)

    @property
    def dim_stride(self) -> int:
        return self.stride(self.desc.model.dim)

    @property
    def head_pitch(self) -> int:
        """Channels from one head to the next: head_dim rounded up to whole words of W."""
        return div_up(self.desc.model.head_dim, self.p.word) * self.p.word

    @property
    def attn_channels(self) -> int:
        """Channels of the context, padding included."""
        return self.desc.model.heads * self.head_pitch

    def used(self, heads: int) -> int:
        """Channels of so many heads up to the last one that is not padding."""
        return (heads - 1) * self.head_pitch + self.desc.model.head_dim

    @property
    def attn_used(self) -> int:
        return self.used(self.desc.model.heads)

    @property
    def group_stride(self) -> int:
        """Of q and k: they hold a group of heads."""
        return self.stride(self.blocks.heads * self.head_pitch)

    @property
    def attn_stride(self) -> int:
        return self.stride(self.attn_channels)

    @cached_property
    def head_channels(self) -> tuple[int, ...]:
        """Buffer channel of each of the heads·head_dim channels of the context."""
        return self.channels_of(range(self.desc.model.heads))

    def channels_of(self, heads: range) -> tuple[int, ...]:
        """Buffer channels of those of a group of heads, in q, k and v."""
        return tuple(h * self.head_pitch + i for h in range(len(heads)) for i in range(self.desc.model.head_dim))

    @property
    def raw_words(self) -> int:
        """C-words of a head of q or k in X, in front of its norm."""
        return self.words(self.desc.model.head_dim)

    @cached_property
    def raw_channels(self) -> tuple[int, ...]:
        """Channel there of each of the heads·head_dim attention channels."""
        model, pitch = self.desc.model, self.raw_words * self.p.c
        return tuple(h * pitch + i for h in range(model.heads) for i in range(model.head_dim))

    @property
    def image_stride(self) -> int:
        """Bytes from one image to the next in the input region."""
        image = self.desc.model.image
        return div_up(image.height * image.width * image.channels, ALIGN) * ALIGN

    @property
    def stream_bytes(self) -> int:
        """Of a row of the residual stream in DRAM, as of the position table."""
        return 2 * self.p.c * self.dim_words

    # Areas.

    def x(self, words: int) -> Area:
        return Area("X", stride=words)

    def banked(self, buffer: str, stride: int, base: int = 0) -> Area:
        """Of Y or H."""
        return Area(buffer, base, stride, self.p.t, self.p.word // self.p.c)

    @property
    def norm(self) -> Area:
        return self.banked("Y", self.dim_stride)

    @property
    def context(self) -> Area:
        """Beside the norms: those of some rows are made while the context of others is read."""
        return self.banked("Y", self.attn_stride, stream.norm_groups(self) * self.dim_stride)

    @property
    def raw(self) -> Area:
        """q, then k, in front of their norms: behind the residual stream."""
        return Area("X", self.rows * self.dim_words, self.desc.model.heads * self.raw_words)

    @property
    def update(self) -> Area:
        """What attention or MLP made, in front of a norm behind them: there, too."""
        return Area("X", self.rows * self.dim_words, self.dim_words)

    @property
    def normed_keys(self) -> Area:
        """In the place of the norms, which nobody needs by then; the queries' is that of the context."""
        return self.banked("Y", self.attn_stride)

    def patches(self, image: int) -> Area:
        """Two images take turns. Behind the norms, as those of one image meet the patches of others; the only image's
        end with the context, so that its norms stay behind the patches already read."""
        stride = self.stride(self.desc.model.patch_size)
        norms, end = self.groups * self.dim_stride, self.groups * (self.dim_stride + self.attn_stride)
        base = norms + image % 2 * self._patch_groups * stride if self.batch > 1 else max(0, end - self.groups * stride)
        return self.banked("Y", stride, base - self.patch_row(image) // self.p.t * stride)

    def patch_row(self, image: int) -> int:
        """First row of the group in which the image's patches begin."""
        return image * self.desc.model.tokens // self.p.t * self.p.t

    @property
    def _patch_groups(self) -> int:
        """Groups an image's patches may touch."""
        tokens, t = self.desc.model.tokens, self.p.t
        return max(div_up((image + 1) * tokens - self.patch_row(image), t) for image in range(self.batch))

    @property
    def q(self) -> Area:
        return self.banked("H", self.group_stride)

    @property
    def k(self) -> Area:
        return Area("K", 0, self.group_stride, self.p.c, self.p.word // self.p.c)

    @property
    def v(self) -> Area:
        return Area("V", 0, self.words(self.used(self.blocks.heads)), self.p.k)

    @property
    def routed_groups(self) -> int:
        """Row tiles of an expert's queue."""
        return div_up(self.blocks.tokens, self.p.t)

    def gathered(self, expert: int) -> Area:
        """The rows of an expert's queue: the next one's are gathered while this one works."""
        return self.banked("H", self.dim_stride, expert % 2 * self.routed_groups * self.dim_stride)

    def hidden(self, layer: int, first: int = 0) -> Area:
        """Hidden activations of a block that begins with row `first`; experts have their gathered rows in front of
        them."""
        mlp, stride = self.desc.model.layers[layer].mlp, self.stride(self.hidden_channels(layer))
        front = 2 * self.routed_groups * self.dim_stride if isinstance(mlp, MoeMlp) else 0
        return self.banked("H", stride, front - first // self.p.t * stride)

    def windows(self, layer: int) -> Windows:
        """Where the windows of a dense layer's hidden channels are."""
        return Windows.of(self.desc, layer, self.p.word)

    def hidden_channels(self, layer: int) -> int:
        """Buffer channels of its hidden activations."""
        mlp = self.desc.model.layers[layer].mlp
        return mlp.hidden if isinstance(mlp, MoeMlp) else self.windows(layer).used

    @property
    def pooled(self) -> Area:
        """What attention pooling makes of an image, in the place of its first patch."""
        model = self.desc.model
        return Area("X", model.prefix * self.dim_words, model.tokens * self.dim_words)

    def pooled_hidden(self, mlp: DenseMlp) -> Area:
        return self.banked("H", self.stride(mlp.hidden))

    def mean(self, image: int) -> Area:
        return self.banked("H", self.dim_stride, image * self.dim_stride)

    @property
    def logits(self) -> Area:
        return Area("LOGITS", stride=1 << ceil_log2(div_up(self.p.max_experts, self.p.c)))

    # Sizes.

    def needs(self) -> Iterator[tuple[str, int, str]]:
        """(field of HwParams, least value, what needs it), in no particular order."""
        model, p, n = self.desc.model, self.p, self.rows
        yield "max_tokens", n, "tokens"
        yield "max_experts", 2, "no experts; the router is there all the same"
        yield "max_topk", 1, "no experts"
        yield "norm_depth", self.dim_words, "dim"
        if self.blocks.stream:
            yield from stream.needs(self)
        else:
            yield "x_depth", n * self.dim_words, "the residual stream"
            patches = self.patches(min(self.batch, 2) - 1)
            first = self.patch_row(min(self.batch, 2) - 1)
            yield "y_depth", patches.at(first) + self._patch_groups * patches.stride, "patches"
        yield "y_depth", self.context.base + self.groups * self.attn_stride, "norm2 and context"
        yield "h_depth", self.groups * self.group_stride, "queries"
        yield "k_depth", div_up(n, p.c) * self.group_stride, "keys"
        yield "v_depth", div_up(n, p.k) * self.v.stride, "values"
        yield self._ring("embed", model.patch_size)
        yield self._ring("attn.q", model.dim)
        yield self._ring("attn.proj", self.attn_used)
        if model.qk_norm:
            yield "norm_depth", self.raw_words, "head_dim"
            yield "x_depth", self.raw.base + n * self.raw.stride, "queries in front of their norm"
            beyond = max(0, dot_steps(p, model.head_dim) * p.k - self.head_pitch)
            yield "y_depth", self.context.base + self.groups * self.attn_stride + div_up(beyond, p.word), "queries"
            yield self._ring("copies of heads", model.head_dim)
        if model.post_norm:
            yield "x_depth", self.update.at(n), "updates in front of their norm"
        for index, layer in enumerate(model.layers):
            name, mlp, hidden = f"layers.{index}", layer.mlp, self.hidden(index)
            tiles = self.routed_groups if isinstance(mlp, MoeMlp) else div_up(self.blocks.rows, p.t)
            depth = hidden.base + tiles * hidden.stride
            yield "h_depth", depth, f"{name}: " + ("tokens and " * isinstance(mlp, MoeMlp)) + "hidden"
            yield self._ring(f"{name} fc2", self.hidden_channels(index))
            if isinstance(mlp, MoeMlp):
                yield "max_experts", mlp.experts, f"{name}: experts"
                yield "max_topk", mlp.top_k, f"{name}: top_k"
        for task in model.tasks:
            if task.mlp is not None:
                depth = div_up(self.batch, p.t) * self.pooled_hidden(task.mlp).stride
                yield "h_depth", depth, f"{task.name}: hidden"
                yield self._ring(f"{task.name} fc2", task.mlp.hidden)
            if task.head in ("mean", "mean_norm"):
                yield "h_depth", self.batch * self.dim_stride, f"{task.name}: mean"
            if task.outputs is not None and not self.blocks.stream:
                last_rows = self.batch * model.output_shape(task)[0]
                yield "x_depth", last_rows * self.words(task.outputs), f"outputs of {task.name}"

    def _ring(self, name: str, inputs: int) -> tuple[str, int, str]:
        """Two tiles: one is in use while the next one arrives."""
        return "weight_depth", 2 * (self.p.param_words + dot_steps(self.p, inputs)), f"two tiles of {name}"

    def kept(self) -> Iterator[int]:
        """Ring words of weights that row blocks share: they are as many as there is room for."""
        model, params = self.desc.model, self.p.param_words

        def words(inputs: int, outputs: int) -> int:
            return self.words(outputs) * (params + dot_steps(self.p, inputs))

        channels = self.raw.stride * self.p.c if model.qk_norm else self.blocks.heads * self.head_pitch
        q, proj = words(model.dim, channels), words(self.attn_used, model.dim)
        yield from (q, proj, words(model.patch_size, model.dim) + q)
        if model.norm_pre:
            yield words(model.dim, model.dim) + q
        for index, layer in enumerate(model.layers):
            if isinstance(layer.mlp, MoeMlp):
                yield proj + words(model.dim, layer.mlp.experts)
                continue
            fc1, fc2 = words(model.dim, layer.mlp.hidden), words(self.hidden_channels(index), model.dim)
            fc1 *= 1 + layer.mlp.gated
            square = words(model.dim, model.dim)
            yield from (fc2, square + fc1, square + q) if model.post_norm else (proj + fc1, fc2 + q)

    def worst(self) -> dict[str, tuple[int, str]]:
        """Per field the largest of `needs` and what needs it."""
        worst: dict[str, tuple[int, str]] = {}
        for name, value, what in self.needs():
            if name not in worst or value > worst[name][0]:
                worst[name] = value, what
        return worst
