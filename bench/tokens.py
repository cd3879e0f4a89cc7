"""`python -m bench.tokens`: one attention block over token counts, beside an array that pads them to multiples of 64.

pulp-platform's ITA (1024 MACs per cycle as well) needs 41,585 cycles for the block at 129 tokens, D = 192, 3 heads,
when its SystemVerilog is simulated with its own testbench, from the first head's start to the last one's last output.
It pads tokens to 64; simulated at 64, 128, 192 and 256 it needs the padded MACs / 1024 and 113 cycles: 64 to fill its
weight buffer, 11 of pipeline, 38 in which its testbench pauses (fed without a pause and with weights there from the
start: 13). Ours are simulated, bit-exact, on the machine of the first rows of bench/results.json. Writes
bench/tokens.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.run import BLOCK, COUNTERS, TOKENS, Row, block_cycles
from golden.model import Golden
from hwgen.common.templates import templates
from hwgen.compiler import auto_params, compile_model
from hwgen.machine.regmap import c_header
from hwgen.network.description import Description, parse_model
from hwgen.network.macs import attention_macs
from hwgen.quantize.synthetic import RandomWeights, synthetic_images
from hwgen.rtl.emit import accelerator_verilog
from sim.harness import Job, Timing, build_harness

COUNTS = (57, 63, 64, 65, 100, 127, 128, 129, 160, 191, 192, 193, 197, 224, 250)
ITA_PADS, ITA_MACS, ITA_OVERHEAD = 64, 1024, 113
RING_WORDS, LATENCY = 8192, 100


def model(tokens: int) -> Description:
    """Dense layers of Edge-MoE's M3ViT, the last of them the one measured, for so many tokens."""
    layers = [{"mlp": {"kind": "dense", "hidden": 768}}] * (BLOCK + 1)
    structure = parse_model({
        "format": "hwgen-model", "version": 2, "name": f"tokens{tokens}", "weights": "weights.safetensors",
        "image": {"height": 16, "width": 16 * (tokens - 1), "channels": 3}, "patch": {"height": 16, "width": 16},
        "dim": 192, "heads": 3, "head_dim": 64, "class_token": True, "residual_fraction_bits": 9, "layers": layers,
        "tasks": [{"name": "tokens", "head": "none", "norm": False}],
    }, "bench.tokens")  # fmt: skip
    return Description(structure, RandomWeights(np.random.default_rng(tokens), structure).tensors)


def ita_cycles(tokens: int) -> int:
    return attention_macs(model(-(-tokens // ITA_PADS) * ITA_PADS)) // ITA_MACS + ITA_OVERHEAD


def rows() -> Iterator[Row]:
    models = {tokens: model(tokens) for tokens in COUNTS}
    p = replace(auto_params([models[max(COUNTS)]], 8, 16, 8), weight_depth=RING_WORDS)
    harness = build_harness(accelerator_verilog(p), header=c_header(), sources=templates() / "harness")
    for tokens, desc in models.items():
        compiled = compile_model(desc, p)
        images = synthetic_images(desc, 1, 1)
        job = Job(entry=compiled.entries["tokens"], input=compiled.pack_input(images),
                  output_bytes=compiled.region_bytes["tokens"])  # fmt: skip
        (result,) = harness.run(
            [job], program=compiled.program, weights=compiled.weights, counters=COUNTERS, timing=Timing(LATENCY),
            timeline=True,
        )  # fmt: skip
        expected = Golden(desc).run(images, "tokens").output
        exact = not result.error and np.array_equal(compiled.unpack_output("tokens", result.output), expected)
        cycles, macs = block_cycles(compiled.instructions["tokens"], result), attention_macs(desc)
        yield {
            "tokens": tokens, "array": [p.t, p.c, p.k], "memory_latency": LATENCY, "cycles": cycles, "macs": macs,
            "utilization": round(macs / (p.macs * cycles), 4), "bit_exact": bool(exact),
            "ita_cycles": ita_cycles(tokens),
        }  # fmt: skip


def main() -> int:
    console = Console()
    table = Table("tokens", "cycles", "utilization", "ITA", "exact", title="One attention block, D = 192, 3 heads")
    found = []
    for row in rows():
        found.append(row)
        figures = f"{row['cycles']:,}", f"{row['utilization']:.1%}", f"{row['ita_cycles']:,}"
        table.add_row(str(row["tokens"]), *figures, "yes" if row["bit_exact"] else "NO")
    TOKENS.write_text(json.dumps(found, indent=1) + "\n")
    console.print(table)
    return 0 if all(row["bit_exact"] for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
