"""What the commands show: tables and lines of results, nothing computed here but shares and means.

Tested by tests/cli/test_run.py, tests/cli/test_info.py and tests/cli/test_quantize.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hwgen.cli.console import out

if TYPE_CHECKING:
    from hwgen.estimate.cycles import CycleEstimate
    from hwgen.evaluate.predict import Prediction
    from hwgen.evaluate.reference import Agreement
    from hwgen.importers import Imported
    from hwgen.network.description import DenseMlp, MoeMlp


#: An integer model so far from a reference, in dB, may be that of another network.
FAR = 10.0


def show_predictions(found: Sequence[Prediction], limit: int = 20) -> None:
    """What `hwgen run` prints: a line per task for each of the first `limit` images, then the metrics."""
    total = len(found[0].values)
    for image in range(min(total, limit)):
        for one in found:
            out.print(f"image {image}  {one.task.name}: {one.line(image)}", soft_wrap=True, highlight=False)
    if total > limit:
        out.print(f"... and {total - limit:,} more images; --output writes them all", highlight=False)
    for one in found:
        for name, value in one.metrics.items():
            text = f"{value:.4g}" if name == "mae" else f"{value:.2%}"
            out.print(f"{one.task.name}: {name} {text} of {total:,} images", highlight=False)


def show_report(result: dict[str, Any], console: Console = out) -> None:
    """The table of `hwgen sim`."""
    hls = result["engine"] == "hls"
    simulator = {"icarus": "Icarus", "hls": "C-simulation"}.get(result["engine"], "Verilator")
    table = Table("", *result["tasks"], title=f"{simulator} against the golden model")
    tasks = result["tasks"].values()

    def row(name: str, show: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(name, *(show(task) for task in tasks))

    row("images", lambda t: str(t["images"]))
    row("outputs identical", lambda t: f"{t['images'] - t['images_with_wrong_output']} of {t['images']} images")
    if not result["note"]:
        row("tensors identical", lambda t: f"{t['images'] - t['images_with_wrong_tensors']} of {t['images']} images")
    row("tensors compared", lambda t: str(t["tensors_compared"]))
    if any(t["accuracy"] is not None for t in tasks):
        row("accuracy", lambda t: "-" if t["accuracy"] is None else f"{t['accuracy']:.2%}")
    row("iterations per image" if hls else "cycles per image", lambda t: f"{t['cycles_per_image']['mean']:,.0f}")
    row("MACs per image", lambda t: f"{t['macs_per_image']:,}")
    row("array utilization", lambda t: f"{t['array_utilization']:.1%}")
    for name in next(iter(tasks))["counters"]:
        if hls and not any(task["counters"][name] for task in tasks):
            continue  # of the RTL only
        table.add_row(name, *(f"{task['counters'][name]:,.0f}" for task in tasks))
    console.print(table)
    if hls:
        show_loops(result, console)
    if result["note"]:
        show_note(result["note"], console)
    for task in tasks:
        if task["first_difference"]:
            console.print(
                f"[red]first difference:[/] {escape(task['first_difference'])}", soft_wrap=True, highlight=False
            )


def show_loops(result: dict[str, Any], console: Console = out) -> None:
    """Iterations of C-simulation's loops: what Vitis HLS would take at II = 1, the latency of each loop not counted."""
    loops = result["loops"]
    images = sum(task["images"] for task in result["tasks"].values())
    table = Table("loop", "entered", "iterations", title="Per image, mean of all tasks")
    units = {name: loop for name, loop in loops.items() if name.startswith("unit.")}
    others = {name: loop for name, loop in loops.items() if name not in units}
    for name, loop in sorted(others.items(), key=lambda item: -item[1]["iterations"]):
        table.add_row(name, f"{loop['entered'] / images:,.1f}", f"{loop['iterations'] / images:,.0f}")
    console.print(table)
    took = {name.removeprefix("unit."): loop["iterations"] / images for name, loop in units.items()}
    cycles = sum(
        cycles * result["tasks"][name]["images"] for name, cycles in result["rtl_cycles"].items()
    ) / images  # fmt: skip
    beside = ", ".join(f"{name} {took[name]:,.0f}" for name in sorted(took) if name not in ("engine", "end"))
    console.print(
        f"engine: {took['engine']:,.0f} iterations, {took['engine'] / cycles:.1%} of the {cycles:,.0f} cycles that the "
        f"cycle model has for the RTL; one after another come also: {beside}, fetch "
        f"{loops['sequencer.fetch']['iterations'] / images:,.0f}", soft_wrap=True, highlight=False,
    )  # fmt: skip


def show_network(imported: Imported, console: Console = out) -> None:
    """What `hwgen quantize` has read off a checkpoint."""
    model = imported.model
    table = Table(title=f"{model.name}, read as {imported.source}", show_header=False)
    kinds = Counter(layer.mlp for layer in model.layers)
    rows = {
        "image": f"{model.image.height}x{model.image.width}x{model.image.channels}, "
        f"patches of {model.patch.height}x{model.patch.width}",
        "tokens": f"{model.tokens} of {model.dim}, {model.prefix} before the patches",
        "layers": ", ".join(f"{count} {_show_mlp(mlp)}" for mlp, count in kinds.items()),
        "attention": f"{model.heads} heads of {model.head_dim}",
        "tasks": ", ".join(f"{task.name}: {task.head} {task.outputs or ''}".rstrip() for task in model.tasks),
        "pixels": f"minus {_numbers(imported.mean)}, by {_numbers(imported.std)}",
        "LayerNorm epsilon": f"{imported.eps:g}",
        "activation": imported.activation,
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for warning in imported.warnings:
        show_warning(warning, console)
    for note in imported.notes:
        show_note(note, console)


def show_agreement(found: Agreement, console: Console = out) -> None:
    """How far import and integer model are from a reference, a line per task."""
    reference = found.reference
    for task in reference.outputs:
        parts = [f"the import is within {found.errors[task]:.1g} (relative rms)"] if found.errors else []
        parts += [f"the integer model has {found.sqnr[task]:.1f} dB"] if task in found.sqnr else []
        if parts:
            text = f"{task} against {reference.where}, {len(reference.images)} image(s): {', '.join(parts)}"
            console.print(escape(text), soft_wrap=True, highlight=False)
    if not found.errors and min(found.sqnr.values(), default=FAR) < FAR:
        show_warning("so far apart, the import may be wrong: `hwgen quantize --reference` compares it", console)
    if reference.onnx and found.errors:
        show_note("the normalisation is not checked: an ONNX file takes normalised pixels", console)


def show_warning(text: str, console: Console = out) -> None:
    """What may make the result wrong."""
    console.print(f"[bold yellow]WARNING:[/] {escape(text)}", soft_wrap=True, highlight=False)


def show_note(text: str, console: Console = out) -> None:
    """What was assumed, left out or changed, beneath a table."""
    console.print(f"note: {escape(text)}", soft_wrap=True, highlight=False)


def _show_mlp(mlp: DenseMlp | MoeMlp) -> str:
    if mlp.kind == "dense":
        return f"with an MLP of {mlp.hidden}"
    return f"with {mlp.experts} experts of {mlp.hidden}, top {mlp.top_k} ({mlp.gate})"


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def show_estimates(guesses: dict[str, CycleEstimate], floors: dict[str, float], batch: int) -> None:
    """The last table of `hwgen info`. floors: array steps that an image's useful MACs need, per task."""
    table = Table("", *guesses)

    def row(name: str, show: Callable[[str, CycleEstimate], str]) -> None:
        table.add_row(name, *(show(task, guess) for task, guess in guesses.items()))

    row("cycles", lambda task, guess: f"{guess.cycles / batch:,.0f}")
    row("floor of the MACs", lambda task, guess: f"{floors[task]:,.0f}")
    row("floor of the memory", lambda task, guess: f"{guess.memory_floor / batch:,.0f}")
    row("DRAM bytes", lambda task, guess: f"{sum(guess.dram_bytes.values()) / batch:,.0f}")
    row("array utilization", lambda task, guess: f"{batch * floors[task] / guess.cycles:.1%}")
    row("steps on padding", lambda task, guess: f"{(guess.array_busy - batch * floors[task]) / guess.cycles:.1%}")
    for cause in next(iter(guesses.values())).stalls:
        row(f"stall: {cause}", lambda task, guess, cause=cause: f"{guess.stalls[cause] / guess.cycles:.1%}")  # type: ignore[misc]
    out.print(table)
