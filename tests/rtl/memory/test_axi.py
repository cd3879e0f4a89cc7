import pytest

from hwgen.rtl.memory.axi import AxiReader, AxiWriter
from hwgen.rtl.memory.bursts import BurstSplitter
from sim.unit import run_unit
from tests.rtl.bundle import Bundle

#: data bits, outstanding, max_burst
SHAPES = ((64, 2, 16), (512, 8, 256))


def test_axi():
    parts = {}
    for bits, outstanding, max_burst in SHAPES:
        shape = {"data_bits": bits, "outstanding": outstanding, "max_burst": max_burst}
        parts[f"rd{bits}"] = AxiReader(**shape)
        parts[f"wr{bits}"] = AxiWriter(**shape)
    run_unit(Bundle(**parts), bench="tests.rtl.memory.bench_axi", parameters={"shapes": SHAPES})


def test_max_burst_text():
    with pytest.raises(ValueError, match="max_burst must be a power of two from 1 to 256, not 48"):
        BurstSplitter(data_bits=64, max_burst=48, tag_bits=0)
