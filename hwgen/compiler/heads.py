"""Task heads: final norm or rescale, mean, linear, output; only the rows that are needed are computed.

Tested by tests/sim/test_isa_model.py.
"""

from __future__ import annotations

from hwgen.compiler import units
from hwgen.compiler.areas import Area
from hwgen.compiler.builder import Builder
from hwgen.compiler.pooling import pool
from hwgen.compiler.schedule import pipeline
from hwgen.machine.isa import Dest

__all__ = ["head"]


def head(b: Builder) -> None:
    """The chosen rows of all images, densely, to the output region."""
    task, layout = b.task, b.layout
    tokens = range(b.model.tokens)
    if task.head == "class_token":
        tokens = tokens[:1]
    elif task.head == "distillation_token":
        tokens = tokens[1:2]
    elif task.head not in ("none", "map"):
        tokens = tokens[b.model.prefix :]
    norm, output = f"{task.name}.norm", f"{task.name}.output"
    rows, area, words, channels = layout.batch * len(tokens), b.x, layout.dim_words, b.dim
    if task.mlp is not None:
        area, rows = pool(b, task.mlp), layout.batch
    if task.outputs is not None:
        channels = range(task.outputs)
        words = layout.words(task.outputs)
        matrix, area = b.matrix(f"tasks.{task.name}.head"), layout.x(words)

        def linear(begin: int, end: int, last: bool) -> None:
            b.matmul(matrix, output, layout.norm, Dest.X, area, (begin, end), last=last)

        if task.head == "map":
            b.norm(matrix, linear, tensor=f"{task.name}.map_rescale", tokens=b.patch, whole=words > layout.dim_words,
                   dense=True)
        elif task.head == "mean_norm":
            rows = layout.batch
            _pool(b, tokens)
            b.norm(matrix, linear, tensor=norm, rows=rows, whole=True)
        elif task.head == "mean":
            rows = layout.batch
            _means(b, norm, tokens)
            for image in range(rows):
                b.matmul(matrix, output, layout.mean(image), Dest.X, Area("X", image * words, words), (0, 1),
                         last=image == rows - 1)
        else:
            # Outputs take the place of the residual stream: from the front, while later rows of it are still needed.
            b.norm(matrix, linear, tensor=norm, tokens=tokens, whole=words > layout.dim_words)
    elif task.norm and task.mlp is None:
        b.norm(tensor=norm, tokens=tokens)
        area = layout.norm
    elif task.mlp is None:
        pipeline(*b.before)
    b.emit(units.store(layout, output, area, rows, words))
    b.probe(output, area, (0, rows), channels)


def _pool(b: Builder, tokens: range) -> None:
    """The means, as rows of X, one per image: they take the place of the residual stream."""
    layout, name = b.layout, f"{b.task.name}.pool"
    _means(b, f"{b.task.name}.rescale", tokens)
    matrix, words = b.matrix(f"tasks.{name}"), layout.dim_words
    for image in range(layout.batch):
        area = Area("X", image * words, words)
        b.matmul(matrix, name, layout.mean(image), Dest.X, area, (0, 1), last=image == layout.batch - 1)
        b.probe(name, area, (0, 1), b.dim, tensor_row=image)


def _means(b: Builder, norm: str, tokens: range) -> None:
    """Of `tokens` of each image, after a norm or rescale."""
    b.norm(tensor=norm, tokens=tokens)
    for image in range(b.layout.batch):
        _mean(b, image, len(tokens))


def _mean(b: Builder, image: int, count: int) -> None:
    """Of the `count` rows of an image."""
    name, area = b.task.name, b.layout.mean(image)
    b.emit(units.mean(
        b.layout, f"{name}.mean", (image * count, (image + 1) * count), image,
        out_mult=b.value(f"tasks.{name}.mean.mult"), out_shift=b.value(f"tasks.{name}.mean.shift"),
    ))  # fmt: skip
    b.probe(f"{name}.mean", area, (0, 1), b.dim, tensor_row=image)
