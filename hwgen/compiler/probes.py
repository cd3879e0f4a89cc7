"""Where to find a model's intermediate tensors in the buffers while a program runs.

Tested by tests/sim/test_probes.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Probe"]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A tensor (or a part of it) that lies in a buffer once an instruction has retired.

    Element [tensor_row + i, column + j] of the tensor is channel `channels[j]` of the buffer's row `row_begin + i`,
    where a row's words start as docs/architecture.md says for `base` and `stride`. In `buffer` QUEUE there are no
    addresses: the tensor is `expert`'s queue, in which each entry also has the token's gate weight.
    """

    instruction: int  #: index in the task's program
    tensor: str  #: name as in docs/description.md
    buffer: str  #: X, Y, H, K, V, LOGITS, SCORE or QUEUE
    base: int = 0
    stride: int = 0
    row_begin: int = 0
    row_end: int | None = None  #: None: as many rows as the tensor has (an expert's queue)
    tensor_row: int = 0
    column: int = 0
    channels: Sequence[int] = ()
    head: int | None = None  #: index of a leading axis of the tensor, if it has one
    expert: int | None = None  #: whose queue the rows are; no such row if the queue is empty
    tokens: tuple[int, int] | None = None  #: in that queue there are only those from here to before there

    def queued(self, tensors: Mapping[str, NDArray]) -> slice:
        """The part of the tensor of a queue that is in it; `tensors`: the golden model's."""
        tokens = tensors[f"{self.tensor.rpartition('.')[0]}.tokens"]
        begin, end = self.tokens or (0, 1 << 30)
        return slice(*np.searchsorted(tokens, (begin, end)).tolist())
