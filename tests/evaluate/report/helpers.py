"""Changes of a description."""

from collections.abc import Callable

import numpy as np

from hwgen.network.description import Description


def changed(description: Description, change: Callable[[dict[str, np.ndarray]], object]) -> Description:
    """A copy with other tensors."""
    tensors = {name: tensor.copy() for name, tensor in description.tensors.items()}
    change(tensors)
    return Description(description.model, tensors)
