"""How long the engine's results take: fixed, so that its hazards are counted and not signalled back.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwgen.machine.params import HwParams
from hwgen.rtl.engine.array import ComputeArray
from hwgen.rtl.engine.drain import Drain
from hwgen.rtl.engine.postprocess import PostProcess
from hwgen.rtl.engine.softmax import Softmax
from hwgen.rtl.engine.writeback import WriteBack

__all__ = ["EngineTiming", "engine_timing"]


@dataclass(frozen=True)
class EngineTiming:
    """Cycles."""

    lead: int  #: from a step's decision to its operands at the array
    hold: int  #: the drain keeps rows so long: until the row factors of a first context tile are there
    score_settle: int  #: from the last step of a query tile's scores to the first that reads them
    settle: int  #: from a step that ends a tile to its rows in the buffer


def engine_timing(p: HwParams) -> EngineTiming:
    lead = 1 + Softmax.LATENCY  # the longest way from the issuer; it sends a read a cycle after its decision
    hold = max(1, 1 + Softmax.FACTOR_LATENCY - lead - ComputeArray.LATENCY)
    drained = ComputeArray.LATENCY + p.t + hold + Drain.LATENCY
    settle = lead + drained + PostProcess.LATENCY + WriteBack.LATENCY + 2
    return EngineTiming(lead, hold, settle + Softmax.WRITE_LATENCY - 1, settle)
