"""`hwgen run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwgen.cli.console import progress_bars
from hwgen.cli.tables import show_note, show_predictions


def run(
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
    from hwgen.evaluate import predict
    from hwgen.evaluate.quality import task_labels
    from hwgen.network import description
    from hwgen.network.images import load_images

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
