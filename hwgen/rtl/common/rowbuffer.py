"""Banked on-chip buffer of rows: tokens in `banks` banks, so that one row tile is read side by side."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hwgen.rtl.common.ram import Ram, select_bits

__all__ = ["RowBuffer"]


class RowBuffer(wiring.Component):
    """Row r lies in bank `r % banks`; a bank word holds W = max(lanes, k) elements of `elem` bits.

    Write: `lanes` elements of one row (`w_sub` picks the part of the word when W > lanes), one enable bit each.
    Operand read: the same word of all banks, `k` elements each (`r_sub` picks the part when W > k);
    `r_data` is [bank][k], LATENCY cycles after `r_en`. Row read (`m_*`): `lanes` elements of one bank, same latency.
    Both reads share one port: when both are enabled the operand read wins and `m_data` is undefined.
    """

    LATENCY = 2

    def __init__(self, *, banks: int, lanes: int, k: int, depth: int, elem: int = 8) -> None:
        self.banks, self.lanes, self.k, self.elem = banks, lanes, k, elem
        self.word = max(lanes, k)
        self.depth = max(depth, 2)
        abits = ceil_log2(self.depth)
        super().__init__(
            {
                "w_en": In(1),
                "w_bank": In(select_bits(banks)),
                "w_addr": In(abits),
                "w_sub": In(select_bits(self.word // lanes)),
                "w_mask": In(lanes),
                "w_data": In(lanes * elem),
                "r_en": In(1),
                "r_addr": In(abits),
                "r_sub": In(select_bits(self.word // k)),
                "r_data": Out(banks * k * elem),
                "m_en": In(1),
                "m_bank": In(select_bits(banks)),
                "m_addr": In(abits),
                "m_sub": In(select_bits(self.word // lanes)),
                "m_data": Out(lanes * elem),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.word * self.elem
        parts_w, parts_r = self.word // self.lanes, self.word // self.k
        r_sub = Signal(self.r_sub.shape())
        m_sub = Signal(self.m_sub.shape())
        m_bank = Signal(self.m_bank.shape())
        m.d.sync += [r_sub.eq(self.r_sub), m_sub.eq(self.m_sub), m_bank.eq(self.m_bank)]
        address = Signal(self.r_addr.shape())
        m.d.comb += address.eq(self.r_addr)
        with m.If(~self.r_en):
            m.d.comb += address.eq(self.m_addr)
        words = []
        operand = []
        for bank in range(self.banks):
            ram = Ram(width=width, depth=self.depth, grain=self.elem)
            m.submodules[f"bank{bank}"] = ram
            hit = self.w_en & (self.w_bank == bank) if self.banks > 1 else self.w_en
            enables = [self.w_mask & (hit & (self.w_sub == part)).replicate(self.lanes) for part in range(parts_w)]
            m.d.comb += [
                ram.w_en.eq(Cat(*enables) if parts_w > 1 else self.w_mask & hit.replicate(self.lanes)),
                ram.w_addr.eq(self.w_addr),
                ram.w_data.eq(self.w_data.replicate(parts_w)),
                ram.r_en.eq(self.r_en | self.m_en),
                ram.r_addr.eq(address),
            ]
            words.append(ram.r_data)
            part_bits = self.k * self.elem
            operand.append(ram.r_data.word_select(r_sub, part_bits) if parts_r > 1 else ram.r_data)
        row = Signal(width)
        m.d.comb += row.eq(Cat(*words).word_select(m_bank, width) if self.banks > 1 else words[0])
        m.d.sync += [
            self.r_data.eq(Cat(*operand)),
            self.m_data.eq(row.word_select(m_sub, self.lanes * self.elem) if parts_w > 1 else row),
        ]
        return m
