"""Additions to the residual stream, with a norm in front of them or without. Tested by tests/sim/test_isa_model.py."""

from __future__ import annotations

from hwgen.compiler.areas import Area
from hwgen.compiler.builder import Builder
from hwgen.compiler.ring import Matrix
from hwgen.compiler.schedule import Emit
from hwgen.machine.isa import Dest

__all__ = ["update"]


def update(b: Builder, layer: int, number: int, matrix: Matrix, source: Area) -> None:
    """What attention (number 1) or MLP (2) add, `source` times the matrix; the addition is left for the next norm.

    With a norm behind (`post_norm`), the product lies in X as it is, the norm brings it to Y, and from there a product
    with a diagonal matrix adds it.
    """
    name, area = f"layers.{layer}", b.layout.update
    if not b.model.post_norm:
        b.adds(matrix, _addition(b, layer, number, matrix, source))
        return
    tensor = f"{name}.{('proj', 'fc2')[number - 1]}"

    def multiply(begin: int, end: int, last: bool) -> None:
        b.matmul(matrix, tensor, source, Dest.X, area, (begin, end), last=last)
        b.probe(tensor, area, (begin, end), b.dim)

    b.adds(matrix, multiply)
    b.norm(source=area)
    stream = b.matrix(f"{name}.stream{number}")
    b.adds(stream, _addition(b, layer, number, stream, b.layout.norm))


def _addition(b: Builder, layer: int, number: int, matrix: Matrix, source: Area) -> Emit:
    tensor = f"layers.{layer}.{('attn', 'mlp')[number - 1]}"

    def add(begin: int, end: int, last: bool) -> None:
        b.matmul(matrix, tensor, source, Dest.X_ADD, b.x, (begin, end), last=last,
                 fields=b.adding(2 * layer + number - 1))
        b.probe(tensor, b.x, (begin, end), b.dim)

    return add
