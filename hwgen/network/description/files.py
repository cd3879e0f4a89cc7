"""A quantized network as a whole, checked: `model.yaml` and `weights.safetensors` on disk, or made in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import dump_yaml, read_yaml, validate
from hwgen.network.description.structure import Model, check_structure
from hwgen.network.description.tensors import check_tensors, check_weight_bits

MODEL_FILE = "model.yaml"
WEIGHTS_FILE = "weights.safetensors"
#: Keys that are written only where they say something.
LEFT_OUT = ("weight_bits", "distillation_token", "register_tokens", "norm_pre", "rms_norm", "post_norm", "qk_norm")


@dataclass
class Description:
    """A checked model: structure, integer tensors by name, and the YAML file it came from (None if made in memory)."""

    model: Model
    tensors: dict[str, np.ndarray]
    path: Path | None = field(default=None, compare=False)


def parse_model(data: object, where: str) -> Model:
    """The checked structure from parsed YAML; `where` names the file in messages."""
    model = validate(Model, data, where)
    _check_model(model, where)
    return model


def _check_model(model: Model, where: str) -> None:
    """The rules that need more than one key."""
    check_structure(model, where)
    check_weight_bits(model, where)


def check(description: Description) -> None:
    """Check a description made in memory as `load` checks one from disk."""
    where = str(description.path) if description.path else "description"
    _check_model(description.model, where)
    check_tensors(description.model, description.tensors, where)


def load(path: Path | str) -> Description:
    """Load and check a description; `path` is the YAML file or the directory holding `model.yaml`."""
    path = Path(path)
    path = path / MODEL_FILE if path.is_dir() else path
    model = parse_model(read_yaml(path), str(path))
    weights = path.parent / model.weights
    try:
        tensors = safetensors.numpy.load_file(weights)
    except OSError as error:
        raise HwgenError(str(weights), expected=f"the weights file named by `weights` in {path.name}",
                         found=error.strerror or str(error), mend="put it beside the YAML file") from None
    except Exception as error:  # safetensors raises its own class, KeyError for types NumPy lacks, and others
        raise HwgenError(str(weights), expected="a safetensors file of integer tensors", found=str(error),
                         mend="export the model again") from None
    check_tensors(model, tensors, str(weights))
    return Description(model, {name: tensors[name] for name in sorted(tensors)}, path)


def save(description: Description, directory: Path | str) -> Path:
    """Check and write `model.yaml` and the weights; the same description gives the same bytes. Returns the YAML."""
    check(description)
    directory = Path(directory)
    model = description.model
    document = model.model_dump(exclude_none=True)
    document["scales"] = {name: float(model.scales[name]) for name in sorted(model.scales)}
    for key in LEFT_OUT:
        if not document[key]:
            del document[key]
    for part in document["layers"] + document["tasks"]:
        for key, usual in (("windows", 1), ("gated", False)):
            if part.get("mlp", {}).get(key) == usual:
                del part["mlp"][key]
    text = dump_yaml(document)
    arrays = {name: np.ascontiguousarray(description.tensors[name]) for name in sorted(description.tensors)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / MODEL_FILE).write_text(text, "utf-8")
        (directory / model.weights).write_bytes(safetensors.numpy.save(arrays))
    except OSError as error:
        raise HwgenError(str(directory), expected="a directory that can be written", found=error.strerror or str(error),
                         mend="choose another output directory") from None
    return directory / MODEL_FILE
