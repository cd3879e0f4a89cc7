"""PYNQ driver of an accelerator made by hwgen.

    from hwgen_driver import HwgenOverlay

    with HwgenOverlay("design.bit", "out") as acc:           # out: what `hwgen build` wrote
        logits = acc.run(image, task="digit")                # uint8 in, real numbers out

`Accelerator` alone is bound to the IP of any overlay: `acc = pynq.Overlay("design.bit").hwgen_accelerator_0`.
"""

from .accelerator import Accelerator
from .errors import *  # noqa: F403
from .model import Model
from .overlay import HwgenOverlay

__all__ = ["Accelerator", "HwgenOverlay", "Model"]
