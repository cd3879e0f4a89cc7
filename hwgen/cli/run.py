"""`hwgen run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from hwgen.cli import options
from hwgen.cli.console import progress_bars, progress_steps
from hwgen.cli.tables import show_agreement, show_network, show_note, show_predictions
from hwgen.common.errors import COMMAND_LINE, HwgenError

if TYPE_CHECKING:
    from hwgen.evaluate.predict import Prediction
    from hwgen.evaluate.reference import Agreement
    from hwgen.importers import Imported
    from hwgen.network.description import Description


def run(
    model: Annotated[
        Path,
        typer.Argument(help="A quantized description, or its directory; with --float a quantize.yaml or checkpoint."),
    ],
    images: Annotated[Path, typer.Argument(help="Images: .npz, .npy, a picture, or a folder of these.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Task to run, more than once for several; default: all in turn.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many images; default: all.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write them here: .npz all numbers, .json a summary.")
    ] = None,
    reference: options.ReferenceFile = None,
    float_: Annotated[
        bool, typer.Option("--float", help="Run the float network; the options below tell what a checkpoint does not.")
    ] = False,
    format: options.Format = "auto",
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
) -> None:
    """Run the integer model on images: what the accelerator computes, to the bit, without any hardware."""
    settings = options.import_settings(image_size, mean, std, tasks, name=name, heads=heads, head_dim=head_dim,
                                       top_k=top_k, gate=gate, activation=activation, layer_norm_eps=layer_norm_eps,
                                       pooling=pooling, activated=activated, post_norm=post_norm)  # fmt: skip
    network = _network(model, format, settings, float_)
    _predict(network, images, task, count, output, reference, resize)


def _network(path: Path, format: str, settings: Mapping[str, Any], float_: bool) -> Description | Imported:
    """What is to be run."""
    from hwgen.network import description
    from hwgen.quantize.job import read_network

    if not float_:
        for key, value in (("format", None if format == "auto" else format), *settings.items()):
            if value is not None:
                raise HwgenError(COMMAND_LINE, key, expected="a float network, of which this tells something",
                                 found="a quantized description", mend="add --float, or leave that out")  # fmt: skip
        return description.load(path)
    if path.name == description.MODEL_FILE or (path / description.MODEL_FILE).is_file():
        raise HwgenError(str(path), "--float", expected="a quantize.yaml, or a checkpoint",
                         found="a quantized description, which has no float weights",
                         mend="give what it was made from")  # fmt: skip
    imported = read_network(path, format, settings)
    show_network(imported)
    return imported


def _predict(network: Description | Imported, images: Path, tasks: list[str] | None, count: int | None,
             output: Path | None, reference: Path | None, resize: str | None) -> None:  # fmt: skip
    from hwgen import api
    from hwgen.evaluate import predict
    from hwgen.evaluate.quality import classes, task_labels
    from hwgen.importers import Imported
    from hwgen.network.images import load_images
    from hwgen.network.resize import Resize, parse_resize

    model = network.model
    predict.chosen(model, tasks)
    if output is not None:
        predict.check_output(output)
    size = network.resize if isinstance(network, Imported) else Resize()
    if resize is not None:
        size = parse_resize(resize, COMMAND_LINE, "--resize", model.image.height, model.image.width)
    data, labels = load_images(images, model.image, count, show_note, resize=size, classes=classes(model))
    wanted = task_labels(model, labels, str(images))
    finish = _check(network, reference, data) if reference else None
    with progress_bars() as progress:
        if isinstance(network, Imported):
            found = predict.predict_float(network.network(), data, tasks, wanted, progress)
        else:
            found = list(api.predict(network, data, tasks, labels=wanted, progress=progress).values())
    if output is not None:
        predict.write(output, model, found)
    show_predictions(found)
    if finish:
        show_agreement(finish(found))


def _check(
    network: Description | Imported, path: Path, data: np.ndarray
) -> Callable[[Sequence[Prediction]], Agreement]:
    """Compare an import with a reference at once; what is made then compares the integer model's outputs for `data`."""
    from hwgen.evaluate.reference import Agreement, check_import, integer_sqnr, read_reference
    from hwgen.importers import Imported

    imported = network if isinstance(network, Imported) else None
    pixels = (imported.mean, imported.std) if imported else None
    reference = read_reference(path, network.model, lambda count: data[:count], pixels)
    if not np.array_equal(reference.images, data[: len(reference.images)]):
        raise HwgenError(str(path), "images", expected="the images that are run", found="others",
                         mend="run the reference's own images: it is a .npz like any other")  # fmt: skip
    if imported is None:
        return lambda found: Agreement(
            reference, {}, integer_sqnr({one.task.name: one.values for one in found}, reference)
        )
    with progress_steps() as say:
        errors = check_import(imported, reference, say)
    return lambda found: Agreement(reference, errors, {})
