"""Features that a model needs of an accelerator (`hwgen.machine.params.FEATURES`).

Tested by tests/compiler/test_layout.py.
"""

from __future__ import annotations

from hwgen.common.errors import HwgenError
from hwgen.machine.params import HwParams
from hwgen.network.description import DenseMlp, Model

__all__ = ["check_features", "features"]


def features(model: Model) -> dict[str, str]:
    """Those it needs, and what they are called."""
    found = {}
    if model.rms_norm:
        found["rms_norm"] = "RMSNorm"
    if any(isinstance(layer.mlp, DenseMlp) and layer.mlp.gated for layer in model.layers):
        found["gated_mlp"] = "gated MLPs"
    return found


def check_features(model: Model, p: HwParams) -> None:
    """Raises HwgenError naming a feature that is not there."""
    for name, what in features(model).items():
        if not getattr(p, name):
            raise HwgenError(f"model {model.name}", name, expected=f"an accelerator with {what}", found="one without",
                             mend="generate an accelerator for this model")  # fmt: skip
