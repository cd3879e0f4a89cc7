"""Fills the README's results from bench/{results,tokens,synth}.json: python -m bench.readme."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.run import RESULTS, SYNTHESIS, TOKENS
from bench.synth import SPEED_GRADE

__all__ = ["filled", "results_text"]

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- begin: python -m bench.readme -->", "<!-- end -->"
#: Clock the cycles are converted with, that of the boards we compare with.
MHZ = 300
#: Published latencies of the M3ViT in ms: work, board, how.
PUBLISHED = (
    ("Edge-MoE (ICCAD 2023)", "ZCU102, 300 MHz", 34.6),
    ("UbiMoE", "ZCU102", 25.8),
    ("CoQMoE", "Alveo U280", 6.45),
)

Row = dict[str, Any]


def milliseconds(cycles: float) -> float:
    return cycles / (MHZ * 1000)


def results_text(rows: Sequence[Row], tokens: Sequence[Row], synthesis: Sequence[Row]) -> str:
    """The part of the README between the marks."""
    base = next(row for row in rows if row["part"] == "image")
    lines = [
        "| model, task | array | weights B/cycle | ring KB | latency | batch | cycles/image | floor | utilization |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        what = row["model"] if row["part"] == "image" else f"{row['model']}, {row['part']}"
        floor = max(row["compute_floor_cycles"], row.get("memory_floor_cycles") or 0) // row["batch"]
        lines.append(
            f"| {what}, {row['task']} | {'×'.join(map(str, row['array']))} | {row['weight_bytes_per_cycle']} "
            f"| {row['weight_ring_bytes'] // 1024} | {row['memory_latency']} | {row['batch']} "
            f"| {row['cycles_per_image']:,} | {floor:,} | {row['utilization']:.1%} |"
        )
    lines += [
        "",
        f"Edge-MoE's M3ViT beside published accelerators. Ours are simulated cycles at an assumed {MHZ} MHz, with "
        "seeded weights and a memory of the stated latency; theirs are measured on boards, with trained checkpoints.",
        "",
        "| | | batch | ms per image | cycles per image |",
        "|---|---|---|---|---|",
    ]
    for work, board, latency in PUBLISHED:
        cycles = f"{latency * MHZ * 1000:,.0f}" if f"{MHZ} MHz" in board else ""
        lines.append(f"| {work} | {board}, measured | 1 | {latency} | {cycles} |")
    for row in rows:
        same = ("model", "array", "weight_bytes_per_cycle", "part", "weight_ring_bytes")
        if all(row[name] == base[name] for name in same) and row["memory_latency"] == 100:
            lines.append(
                f"| hwgen, {row['task']} | {'×'.join(map(str, row['array']))}, simulated | {row['batch']} "
                f"| {milliseconds(row['cycles_per_image']):.2f} | {row['cycles_per_image']:,} |"
            )
    if tokens:
        lines += [
            "",
            "Cycles of one attention block (D = 192, 3 heads) over token counts (`python -m bench.tokens`). ITA, 1024 "
            "MACs per cycle as well, pads tokens to 64: simulated with its own testbench it needs the padded MACs / "
            "1024 and 113 cycles at 64, 128, 192 and 256 tokens; fed without pauses and with weights there from the "
            "start it would be 13.",
            "",
            "| tokens | " + " | ".join(str(row["tokens"]) for row in tokens) + " |",
            "|---|" + "---|" * len(tokens),
            "| hwgen | " + " | ".join(f"{row['cycles']:,}" for row in tokens) + " |",
            "| ITA | " + " | ".join(f"{row['ita_cycles']:,}" for row in tokens) + " |",
        ]
    resources = [row for row in synthesis if "bram36" in row]
    if resources:
        columns = "| what | array | DSP48E2 | LUT | FF | BRAM36 | longest path, cells |"
        lines += ["", "Yosys for UltraScale+ (`python -m bench.synth`):", "", columns, "|---|---|---|---|---|---|---|"]
        lines += [
            f"| {row['what']} | {'×'.join(map(str, row['array']))} | {row['dsp']:,} | {row['lut']:,} | {row['ff']:,} "
            f"| {row['bram36']:,} | {row['longest_path']} |"
            for row in resources
        ]
    lines += [
        f"\n{row['what']}, {'×'.join(map(str, row['array']))}, placed and routed (`python -m bench.synth --ecp5`): "
        f"{row['mhz']} MHz at speed grade {SPEED_GRADE} (one seed of the placer; edits that should not matter moved it "
        f"between 81 and 100), {row['lut']:,} LUT, {row['ff']:,} FF, "
        f"{row['dsp']} multipliers, {row['bram18']} block RAMs."
        for row in synthesis
        if "mhz" in row
    ]
    return "\n".join(lines)


def filled(text: str) -> str:
    """The README with the part between the marks replaced."""
    before, rest = text.split(BEGIN)
    after = rest.split(END, 1)[1]
    results, tokens, synthesis = (
        json.loads(path.read_text()) if path.exists() else [] for path in (RESULTS, TOKENS, SYNTHESIS)
    )
    return f"{before}{BEGIN}\n{results_text(results, tokens, synthesis)}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
