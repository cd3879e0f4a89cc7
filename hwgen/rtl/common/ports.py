"""Signatures of ports that rooms share; `Out` is the side that asks or writes. And how flat ports become one.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

from amaranth import Const, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.machine.params import HwParams
from hwgen.rtl.common.ram import select_bits

__all__ = [
    "OPERAND_BITS", "WEIGHT_BITS", "bundled", "logit_write", "queue_read", "row_read", "row_write", "shared",
    "strobed_beats", "table_write", "word_read", "word_write",
]  # fmt: skip

#: Of a row operand of the array, from -255 to 255.
OPERAND_BITS = 9
#: Of a gate's weight, from 0 to 65536.
WEIGHT_BITS = 17


def word_read(*, depth: int, width: int) -> wiring.Signature:
    """A memory's read port: `data` as late as the memory says."""
    return wiring.Signature({"en": Out(1), "addr": Out(ceil_log2(max(depth, 2))), "data": In(width)})


def word_write(*, depth: int, width: int) -> wiring.Signature:
    return wiring.Signature({"en": Out(1), "addr": Out(ceil_log2(max(depth, 2))), "data": Out(width)})


def row_read(*, banks: int, parts: int, depth: int, width: int) -> wiring.Signature:
    """`width` bits of one bank's word of `parts` such parts."""
    place = {"bank": Out(select_bits(banks)), "sub": Out(select_bits(parts))}
    return wiring.Signature(dict(word_read(depth=depth, width=width).members) | place)


def row_write(*, banks: int, parts: int, depth: int, width: int, mask: int = 0) -> wiring.Signature:
    """As `row_read`, with `mask` enable bits if there are any."""
    place = {"bank": Out(select_bits(banks)), "sub": Out(select_bits(parts))}
    place |= {"mask": Out(mask)} if mask else {}
    return wiring.Signature(dict(word_write(depth=depth, width=width).members) | place)


def logit_write(p: HwParams) -> wiring.Signature:
    """A C-word of a row's logits, 24 bits each."""
    word = select_bits(-(-p.max_experts // p.c))
    return wiring.Signature({"en": Out(1), "row": Out(p.row_bits), "word": Out(word), "data": Out(24 * p.c)})


def table_write(p: HwParams) -> wiring.Signature:
    """A word of the LayerNorm's parameters."""
    return word_write(depth=1 << 16, width=16 * p.c)


def queue_read(p: HwParams) -> wiring.Signature:
    """Entry `index` of an expert's queue: a token and its gate weight."""
    asked = {"en": Out(1), "expert": Out(ceil_log2(p.max_experts)), "index": Out(p.row_bits)}
    return wiring.Signature(asked | {"token": In(p.row_bits), "weight": In(WEIGHT_BITS)})


def strobed_beats(bits: int) -> stream.Signature:
    """Beats to be written, a strobe per byte."""
    return stream.Signature(data.StructLayout({"data": bits, "strb": bits // 8}))


def bundled(owner: object, signature: wiring.Signature, spelled: Callable[[str], str] = str) -> SimpleNamespace:
    """Flat ports of `owner` as one interface that `wiring.connect` takes: its members' names are `spelled` so there."""
    ports = {name: getattr(owner, spelled(name)) for name in signature.members}
    return SimpleNamespace(signature=signature, **ports)


def shared(m: Module, port: wiring.PureInterface, *users: wiring.PureInterface) -> None:
    """`port` for all `users`: what the last one that is enabled asks for happens, and all see the answer.

    Who has no mask writes everything.
    """
    for user in users:
        for name, member in port.signature.members.items():
            inner = getattr(port, name)
            if member.flow == Out:
                m.d.comb += getattr(user, name).eq(inner)
                continue
            everything = name == "mask" and name not in user.signature.members
            wanted = Const(-1, len(inner)) if everything else getattr(user, name)
            assert len(wanted) == len(inner), f"{name} of a port has {len(inner)} bits, of its user {len(wanted)}"
            with nullcontext() if user is users[0] else m.If(user.en):
                m.d.comb += inner.eq(wanted)
