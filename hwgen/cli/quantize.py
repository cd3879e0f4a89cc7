"""`hwgen quantize`: options in, a description and what it costs out."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hwgen.cli import options
from hwgen.cli.console import out, progress_steps, write_json
from hwgen.cli.tables import show_agreement, show_network, show_note

if TYPE_CHECKING:
    from hwgen.evaluate.reference import Agreement
    from hwgen.evaluate.report import Report
    from hwgen.network.description import Description
    from hwgen.quantize import Job


ReportFile = Annotated[
    Path | None, typer.Option(help="Compare with the float network, print tables, write them to this JSON file.")
]
ReportImages = Annotated[
    Path | None, typer.Option(help="Images of the comparison, with labels or without; default: the calibration's.")
]


class Ranges(enum.StrEnum):
    """Where the range of a tensor ends."""

    AUTO = "auto"
    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


class Rounding(enum.StrEnum):
    """How weights become integers."""

    NEAREST = "nearest"
    SECOND_ORDER = "second_order"


#: Calibration images on which clipped tensors are looked for where no report is asked for.
LOOKED_AT = 4


# long: every option is a parameter
def quantize(
    output: options.Output,
    config: Annotated[
        Path | None, typer.Argument(help="quantize.yaml, instead of --checkpoint and what describes it.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Float weights: .safetensors, .npz, .pt, .pth, .onnx or a weight folder.")
    ] = None,
    format: options.Format = "auto",
    calibration: Annotated[Path | None, typer.Option(help="Images: .npz, .npy, or a folder of pictures.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Calibrate on this many of them; default: all.")] = None,
    name: options.Name = None,
    heads: options.Heads = None,
    head_dim: options.HeadDim = None,
    top_k: options.TopK = None,
    gate: options.Gate = None,
    image_size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    activation: options.Activation = None,
    layer_norm_eps: options.Epsilon = None,
    pooling: options.Pooling = None,
    activated: options.Activated = None,
    post_norm: options.PostNorm = None,
    tasks: options.Tasks = None,
    resize: options.Resizing = None,
    ranges: Annotated[Ranges | None, typer.Option(help="Where the range of a tensor ends.")] = None,
    percentile: Annotated[float | None, typer.Option(help="Percent of the values within it.")] = None,
    windows: Annotated[
        int | None, typer.Option(min=1, max=4, help="Windows of hidden channels that reach far, at most.")
    ] = None,
    repq: Annotated[
        bool | None, typer.Option("--repq/--no-repq", help="Per-channel scales behind LayerNorm (RepQ-ViT).")
    ] = None,
    equalize: Annotated[
        bool | None, typer.Option("--equalize/--no-equalize", help="SmoothQuant's factors, with bias term.")
    ] = None,
    rounding: Annotated[
        Rounding | None, typer.Option(help="Of weights; second_order: their errors make up for each other (GPTQ).")
    ] = None,
    expert_bits: Annotated[int | None, typer.Option(help="4 or 8: bits of all experts' weights.")] = None,
    weight_bits: Annotated[list[str] | None, typer.Option(help="PATTERN=4 for linear layers by name.")] = None,
    mean_bits: Annotated[
        float | None, typer.Option(help="4 to 8: bits of a weight on average; a search spends them.")
    ] = None,
    keep_weights: Annotated[
        bool | None,
        typer.Option("--keep-weights/--no-keep-weights", help="Integer weights of a quantized graph stay as they are."),
    ] = None,
    report: ReportFile = None,
    report_images: ReportImages = None,
    reference: options.ReferenceFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier description in the output directory.")
    ] = False,
) -> None:
    """Make a quantized description (model.yaml, weights.safetensors) from a float checkpoint.

    Architecture is read off the checkpoint and shown; what it does not tell is asked for.
    """
    from hwgen import api
    from hwgen.build import new_directory
    from hwgen.network import description
    from hwgen.quantize.job import read

    settings = options.import_settings(image_size, mean, std, tasks, name=name, heads=heads, head_dim=head_dim,
                                       top_k=top_k, gate=gate, activation=activation, layer_norm_eps=layer_norm_eps,
                                       pooling=pooling, activated=activated, post_norm=post_norm,
                                       resize=resize)  # fmt: skip
    methods: dict[str, Any] = {
        "ranges": ranges and ranges.value, "percentile": percentile, "windows": windows, "repq": repq,
        "equalize": equalize, "rounding": rounding and rounding.value,
        "weight_bits": options.parse_weight_bits(expert_bits, weight_bits or []), "mean_bits": mean_bits,
        "keep_weights": keep_weights,
    }  # fmt: skip
    with progress_steps() as say, new_directory(output, description.MODEL_FILE, force=force) as directory:
        say("reading the checkpoint")
        job = read(config, checkpoint, calibration, images, format, settings, methods)
        show_network(job.imported)
        check = _check(job, reference, say) if reference else None
        reported = report is not None or report_images is not None
        compare = _comparison(job, report_images, None if reported else LOOKED_AT)
        made = api.quantize(job, directory, say, show_note)
        agreement = check(made, say) if check else None
        found = compare(made, say)
        if report:
            result = found.as_dict() | ({"reference": agreement.as_dict()} if agreement else {})
            write_json(_inside(report, output, directory), result)
    if reported:
        found.show(out)
    else:
        found.show_warnings(out)
    if agreement:
        show_agreement(agreement)
    out.print(f"{escape(str(output))}: {made.model.name}, {sum(t.size for t in made.tensors.values())} integers")


def _inside(path: Path, output: Path, directory: Path) -> Path:
    """Where a file is written that may lie in the output, which is `directory` as yet."""
    inside = path.absolute().is_relative_to(output.absolute())
    return directory / path.absolute().relative_to(output.absolute()) if inside else path


def _comparison(
    job: Job, path: Path | None, count: int | None
) -> Callable[[Description, Callable[[str], None]], Report]:
    """What makes the report of a description, on the images of `path`, or on those of the calibration, or on the first
    `count` of these.

    Images and labels are read and checked at once, before the long work.
    """
    from hwgen.evaluate.quality import classes, task_labels
    from hwgen.evaluate.report import report
    from hwgen.network.images import load_images

    model = job.imported.model
    images, labels = load_images(path or job.calibration, model.image, None if path else job.images,
                                 resize=job.imported.resize, classes=classes(model))  # fmt: skip
    if count is not None:
        images, labels = images[:count], None
    wanted = task_labels(model, labels, str(path or job.calibration))
    return lambda made, progress: report(job.imported.network(), made, images, wanted, progress)


def _check(
    job: Job, path: Path, progress: Callable[[str], None]
) -> Callable[[Description, Callable[[str], None]], Agreement]:
    """Compare the import with a reference at once; what is made then compares the integer model."""
    from hwgen.api import predict
    from hwgen.evaluate.reference import Agreement, check_import, integer_sqnr, read_reference
    from hwgen.network.images import load_images

    imported = job.imported
    image, resize = imported.model.image, imported.resize
    reference = read_reference(
        path, imported.model, lambda count: load_images(job.calibration, image, count, resize=resize)[0],
        (imported.mean, imported.std),
    )  # fmt: skip
    errors = check_import(imported, reference, progress)

    def compare(made: Description, progress: Callable[[str], None]) -> Agreement:
        progress(f"comparing the integer model with {path}")
        found = predict(made, reference.images, list(reference.outputs))
        return Agreement(reference, errors, integer_sqnr({task: one.values for task, one in found.items()}, reference))

    return compare
