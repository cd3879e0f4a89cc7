"""The command line. Wrong input ends with a message on one screen and exit code 2, a failed simulation with 1."""

from __future__ import annotations

import contextlib
import enum
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import hwgen
from hwgen.errors import HwgenError

if TYPE_CHECKING:
    from hwgen.cycles import CycleEstimate
    from hwgen.description import DenseMlp, MoeMlp
    from hwgen.importers import Imported
    from hwgen.predict import Prediction

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)  # fmt: skip
out = Console()
err = Console(stderr=True)

Output = Annotated[
    Path, typer.Option("--output", "-o", help="Directory to write; it must not exist yet.", show_default=False)
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hwgen {hwgen.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Accelerators in Verilog for quantized multi-task Vision Transformers with mixture-of-experts."""


class Engine(enum.StrEnum):
    """What runs the Verilog."""

    HARNESS = "harness"
    COCOTB = "cocotb"


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="config.yaml: models, array, buses, buffers.")],
    output: Output,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier build in the output directory.")] = False,
) -> None:
    """Write an accelerator: Verilog, programs, weights, memory map, register header, harness, tests, README."""
    from hwgen.build import build as run

    with progress_steps() as say:
        made = run(config, output, force=force, progress=say)
    p = made.params
    out.print(
        f"{escape(str(output))}: array {p.t} x {p.c} x {p.k}, {p.macs} MACs per cycle, "
        f"build {made.manifest['build_hash']}"
    )
    out.print(f"program {len(made.compiled.program)} bytes, weights {len(made.compiled.weights)} bytes")


@app.command()
def sim(
    output: Annotated[Path, typer.Argument(help="A directory written by `hwgen build`.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Task to run, more than once for several; default: all in turn.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model, where the build has several.")] = None,
    images: Annotated[int, typer.Option(min=1, help="How many images.")] = 4,
    engine: Annotated[
        Engine, typer.Option(help="harness: fast C++; cocotb: slower, with the AXI models of cocotbext-axi.")
    ] = Engine.HARNESS,
    trace: Annotated[
        bool, typer.Option("--trace", help="Write a waveform: OUT/trace.fst, or trace.vcd where FST is not to be had.")
    ] = False,
    latency: Annotated[int, typer.Option(min=0, max=100_000, help="Memory latency in cycles.")] = 40,
    stalls: Annotated[int, typer.Option(min=0, max=95, help="Chance in percent that a port stalls in a cycle.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the stalls and of uninitialized memory.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the measurements here.")] = None,
) -> None:
    """Run images on the build in Verilator and compare outputs and all intermediate tensors with the golden model."""
    from hwgen.build import load_build
    from hwgen.simulate import load_images, simulate
    from hwgen.toolchain import APT_FST, FST_HEADERS, trace_format
    from sim.harness import Timing

    made = load_build(output, model)
    data, labels = load_images(made, images)
    known = (
        {t.name: labels[:, None] for t in made.model.model.tasks if t.head not in ("every_token", "none")}
        if labels is not None
        else {}
    )
    waveform = output / f"trace.{trace_format() if engine is Engine.HARNESS else 'vcd'}" if trace else None
    with progress_bars() as progress:
        report = simulate(
            made, data, labels=known, tasks=task, timing=Timing(latency, stalls, seed), progress=progress,
            engine=engine.value, trace=waveform,
        )  # fmt: skip
    result = report.as_dict()
    if json_file is not None:
        write_json(json_file, result)
    show_report(result)
    if waveform is not None:
        out.print(f"waveform: {escape(str(waveform))}", soft_wrap=True, highlight=False)
        if engine is Engine.HARNESS and waveform.suffix == ".vcd":
            out.print(f"VCD, as g++ does not find {' and '.join(FST_HEADERS)}; for FST: {APT_FST}", highlight=False)
    if not report.identical:
        raise typer.Exit(1)


class Ranges(enum.StrEnum):
    """Where the range of a tensor ends."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


@app.command()
def quantize(
    output: Output,
    config: Annotated[
        Path | None, typer.Argument(help="quantize.yaml, instead of --checkpoint and what describes it.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Float weights: .safetensors, .npz, .pt, .pth, .onnx or a weight folder.")
    ] = None,
    format: Annotated[str, typer.Option(help="auto, timm, m3vit, edge-moe, hwgen or onnx.")] = "auto",
    calibration: Annotated[Path | None, typer.Option(help="Images: .npz, or a folder of PNG or JPEG files.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Calibrate on this many of them; default: all.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; default: that of the checkpoint.")] = None,
    heads: Annotated[int | None, typer.Option(help="Number of attention heads.")] = None,
    head_dim: Annotated[int | None, typer.Option(help="Width of a head.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Experts per token.")] = None,
    gate: Annotated[str | None, typer.Option(help="softmax_topk or topk_softmax: what comes first.")] = None,
    image_size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of the pixels in 0..1, per channel: 0.5,0.5,0.5")] = None,
    std: Annotated[str | None, typer.Option(help="Standard deviation, as --mean.")] = None,
    tasks: Annotated[str | None, typer.Option(help="NAME,... or NAME:HEAD,... in the order of the checkpoint.")] = None,
    ranges: Annotated[Ranges | None, typer.Option(help="Where the range of a tensor ends.")] = None,
    percentile: Annotated[float | None, typer.Option(help="Percent of the values within it.")] = None,
    repq: Annotated[
        bool | None, typer.Option("--repq/--no-repq", help="Per-channel scales behind LayerNorm (RepQ-ViT).")
    ] = None,
    equalize: Annotated[
        bool | None, typer.Option("--equalize/--no-equalize", help="SmoothQuant's factors, with bias term.")
    ] = None,
    expert_bits: Annotated[int | None, typer.Option(help="4 or 8: bits of all experts' weights.")] = None,
    weight_bits: Annotated[list[str] | None, typer.Option(help="PATTERN=4 for linear layers by name.")] = None,
    mean_bits: Annotated[
        float | None, typer.Option(help="4 to 8: bits of a weight on average; a search spends them.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Compare with the float network, print tables, write them to this JSON file.")
    ] = None,
    report_images: Annotated[
        Path | None, typer.Option(help="Images of the comparison, with labels or without; default: the calibration's.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier description in the output directory.")
    ] = False,
) -> None:
    """Make a quantized description (model.yaml, weights.safetensors) from a float checkpoint.

    Architecture is read off the checkpoint and shown; what it does not tell is asked for.
    """
    from hwgen import description
    from hwgen.build import new_directory
    from hwgen.quantize import job as jobs
    from hwgen.quantize import quantize_job

    settings: dict[str, Any] = {
        "name": name, "heads": heads, "head_dim": head_dim, "top_k": top_k, "gate": gate,
        "image_size": image_size and jobs.parse_size(image_size), "normalize": jobs.parse_normalize(mean, std),
        "tasks": tasks and jobs.parse_tasks(tasks),
    }  # fmt: skip
    methods: dict[str, Any] = {
        "ranges": ranges and ranges.value, "percentile": percentile, "repq": repq, "equalize": equalize,
        "weight_bits": jobs.parse_weight_bits(expert_bits, weight_bits or []), "mean_bits": mean_bits,
    }  # fmt: skip
    with progress_steps() as say, new_directory(output, description.MODEL_FILE, force=force) as directory:
        say("reading the checkpoint")
        job = jobs.read(config, checkpoint, calibration, images, format, settings, methods)
        show_network(job.imported)
        compare = jobs.comparison(job, report_images) if report or report_images else None
        made = quantize_job(job, say, show_note)
        description.save(made, directory)
        found = compare(made, say) if compare else None
        if found and report:
            inside = report.absolute().is_relative_to(output.absolute())
            file = directory / report.absolute().relative_to(output.absolute()) if inside else report
            write_json(file, found.as_dict())
    if found:
        found.show(out)
    out.print(f"{escape(str(output))}: {made.model.name}, {sum(t.size for t in made.tensors.values())} integers")


@app.command("run")
def run_model(
    model: Annotated[Path, typer.Argument(help="A quantized description, or its directory.")],
    images: Annotated[Path, typer.Argument(help="Images: .npz, a PNG or JPEG file, or a folder of these.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Task to run, more than once for several; default: all in turn.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many images; default: all.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write them here: .npz all numbers, .json a summary.")
    ] = None,
) -> None:
    """Run the integer model on images: what the accelerator computes, to the bit, without any hardware."""
    from hwgen import description, predict
    from hwgen.evaluate import task_labels
    from hwgen.images import load_images

    desc = description.load(model)
    predict.chosen(desc, task)
    if output is not None:
        predict.check_output(output)
    data, labels = load_images(images, desc.model.image, count, show_note)
    with progress_bars() as progress:
        found = predict.predict(desc, data, task, task_labels(desc.model, labels, str(images)), progress)
    if output is not None:
        predict.write(output, desc, found)
    show_predictions(found)


@app.command()
def info(
    path: Annotated[
        Path, typer.Argument(help="A directory written by `hwgen build`, a config.yaml, or a quantized description.")
    ],
    model: Annotated[str | None, typer.Option(help="Name of the model, where there are several.")] = None,
    program: Annotated[bool, typer.Option("--program", help="List the instructions.")] = False,
    latency: Annotated[int, typer.Option(min=0, max=100_000, help="Memory latency of the estimate, in cycles.")] = 40,
) -> None:
    """What is in a build, a configuration or a description; what a run is estimated to cost."""
    from hwgen import description
    from hwgen.build import MANIFEST, load_build
    from hwgen.compiler import compile_model, disassemble
    from hwgen.config import is_config, load_project
    from hwgen.cycles import estimate
    from hwgen.isa import BYTES
    from hwgen.macs import macs

    compiled = None
    if (path / MANIFEST).exists():
        made = load_build(path, model)
        desc, p, compiled = made.model, made.params, made.compiled
        title = f"accelerator, build {made.manifest['build_hash']}"
    elif is_config(path):
        project = load_project(path)
        desc, p, title = project.model(model), project.params, "accelerator"
        compiled = compile_model(desc, p, project.config.batch)
    else:
        desc = description.load(path)
    if compiled is None and program:
        raise HwgenError(
            str(path),
            "--program",
            expected="a directory written by `hwgen build`, or a config.yaml",
            found="a description",
            mend="a program exists for a build only",
        )
    if compiled is not None:
        table = Table(title=title, show_header=False)
        for name, value in (p.as_dict() | {"batch": compiled.batch}).items():
            table.add_row(name, str(value))
        out.print(table)
    structure = desc.model
    experts = sum(layer.mlp.kind == "moe" for layer in structure.layers)
    out.print(
        f"model {structure.name}: {structure.tokens} tokens of {structure.dim}, "
        f"{len(structure.layers)} layers ({experts} with experts), "
        f"{structure.heads} heads of {structure.head_dim}"
    )
    table = Table("task", "head", "outputs", "MACs per image")
    for task in structure.tasks:
        table.add_row(task.name, task.head, str(task.outputs or "-"), f"{macs(desc, task.name):,}")
    out.print(table)
    if compiled is None:
        return
    guesses = {task.name: estimate(compiled, task.name, p, latency=latency) for task in structure.tasks}
    loads = ", an eighth of the experts without tokens" if experts else ""
    out.print(f"estimate per image, memory latency {latency}{loads}:", highlight=False)
    show_estimates(guesses, {name: macs(desc, name) / p.macs for name in guesses}, compiled.batch)
    if program:
        for name, instructions in compiled.instructions.items():
            out.print(f"task {name}:")
            entry = compiled.entries[name]
            comments = {entry + i * BYTES: instr.name for i, instr in enumerate(instructions)}
            data = compiled.program[: entry + len(instructions) * BYTES]
            for line in disassemble(data, comments)[entry // BYTES :]:
                print(line)


@app.command()
def doctor() -> None:
    """Look for the tools and say how to get what is missing."""
    from hwgen.doctor import examine

    findings = examine()
    for finding in findings:
        mark = "[green]ok[/]     " if finding.ok else "[red]missing[/]" if finding.required else "[yellow]absent[/] "
        out.print(f"{mark} {finding.name:<15} {escape(finding.found)}", soft_wrap=True, highlight=False)
        if finding.mend:
            out.print(f"        {'':<15} -> {escape(finding.mend)}", soft_wrap=True, highlight=False)
    if any(finding.required and not finding.ok for finding in findings):
        raise typer.Exit(2)


def show_predictions(found: Sequence[Prediction], limit: int = 20) -> None:
    """What `hwgen run` prints: a line per task for each of the first `limit` images, then the metrics."""
    total = len(found[0].codes)
    for image in range(min(total, limit)):
        for one in found:
            out.print(f"image {image}  {one.task.name}: {one.line(image)}", soft_wrap=True, highlight=False)
    if total > limit:
        out.print(f"... and {total - limit:,} more images; --output writes them all", highlight=False)
    for one in found:
        for name, value in one.metrics.items():
            text = f"{value:.4g}" if name == "mae" else f"{value:.2%}"
            out.print(f"{one.task.name}: {name} {text} of {total:,} images", highlight=False)


def write_json(path: Path, result: dict[str, Any]) -> None:
    """A result for programs."""
    try:
        path.write_text(json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise HwgenError(str(path), expected="a file that can be written", found=str(error.strerror)) from None


def show_report(result: dict[str, Any], console: Console = out) -> None:
    """The table of `hwgen sim`."""
    table = Table("", *result["tasks"], title="Verilator against the golden model")
    tasks = result["tasks"].values()

    def row(name: str, show: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(name, *(show(task) for task in tasks))

    row("images", lambda t: str(t["images"]))
    row("outputs identical", lambda t: f"{t['images'] - t['images_with_wrong_output']} of {t['images']} images")
    row("tensors identical", lambda t: f"{t['images'] - t['images_with_wrong_tensors']} of {t['images']} images")
    row("tensors compared", lambda t: str(t["tensors_compared"]))
    if any(t["accuracy"] is not None for t in tasks):
        row("accuracy", lambda t: "-" if t["accuracy"] is None else f"{t['accuracy']:.2%}")
    row("cycles per image", lambda t: f"{t['cycles_per_image']['mean']:,.0f}")
    row("MACs per image", lambda t: f"{t['macs_per_image']:,}")
    row("array utilization", lambda t: f"{t['array_utilization']:.1%}")
    for name in next(iter(tasks))["counters"]:
        table.add_row(name, *(f"{task['counters'][name]:,.0f}" for task in tasks))
    console.print(table)
    for task in tasks:
        if task["first_difference"]:
            console.print(
                f"[red]first difference:[/] {escape(task['first_difference'])}", soft_wrap=True, highlight=False
            )


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
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for note in imported.notes:
        show_note(note, console)


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


@contextlib.contextmanager
def progress_steps() -> Iterator[Callable[[str], None]]:
    """One line of text at a time, what is being done now."""
    with err.status("") as status:
        yield lambda text: status.update(escape(text))


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        rows: dict[str, Any] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in rows:
                rows[what] = bars.add_task(what, total=total or None)
            bars.update(rows[what], completed=done, total=total or None)

        yield update


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except HwgenError as error:
        print(error.text(), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
