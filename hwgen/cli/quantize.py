"""`hwgen quantize`: options in, a description and what it costs out."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hwgen.cli.console import out, progress_steps, write_json
from hwgen.cli.options import Output, parse_normalize, parse_size, parse_tasks, parse_weight_bits
from hwgen.cli.tables import show_network, show_note

if TYPE_CHECKING:
    from hwgen.evaluate.report import Report
    from hwgen.network.description import Description
    from hwgen.quantize import Job


class Ranges(enum.StrEnum):
    """Where the range of a tensor ends."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


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
    from hwgen.build import new_directory
    from hwgen.network import description
    from hwgen.quantize import quantize_job
    from hwgen.quantize.job import read

    settings: dict[str, Any] = {
        "name": name, "heads": heads, "head_dim": head_dim, "top_k": top_k, "gate": gate,
        "image_size": image_size and parse_size(image_size), "normalize": parse_normalize(mean, std),
        "tasks": tasks and parse_tasks(tasks),
    }  # fmt: skip
    methods: dict[str, Any] = {
        "ranges": ranges and ranges.value, "percentile": percentile, "repq": repq, "equalize": equalize,
        "weight_bits": parse_weight_bits(expert_bits, weight_bits or []), "mean_bits": mean_bits,
    }  # fmt: skip
    with progress_steps() as say, new_directory(output, description.MODEL_FILE, force=force) as directory:
        say("reading the checkpoint")
        job = read(config, checkpoint, calibration, images, format, settings, methods)
        show_network(job.imported)
        compare = _comparison(job, report_images) if report or report_images else None
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


def _comparison(job: Job, path: Path | None) -> Callable[[Description, Callable[[str], None]], Report]:
    """What makes the report of a description, on the images of `path`, or on those of the calibration.

    Images and labels are read and checked at once, before the long work.
    """
    from hwgen.evaluate.quality import task_labels
    from hwgen.evaluate.report import report
    from hwgen.network.images import load_images

    model = job.imported.model
    images, labels = load_images(path or job.calibration, model.image, None if path else job.images)
    wanted = task_labels(model, labels, str(path or job.calibration))
    return lambda made, progress: report(job.imported.network(), made, images, wanted, progress)
