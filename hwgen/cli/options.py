"""Options that commands share, and options whose value has parts: from text to what the jobs take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hwgen.common.errors import COMMAND_LINE, HwgenError

#: Of the commands that write a directory.
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Directory to write; it must not exist yet.", show_default=False)
]
Preset = Annotated[
    str | None, typer.Option(help="small, medium, large, or a board: array and buses instead of the config's.")
]

#: Of the commands that read a float checkpoint: its format, and what it does not tell.
Format = Annotated[
    str,
    typer.Option(help="auto, or whose tensor names: timm, huggingface, torchvision, jax, lucidrains, dino, dinov2, "
                 "ibot, mae, mocov3, m3vit, edge-moe, hwgen, onnx."),
]  # fmt: skip
Name = Annotated[str | None, typer.Option(help="Name of the model; default: that of the checkpoint.")]
Heads = Annotated[int | None, typer.Option(help="Number of attention heads.")]
HeadDim = Annotated[int | None, typer.Option(help="Width of a head.")]
TopK = Annotated[int | None, typer.Option(help="Experts per token.")]
Gate = Annotated[str | None, typer.Option(help="softmax_topk or topk_softmax: what comes first.")]
Size = Annotated[str | None, typer.Option(help="HEIGHTxWIDTH.")]
Mean = Annotated[str | None, typer.Option(help="Of the pixels in 0..1, per channel: 0.5,0.5,0.5")]
Std = Annotated[str | None, typer.Option(help="Standard deviation, as --mean.")]
Activation = Annotated[str | None, typer.Option(help="Of the MLPs: gelu (the exact one), gelu_tanh, silu, ...")]
Epsilon = Annotated[float | None, typer.Option(help="Of the LayerNorms.")]
Activated = Annotated[
    str | None, typer.Option(help="first or last: half of a gated MLP's first layer that the activation takes.")
]
Pooling = Annotated[str | None, typer.Option(help="token or avg: what the head of a timm network reads.")]
PostNorm = Annotated[
    bool | None, typer.Option("--post-norm/--no-post-norm", help="Norms behind attention and MLP (ResPostBlock).")
]
Tasks = Annotated[str | None, typer.Option(help="NAME,... or NAME:HEAD,... in the order of the checkpoint.")]
Resizing = Annotated[
    str | None,
    typer.Option("--resize", help="Of pictures of another size: whole, or pixels of the shorter side, of which the "
                 "centre is cropped; :FILTER. Default: as the files beside the checkpoint state, else whole."),
]  # fmt: skip
#: Outputs that another implementation of the float network computed.
ReferenceFile = Annotated[
    Path | None,
    typer.Option("--reference", help="The network's own outputs: .npz with outputs_TASK, or .onnx of the network."),
]

#: Pattern of the linear layers of all experts.
EXPERTS = "layers.*.moe.experts.*"


def import_settings(image_size: str | None, mean: str | None, std: str | None, tasks: str | None,
                    **same: Any) -> dict[str, Any]:  # fmt: skip
    """Keys of `Overrides` by the options of their names; None: not given."""
    return same | {
        "image_size": image_size and parse_size(image_size),
        "normalize": parse_normalize(mean, std),
        "tasks": tasks and parse_tasks(tasks),
    }


def parse_size(text: str) -> dict[str, int]:
    """An image's size, HEIGHTxWIDTH, or one number for a square."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not found:
        raise HwgenError(COMMAND_LINE, "--image-size", expected="HEIGHTxWIDTH, such as 224x224", found=repr(text))
    return {"height": int(found[1]), "width": int(found[2] or found[1])}


def parse_normalize(mean: str | None, std: str | None) -> dict[str, list[float]] | None:
    """Mean and standard deviation of pixels in 0..1, a number or one per channel, in pixel codes 0..255."""
    if mean is None and std is None:
        return None
    values = {"--mean": mean, "--std": std}
    numbers = {}
    for option, text in values.items():
        try:
            numbers[option] = [255 * float(part) for part in (text or "").split(",")]
        except ValueError:
            raise HwgenError(COMMAND_LINE, option, found="no value given" if text is None else repr(text),
                             expected="numbers for pixels in 0..1, one per channel, such as 0.5,0.5,0.5",
                             mend="--mean and --std go together" if text is None else "") from None  # fmt: skip
    return {"mean": numbers["--mean"], "std": numbers["--std"]}


def parse_tasks(text: str) -> list[dict[str, str]]:
    """Tasks `NAME` or `NAME:HEAD`, by commas."""
    return [dict(zip(("name", "head"), part.split(":", 1))) for part in text.split(",")]


def parse_weight_bits(expert_bits: int | None, settings: Sequence[str]) -> dict[str, Any] | None:
    """Bits of all experts, and settings `PATTERN=BITS`."""
    found: dict[str, Any] = {} if expert_bits is None else {EXPERTS: expert_bits}
    for setting in settings:
        pattern, equals, bits = setting.rpartition("=")
        if not equals or not bits.isdecimal():
            raise HwgenError(COMMAND_LINE, "--weight-bits", expected="PATTERN=4 or PATTERN=8", found=repr(setting),
                             mend="for example `layers.*.mlp.*=4`")  # fmt: skip
        found[pattern] = int(bits)
    return found or None
