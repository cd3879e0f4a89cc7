"""Banked on-chip buffer of rows: tokens in `banks` banks, so that one row tile is read side by side."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.rtl.common.ports import row_read, row_write, word_read
from hwgen.rtl.common.ram import Ram, select_bits

__all__ = ["RowBuffer", "operand_read"]


def operand_read(*, banks: int, parts: int, depth: int, width: int) -> wiring.Signature:
    """The same word of all banks, a part of `width` bits each of the `parts` in it."""
    word = word_read(depth=depth, width=banks * width)
    return wiring.Signature(dict(word.members) | {"sub": Out(select_bits(parts))})


class RowBuffer(wiring.Component):
    """Row r lies in bank `r % banks`; a bank word holds W = max(lanes, k) elements of `elem` bits.

    `write`: `lanes` elements of one row (`sub` picks the part of the word when W > lanes), one enable bit each.
    `operands`: the same word of all banks, `k` elements each (`sub` picks the part when W > k); `data` is [bank][k],
    LATENCY cycles after `en`. `row`: `lanes` elements of one bank, same latency.
    Both reads share one port: when both are enabled `operands` wins and `row.data` is undefined.
    """

    LATENCY = 2

    def __init__(self, *, banks: int, lanes: int, k: int, depth: int, elem: int = 8) -> None:
        self.banks, self.lanes, self.k, self.elem = banks, lanes, k, elem
        self.word = max(lanes, k)
        self.depth = max(depth, 2)
        row = {"banks": banks, "parts": self.word // lanes, "depth": depth, "width": lanes * elem}
        operands = operand_read(banks=banks, parts=self.word // k, depth=depth, width=k * elem)
        super().__init__(
            {"write": In(row_write(**row, mask=lanes)), "operands": In(operands), "row": In(row_read(**row))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.word * self.elem
        parts_w, parts_r = self.word // self.lanes, self.word // self.k
        operand_sub = Signal.like(self.operands.sub)
        row_sub, row_bank = Signal.like(self.row.sub), Signal.like(self.row.bank)
        m.d.sync += [operand_sub.eq(self.operands.sub), row_sub.eq(self.row.sub), row_bank.eq(self.row.bank)]
        address = Signal.like(self.operands.addr)
        m.d.comb += address.eq(self.operands.addr)
        with m.If(~self.operands.en):
            m.d.comb += address.eq(self.row.addr)
        write = self.write
        words, operands = [], []
        for bank in range(self.banks):
            ram = Ram(width=width, depth=self.depth, grain=self.elem)
            m.submodules[f"bank{bank}"] = ram
            hit = write.en & (write.bank == bank) if self.banks > 1 else write.en
            enables = [write.mask & (hit & (write.sub == part)).replicate(self.lanes) for part in range(parts_w)]
            m.d.comb += [
                ram.w_en.eq(Cat(*enables) if parts_w > 1 else write.mask & hit.replicate(self.lanes)),
                ram.w_addr.eq(write.addr),
                ram.w_data.eq(write.data.replicate(parts_w)),
                ram.r_en.eq(self.operands.en | self.row.en),
                ram.r_addr.eq(address),
            ]
            words.append(ram.r_data)
            part_bits = self.k * self.elem
            operands.append(ram.r_data.word_select(operand_sub, part_bits) if parts_r > 1 else ram.r_data)
        row = Signal(width)
        m.d.comb += row.eq(Cat(*words).word_select(row_bank, width) if self.banks > 1 else words[0])
        m.d.sync += [
            self.operands.data.eq(Cat(*operands)),
            self.row.data.eq(row.word_select(row_sub, self.lanes * self.elem) if parts_w > 1 else row),
        ]
        return m
