"""From the float checkpoint to simulated hardware: quantize, build, run both tasks in turns, compare to the bit.

python examples/mnist_m3vit/demo.py [images] (64 by default); `make demo` sets everything up first.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from evaluate import HERE, labelled_images

from hwgen import quantize
from hwgen.build import build
from hwgen.cli.console import progress_bars, progress_steps
from hwgen.cli.tables import show_report
from hwgen.common.errors import HwgenError
from sim.simulate import simulate

OUTPUT = HERE.parents[1] / "build" / "demo"


def main(count: int) -> int:
    """Returns the exit code: 0 when every bit agrees."""
    start = time.monotonic()
    with progress_steps() as say, tempfile.TemporaryDirectory() as directory:
        quantize.run(HERE / "quantize.yaml", directory, say)
        files = sorted(path.name for path in (HERE / "model").iterdir())
        same = all((HERE / "model" / name).read_bytes() == (Path(directory) / name).read_bytes() for name in files)
    print(f"quantized float.npz: {'the same bytes as' if same else 'NOT the same as'} {HERE / 'model'}")

    with progress_steps() as say:
        made = build(HERE / "config.yaml", OUTPUT, force=True, progress=say)
    p = made.params
    print(f"built {p.t} x {p.c} x {p.k} array, {p.macs} MACs per cycle: {OUTPUT}")

    images, labels = labelled_images(count)
    with progress_bars() as progress:
        report = simulate(made, images, labels=labels, progress=progress)
    result = report.as_dict()
    show_report(result)
    (OUTPUT / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    for what, path in (
        ("Verilog", OUTPUT / "rtl" / "hwgen_accelerator.v"),
        ("program and weights", OUTPUT / "program.bin"),
        ("memory map", OUTPUT / "memory_map.json"),
        ("measurements", OUTPUT / "result.json"),
    ):
        print(f"{what:<20} {path}")
    verdict = "every bit agrees with the golden model" if report.identical else "DIFFERENCES found"
    print(f"{verdict}; {time.monotonic() - start:.0f} s")
    return 0 if report.identical and same else 1


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 64))
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
