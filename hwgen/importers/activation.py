"""Activation functions of an MLP by the names of timm, PyTorch and transformers, and those the machine computes."""

from __future__ import annotations

from hwgen.common.errors import HwgenError
from hwgen.machine.tables import ACTIVATIONS

#: What hwgen can build.
SUPPORTED = tuple(ACTIVATIONS)
#: Other names of the activations, in small letters without `_` and `-`, as timm's `act_layer`, transformers'
#: `hidden_act` and PyTorch's classes have them. `gelu` is the exact one, by the error function.
_NAMES = {
    "gelu": "gelu", "geluexact": "gelu", "gelupython": "gelu",
    "gelutanh": "gelu_tanh", "gelunew": "gelu_tanh", "gelufast": "gelu_tanh", "gelupytorchtanh": "gelu_tanh",
    "quickgelu": "quick_gelu",
    "silu": "silu", "swish": "silu", "relu": "relu", "hardswish": "hardswish",
}  # fmt: skip


def canonical(name: str) -> str:
    """hwgen's name of an activation; of one it does not know, the name itself."""
    return _NAMES.get(name.lower().replace("_", "").replace("-", ""), name)


def check_activation(name: str, where: str, mend: str = "") -> str:
    """The canonical name; HwgenError unless the machine computes it. `where` names the file, `mend` who stated it."""
    found = canonical(name)
    if found not in SUPPORTED:
        raise HwgenError(where, "activation", expected=" or ".join(SUPPORTED), found=repr(name),
                         mend=mend or "hwgen's machine has no table of another activation")  # fmt: skip
    return found
