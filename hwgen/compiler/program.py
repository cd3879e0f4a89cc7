"""From a description to programs: one instruction sequence per task over shared weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from amaranth.utils import ceil_log2
from numpy.typing import NDArray

from hwgen import isa
from hwgen.compiler.layout import Layout, check_fits, div_up, output_shape, stored_words
from hwgen.compiler.packing import WeightRegion, pack_linear, pack_norm, pack_rows, spread
from hwgen.compiler.probes import Probe
from hwgen.description import Description, MoeMlp, Task
from hwgen.errors import HwgenError
from hwgen.isa import Dest, Op, Source
from hwgen.params import HwParams

__all__ = ["Compiled", "Instr", "compile_model"]


@dataclass(frozen=True)
class Instr:
    """One instruction: field values as in `hwgen.isa`, and the tensor it computes."""

    op: Op
    fields: dict[str, int]
    name: str

    def encode(self) -> bytes:
        return isa.encode(self.op, **self.fields)


@dataclass(frozen=True)
class Compiled:
    """A model for one accelerator: the two binary files, what is in them, and how to read the results."""

    program: bytes
    weights: bytes
    entries: dict[str, int]  #: byte offset of each task's program
    instructions: dict[str, tuple[Instr, ...]]
    probes: dict[str, tuple[Probe, ...]]  #: ascending by instruction
    input_bytes: int
    output_bytes: dict[str, int]
    output_shapes: dict[str, tuple[int, int]]

    @property
    def comments(self) -> dict[int, str]:
        """What each instruction computes, by byte offset: `disassemble` shows it."""
        return {
            entry + i * isa.BYTES: f"{task}: {instr.name}"
            for task, entry in self.entries.items()
            for i, instr in enumerate(self.instructions[task])
        }

    def unpack_output(self, task: str, raw: bytes) -> NDArray[np.int16]:
        """int16 [rows, outputs] from the bytes of the output region."""
        rows, columns = self.output_shapes[task]
        words = np.frombuffer(raw, "<i2", self.output_bytes[task] // 2).reshape(rows, -1)
        return words[:, :columns].astype(np.int16)


def compile_model(desc: Description, p: HwParams) -> Compiled:
    """Compile all tasks of a checked description. Raises HwgenError when it does not fit `p`."""
    check_fits(desc, p)
    region = WeightRegion()
    programs = {task.name: _Program(desc, p, region, task).build() for task in desc.model.tasks}
    binary = bytearray()
    entries: dict[str, int] = {}
    for task, program in programs.items():
        entries[task] = len(binary)
        binary += b"".join(_encode(desc, instr) for instr in program.instructions)
    image = desc.model.image
    return Compiled(
        program=bytes(binary),
        weights=region.data,
        entries=entries,
        instructions={task: tuple(program.instructions) for task, program in programs.items()},
        probes={task: tuple(program.probes) for task, program in programs.items()},
        input_bytes=image.height * image.width * image.channels,
        output_bytes={
            task.name: 2 * p.c * output_shape(desc, task)[0] * stored_words(desc, p, task) for task in desc.model.tasks
        },
        output_shapes={task.name: output_shape(desc, task) for task in desc.model.tasks},
    )


def _encode(desc: Description, instr: Instr) -> bytes:
    try:
        return instr.encode()
    except ValueError as error:
        raise HwgenError(f"model {desc.model.name}", instr.name, expected="values that fit the instruction word",
                         found=str(error), mend="make the model smaller") from None


#: Where heads are padded: the buffer channel of each channel, and the number of buffer channels.
_Channels = tuple[Sequence[int], int]


@dataclass(frozen=True)
class _Rows:
    """Rows of a buffer: where the program keeps a tensor."""

    buffer: str
    base: int
    stride: int

    @property
    def source(self) -> Source:
        return Source[self.buffer]

    def at(self, row: int, p: HwParams) -> int:
        """The word of the group that `row` is in."""
        group = row if self.buffer == "X" else row // p.t
        return self.base + group * self.stride


@dataclass
class _Program:
    """Emits one task's program."""

    desc: Description
    p: HwParams
    region: WeightRegion
    task: Task
    instructions: list[Instr] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)

    def __post_init__(self) -> None:
        model = self.desc.model
        self.layout = layout = Layout(self.desc, self.p)
        self.all = (0, model.tokens)
        self.patches = (int(model.class_token), model.tokens)
        self.x = _Rows("X", 0, layout.dim_words)
        self.y = _Rows("Y", 0, layout.dim_stride)
        self.q = _Rows("H", 0, layout.attn_stride)
        self.k = _Rows("K", 0, layout.attn_stride)
        self.v = _Rows("V", 0, layout.words(layout.attn_used))
        self.context = _Rows("Y", 0, layout.attn_stride)

    def build(self) -> _Program:
        self._embed()
        for index, layer in enumerate(self.desc.model.layers):
            self._attention(f"layers.{index}")
            self._norm(f"layers.{index}.norm2", f"layers.{index}.norm2", self.all)
            if isinstance(layer.mlp, MoeMlp):
                self._moe(f"layers.{index}", layer.mlp, self.layout.hidden_base(index))
            else:
                hidden = _Rows("H", 0, self.layout.stride(layer.mlp.hidden))
                self._mlp(f"layers.{index}.mlp", f"layers.{index}.hidden", self.y, hidden, layer.mlp.hidden)
            self._probe(f"layers.{index}.mlp", self.x, self.all)
        self._head()
        self._emit(Op.END, "end")
        return self

    # The parts of the model, in order.

    def _embed(self) -> None:
        model, tensors = self.desc.model, self.desc.tensors
        patches = _Rows("Y", 0, self.layout.stride(model.patch_size))
        image = model.image
        self._emit(
            Op.IMAGE, "patches", offset=0, bytes=image.height * image.width * image.channels,
            a_stride=model.patch.height, row_begin=self.patches[0], k_steps=model.patch.width * image.channels,
            tiles=image.width // model.patch.width, d_base=patches.base, d_stride=patches.stride,
        )  # fmt: skip
        self._probe("patches", patches, self.patches, range(model.patch_size), unsigned=True)
        block = self.region.add("position", lambda: pack_rows(self.p, tensors["position"]))
        self._emit(Op.LOAD, "position", dest=Dest.X, offset=block.offset, bytes=block.bytes, d_base=self.x.base)
        self._matmul("embed", "embed", patches, Dest.X_ADD, self.x, self.patches,
                     fields={"a_unsigned": 1})
        self._probe("embed", self.x, self.all)

    def _attention(self, name: str) -> None:
        model, layout, tensors = self.desc.model, self.layout, self.desc.tensors
        self._norm(f"{name}.norm1", f"{name}.norm1", self.all)
        for part, dest, rows, size in (
            ("q", Dest.H, self.q, layout.attn_channels),
            ("k", Dest.K, self.k, layout.attn_channels),
            ("v", Dest.V, self.v, layout.attn_used),
        ):
            outputs = (layout.head_channels, size)
            self._matmul(f"{name}.attn.{part}", f"{name}.{part}", self.y, dest, rows, self.all, outputs=outputs)
            self._probe(f"{name}.{part}", rows, self.all, layout.head_channels)
        score, context = f"{name}.attn.score", f"{name}.attn.context"
        for head in range(model.heads):
            channel = head * layout.head_pitch
            word, tile = channel // self.p.word, channel // self.p.c
            self._emit(
                Op.ATTENTION, f"{name}.context head {head}",
                a_base=self.q.base + word, a_stride=self.q.stride, row_end=model.tokens,
                k_steps=div_up(model.head_dim, self.p.k), tiles=layout.words(model.head_dim),
                d_base=self.context.base, d_stride=self.context.stride, d_word=tile,
                k_base=self.k.base + word, k_stride=self.k.stride, v_base=self.v.base + tile, v_stride=self.v.stride,
                key_tiles=div_up(model.tokens, self.p.c), pv_steps=div_up(model.tokens, self.p.k),
                score_mult=int(tensors[f"{score}.mult"][0]), score_shift=int(tensors[f"{score}.shift"][0]),
                out_mult=int(tensors[f"{context}.mult"][0]), out_shift=int(tensors[f"{context}.shift"][0]),
            )  # fmt: skip
            self._probe_scores(f"{name}.score", head)
            channels = range(channel, channel + model.head_dim)
            self._probe(f"{name}.context", self.context, self.all, channels, column=head * model.head_dim)
        inputs = (layout.head_channels, layout.attn_used)
        self._matmul(f"{name}.attn.proj", f"{name}.attn", self.context, Dest.X_ADD, self.x, self.all, inputs=inputs)
        self._probe(f"{name}.attn", self.x, self.all)

    def _mlp(self, weights: str, hidden_name: str, source: _Rows, hidden: _Rows, width: int,
             expert: int | None = None) -> None:
        """fc1, GELU, fc2: of all tokens, or of an expert's queue whose rows are gathered in `source`."""
        tensors = self.desc.tensors
        gelu = {f"gelu_{part}": int(tensors[f"{weights}.gelu.{part}"][0]) for part in ("mult", "shift", "zero")}
        queue = {} if expert is None else {"use_queue": 1, "expert": expert}
        scatter = {} if expert is None else {"scatter": 1}
        rows = self.all if expert is None else None
        result = weights if expert is None else f"{weights} into mlp"
        self._matmul(f"{weights}.fc1", hidden_name, source, Dest.H, hidden, rows, fields={"gelu": 1} | gelu | queue)
        self._probe(hidden_name, hidden, rows, range(width), unsigned=True, expert=expert)
        self._matmul(f"{weights}.fc2", result, hidden, Dest.X_ADD, self.x, rows,
                     fields={"a_unsigned": 1} | queue | scatter)

    def _moe(self, name: str, mlp: MoeMlp, hidden_base: int) -> None:
        self._matmul(f"{name}.moe.gate.{self.task.name}", f"{name}.logits", self.y, Dest.LOGITS, None, self.all)
        logits = _Rows("LOGITS", 0, 1 << ceil_log2(div_up(self.p.max_experts, self.p.c)))
        self._probe(f"{name}.logits", logits, self.all, range(mlp.experts))
        self._emit(Op.ROUTE, f"{name}.experts", renormalize=int(mlp.gate == "topk_softmax"), row_begin=self.all[0],
                   row_end=self.all[1], k_steps=mlp.top_k, tiles=mlp.experts)
        for expert in range(mlp.experts):
            self._probe(f"{name}.expert.{expert}.tokens", _Rows("QUEUE", 0, 0), None, (), expert=expert)
        gathered = _Rows("H", 0, self.layout.dim_stride)
        hidden = _Rows("H", hidden_base, self.layout.stride(mlp.hidden))
        for expert in range(mlp.experts):
            self._emit(Op.GATHER, f"{name}.norm2 rows of expert {expert}", expert=expert, use_queue=1,
                       a_base=self.y.base, a_stride=self.y.stride, tiles=self.layout.dim_words, d_base=gathered.base,
                       d_stride=gathered.stride)
            self._mlp(f"{name}.moe.experts.{expert}", f"{name}.expert.{expert}.hidden", gathered, hidden, mlp.hidden,
                      expert)

    def _head(self) -> None:
        """Final norm or rescale, mean, linear; only the rows that are stored are computed."""
        model, task, tensors = self.desc.model, self.task, self.desc.tensors
        name = f"tasks.{task.name}"
        rows = {"class_token": (0, 1), "none": self.all}.get(task.head, self.patches)
        result, words = self.x, self.layout.dim_words
        if task.norm or task.outputs is not None:
            self._norm(f"{name}.norm" if task.norm else f"{name}.rescale", f"{task.name}.norm", rows)
            result = self.y
        if task.head == "mean":
            result = _Rows("H", 0, self.layout.dim_stride)
            self._emit(Op.MEAN, f"{task.name}.mean", a_base=self.y.at(rows[0], self.p), a_stride=self.y.stride,
                       row_begin=rows[0], row_end=rows[1], tiles=words, d_base=result.base, d_stride=result.stride,
                       out_mult=int(tensors[f"{name}.mean.mult"][0]), out_shift=int(tensors[f"{name}.mean.shift"][0]))
            rows = (0, 1)
            self._probe(f"{task.name}.mean", result, rows)
        if task.outputs is not None:
            words = self.layout.words(task.outputs)
            outputs = _Rows("X", 0, words)
            self._matmul(f"{name}.head", f"{task.name}.output", result, Dest.X, outputs, rows)
            result = outputs
        self._emit(Op.STORE, f"{task.name}.output", source=result.source, offset=0,
                   bytes=2 * self.p.c * words * (rows[1] - rows[0]), a_base=result.at(rows[0], self.p),
                   a_stride=result.stride, row_begin=rows[0], row_end=rows[1], tiles=words)
        self._probe(f"{task.name}.output", result, rows, range(task.outputs or model.dim), tensor_row=0)

    # Single instructions.

    def _emit(self, op: Op, name: str, **fields: int) -> None:
        self.instructions.append(Instr(op, {key: int(value) for key, value in fields.items()}, name))

    def _probe(
        self, tensor: str, rows: _Rows, span: tuple[int, int] | None, channels: Sequence[int] | None = None, *,
        column: int = 0, tensor_row: int | None = None, unsigned: bool = False, expert: int | None = None,
        head: int | None = None,
    ) -> None:
        """`tensor` is in `rows` after the last instruction; by default all D channels, at its own row numbers."""
        begin, end = span or (0, None)
        self.probes.append(Probe(
            instruction=len(self.instructions) - 1, tensor=tensor, buffer=rows.buffer, base=rows.base,
            stride=rows.stride, row_begin=begin, row_end=end, tensor_row=begin if tensor_row is None else tensor_row,
            column=column, channels=range(self.desc.model.dim) if channels is None else channels, unsigned=unsigned,
            expert=expert, head=head,
        ))  # fmt: skip

    def _probe_scores(self, tensor: str, head: int) -> None:
        """The last two query tiles: the scores of earlier ones were overwritten when ATTENTION retires."""
        tokens, tile, word = self.desc.model.tokens, self.p.t, self.p.word
        keys = [key // word * 2 * word + key % word for key in range(tokens)]  # the halves' words alternate
        tiles = div_up(tokens, tile)
        for number in range(max(tiles - 2, 0), tiles):
            rows = (number * tile, min((number + 1) * tile, tokens))
            self._probe(tensor, _Rows("SCORE", number % 2, 0), rows, keys, head=head)

    def _norm(self, weights: str, name: str, rows: tuple[int, int]) -> None:
        """LayerNorm (tensors with an eps) or rescale of X to Y."""
        tensors = self.desc.tensors
        statistics = f"{weights}.eps" in tensors
        eps = int(tensors[f"{weights}.eps"][0]) if statistics else 0
        block = self.region.add(
            weights, lambda: pack_norm(self.p, tensors[f"{weights}.gamma"], tensors[f"{weights}.beta"])
        )
        self._emit(Op.LOAD, f"parameters of {name}", dest=Dest.NORM, offset=block.offset, bytes=block.bytes)
        self._emit(
            Op.NORM, name, statistics=statistics, a_base=self.x.at(rows[0], self.p), a_stride=self.x.stride,
            row_begin=rows[0], row_end=rows[1], tiles=self.layout.dim_words, d_base=self.y.base, d_stride=self.y.stride,
            norm_shift=int(tensors[f"{weights}.shift"][0]), dim=self.desc.model.dim,
            eps_high=eps >> 32, eps_low=eps & 0xFFFFFFFF,
        )  # fmt: skip
        self._probe(name, self.y, rows)

    def _matmul(
        self, weights: str, name: str, source: _Rows, dest: Dest, rows: _Rows | None, span: tuple[int, int] | None, *,
        outputs: _Channels | None = None, inputs: _Channels | None = None, fields: Mapping[str, int] | None = None,
    ) -> None:
        """`source` times `weights` to `rows` of `dest`; without `span`, `fields` say which rows."""
        shape = self.desc.tensors[f"{weights}.weight"].shape
        counts = [channels[1] if channels else size for channels, size in zip((outputs, inputs), shape, strict=True)]
        block = self.region.add(weights, lambda: self._pack(weights, outputs, inputs))
        begin, end = span or (0, 0)
        self._emit(
            Op.MATMUL, name, dest=dest, source=source.source, offset=block.offset, bytes=block.bytes,
            a_base=source.at(begin, self.p), a_stride=source.stride, row_begin=begin, row_end=end,
            k_steps=div_up(counts[1], self.p.k), tiles=self.layout.words(counts[0]),
            d_base=rows.base if rows else 0, d_stride=rows.stride if rows else 0, **(fields or {}),
        )  # fmt: skip

    def _pack(self, weights: str, outputs: _Channels | None, inputs: _Channels | None) -> bytes:
        weight, *parameters = (self.desc.tensors[f"{weights}.{part}"] for part in ("weight", "bias", "mult", "shift"))
        if inputs:
            weight = spread(weight, *inputs, axis=1)
        if outputs:
            weight, *parameters = (spread(array, *outputs) for array in (weight, *parameters))
        return pack_linear(self.p, weight, *parameters)
