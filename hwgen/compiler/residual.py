"""Additions to the residual stream, with a norm in front of them or without. Tested by tests/sim/test_isa_model.py."""

from __future__ import annotations

from hwgen.compiler.areas import Area
from hwgen.compiler.builder import Builder
from hwgen.compiler.ring import Matrix
from hwgen.compiler.schedule import Emit
from hwgen.machine.isa import Dest

__all__ = ["behind", "product", "update"]


def update(b: Builder, layer: int, number: int, matrix: Matrix, source: Area) -> None:
    """What attention (number 1) or MLP (2) add, `source` times the matrix; the addition is left for the next norm."""
    b.adds(matrix, product(b, layer, number, matrix, source))
    behind(b, layer, number)


def product(b: Builder, layer: int, number: int, matrix: Matrix, source: Area) -> Emit:
    """Emits `source` times the matrix: added to the residual stream or, with a norm behind (`post_norm`), as it is."""
    if not b.model.post_norm:
        return _addition(b, layer, number, matrix, source)
    tensor, area = f"layers.{layer}.{('proj', 'fc2')[number - 1]}", b.layout.update

    def multiply(begin: int, end: int, last: bool) -> None:
        b.matmul(matrix, tensor, source, Dest.X, area, (begin, end), last=last)
        b.probe(tensor, area, (begin, end), b.dim)

    return multiply


def behind(b: Builder, layer: int, number: int) -> None:
    """With a norm behind, it brings the product to Y, and from there one with a diagonal matrix adds it; left for the
    next norm."""
    if b.model.post_norm:
        b.norm(source=b.layout.update)
        stream = b.matrix(f"layers.{layer}.stream{number}")
        b.adds(stream, _addition(b, layer, number, stream, b.layout.norm))


def _addition(b: Builder, layer: int, number: int, matrix: Matrix, source: Area) -> Emit:
    tensor = f"layers.{layer}.{('attn', 'mlp')[number - 1]}"

    def add(begin: int, end: int, last: bool) -> None:
        b.matmul(matrix, tensor, source, Dest.X_ADD, b.x, (begin, end), last=last,
                 fields=b.adding(2 * layer + number - 1))
        b.probe(tensor, b.x, (begin, end), b.dim)

    return add
