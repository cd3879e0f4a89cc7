"""The quantized description: structure, tensors, and both as files. `docs/description.md` is the contract."""

from hwgen.network.description.files import MODEL_FILE, WEIGHTS_FILE, Description, check, load, parse_model, save
from hwgen.network.description.structure import (
    MAX_DIM,
    MAX_FALL,
    MAX_INPUTS,
    Activation,
    Count,
    DenseMlp,
    HeadKind,
    Image,
    Layer,
    Model,
    MoeMlp,
    Name,
    Patch,
    Task,
)
from hwgen.network.description.tensors import TensorSpec, check_tensors, expected_tensors, table_arrays

__all__ = [
    "MAX_DIM",
    "MAX_FALL",
    "MAX_INPUTS",
    "MODEL_FILE",
    "WEIGHTS_FILE",
    "Activation",
    "Count",
    "DenseMlp",
    "Description",
    "HeadKind",
    "Image",
    "Layer",
    "Model",
    "MoeMlp",
    "Name",
    "Patch",
    "Task",
    "TensorSpec",
    "check",
    "check_tensors",
    "expected_tensors",
    "load",
    "parse_model",
    "save",
    "table_arrays",
]
