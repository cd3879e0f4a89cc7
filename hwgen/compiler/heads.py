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

__all__ = ["chosen", "head", "mean"]


def head(b: Builder) -> None:
    """The chosen rows of all images, densely, to the output region."""
    task, layout, tokens = b.task, b.layout, chosen(b)
    norm, output = f"{task.name}.norm", f"{task.name}.output"
    rows, area, words, channels = layout.batch * len(tokens), b.x, layout.dim_words, b.dim
    if task.mlp is not None:
        area, rows = pool(b, task.mlp), layout.batch
    if task.outputs is not None:
        channels = range(task.outputs)
        words = layout.words(task.outputs)
        matrix, area = b.matrix(f"tasks.{task.name}.head"), layout.x(words)

        def linear(begin: int, end: int, last: bool) -> None:
            b.matmul(matrix, output, b.y, Dest.X, area, (begin, end), last=last)

        if task.head == "map":
            b.norm(matrix, linear, tensor=f"{task.name}.map_rescale", tokens=b.patch, whole=words > layout.dim_words,
                   dense=True)
        elif task.head in ("mean", "mean_norm"):
            rows = layout.batch
            b.norm(tensor=norm if task.head == "mean" else f"{task.name}.rescale", tokens=tokens)
            mean(b, tokens)
        else:
            # Outputs take the place of the residual stream: from the front, while later rows of it are still needed.
            b.norm(matrix, linear, tensor=norm, tokens=tokens, whole=words > layout.dim_words)
    elif task.norm and task.mlp is None:
        b.norm(tensor=norm, tokens=tokens)
        area = layout.norm
    elif task.mlp is None:
        pipeline(*b.before)
    b.emit(units.store(layout, output, area, (0, rows), words))
    b.probe(output, area, (0, rows), channels)


def chosen(b: Builder) -> range:
    """Tokens of an image that the head looks at."""
    tokens = range(b.model.tokens)
    if b.task.head == "class_token":
        return tokens[:1]
    if b.task.head == "distillation_token":
        return tokens[1:2]
    return tokens if b.task.head in ("none", "map") else tokens[b.model.prefix :]


def mean(b: Builder, tokens: range) -> None:
    """Outputs of the mean of these tokens of each image, which were brought to the norm area: rows of X."""
    task, layout = b.task, b.layout
    assert task.outputs is not None
    output, matrix, words = f"{task.name}.output", b.matrix(f"tasks.{task.name}.head"), layout.words(task.outputs)
    for image in range(layout.batch):
        _mean(b, image, len(tokens))
    if task.head == "mean_norm":
        _pool(b)
        area = layout.x(words)

        def linear(begin: int, end: int, last: bool) -> None:
            b.matmul(matrix, output, b.y, Dest.X, area, (begin, end), last=last)

        b.norm(matrix, linear, tensor=f"{task.name}.norm", rows=layout.batch, whole=True)
        return
    for image in range(layout.batch):
        b.matmul(matrix, output, layout.mean(image), Dest.X, Area("X", image * words, words), (0, 1),
                 last=image == layout.batch - 1)


def _pool(b: Builder) -> None:
    """The means, as rows of X, one per image: they take the place of the residual stream."""
    layout, name = b.layout, f"{b.task.name}.pool"
    matrix, words = b.matrix(f"tasks.{name}"), layout.dim_words
    for image in range(layout.batch):
        area = Area("X", image * words, words)
        b.matmul(matrix, name, layout.mean(image), Dest.X, area, (0, 1), last=image == layout.batch - 1)
        b.probe(name, area, (0, 1), b.dim, tensor_row=image)


def _mean(b: Builder, image: int, count: int) -> None:
    """Of the `count` rows of an image."""
    name, area = b.task.name, b.layout.mean(image)
    b.emit(units.mean(
        b.layout, f"{name}.mean", (image * count, (image + 1) * count), image,
        out_mult=b.value(f"tasks.{name}.mean.mult"), out_shift=b.value(f"tasks.{name}.mean.shift"),
    ))  # fmt: skip
    b.probe(f"{name}.mean", area, (0, 1), b.dim, tensor_row=image)
