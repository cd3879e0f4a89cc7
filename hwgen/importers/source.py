"""The tensors of a checkpoint, taken one by one with a check of name, type, shape and values; none may be left over.

Tested by tests/importers/test_timm.py.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping

import numpy as np

from hwgen.common.errors import HwgenError

#: A size of a shape that the tensor itself tells.
ANY = -1
DIGITS = re.compile(r"\d+")


def _renamed(name: str, other: str) -> bool:
    """Whether one may be the other by mistake: the same tensor of another block is not."""
    return DIGITS.sub("#", name) != DIGITS.sub("#", other)


class Source:
    """Named tensors of one checkpoint; `where` is its path in messages, `called` the checkpoint's own names of tensors
    that were renamed.
    """

    def __init__(
        self, tensors: Mapping[str, np.ndarray], where: str, called: Mapping[str, str] | None = None
    ) -> None:
        self.where = where
        self._tensors = dict(tensors)
        self._called = dict(called or {})

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self, pattern: str = "*") -> list[str]:
        """Names not taken yet, in the order of the checkpoint."""
        return fnmatch.filter(self._tensors, pattern)

    def called(self, name: str) -> str:
        """A tensor's name in the checkpoint itself."""
        return self._called.get(name, name)

    def raw(self, name: str) -> np.ndarray:
        """A tensor that stays to be taken, unchecked."""
        return self._tensors[name]

    def take(self, name: str, *shape: int) -> np.ndarray:
        """The tensor as finite float32 of this shape; ANY fits each size."""
        expected = f"float [{', '.join('any' if size == ANY else str(size) for size in shape)}]"
        if name not in self._tensors:
            close = difflib.get_close_matches(name, [other for other in self._tensors if _renamed(name, other)], 1, 0.8)
            raise HwgenError(self.where, name, expected=expected, found="no such tensor",
                             mend=f"did you mean `{self.called(close[0])}`?" if close else "")  # fmt: skip
        tensor = self._tensors.pop(name)
        fits = tensor.ndim == len(shape) and all(size in (ANY, found) for size, found in zip(shape, tensor.shape))
        if tensor.dtype.kind != "f" or not fits or not tensor.size:
            turned = tensor.ndim == 2 and tensor.T.shape == shape
            raise HwgenError(self.where, self.called(name), expected=expected,
                             found=f"{tensor.dtype.name} {list(tensor.shape)}",
                             mend="it looks transposed: weights are [out, in]" if turned else "")  # fmt: skip
        with np.errstate(over="ignore"):
            tensor = tensor.astype(np.float32, copy=False)  # one copy of a large network is enough
        if not np.isfinite(tensor).all():
            index = [int(i) for i in np.argwhere(~np.isfinite(tensor))[0]]
            raise HwgenError(self.where, self.called(name), expected="finite float32 numbers",
                             found=f"{tensor[tuple(index)]} at {index}", mend="take an earlier checkpoint")  # fmt: skip
        return tensor

    def take_all(self) -> dict[str, np.ndarray]:
        """All that are left, each in its own shape."""
        return {name: self.take(name, *self._tensors[name].shape) for name in self.names()}

    def take_or_zeros(self, name: str, *shape: int) -> np.ndarray:
        """As `take`; zeros where a checkpoint has no such tensor, as of a linear layer without bias."""
        return self.take(name, *shape) if name in self else np.zeros(shape, np.float32)

    def size(self, name: str, axis: int) -> int:
        """A size of a tensor that stays to be taken."""
        shape = self._tensors[name].shape if name in self else ()
        if axis >= len(shape):
            self.take(name, *[ANY] * (axis + 1))
        return int(shape[axis])

    def ignore(self, pattern: str) -> int:
        """Drop the tensors of these names; how many."""
        names = self.names(pattern)
        for name in names:
            del self._tensors[name]
        return len(names)

    def misplaced(self, name: str, what: str) -> HwgenError:
        """The error for a tensor that `what`, a kind of network, does not have."""
        return HwgenError(self.where, self.called(name), expected=f"only tensors of {what}",
                          found=f"a tensor {list(self._tensors[name].shape)} that has no place in it",
                          mend="this variant is not supported; docs/importing.md lists what is")  # fmt: skip

    def finish(self, what: str) -> None:
        """Raise HwgenError if a tensor was not taken."""
        for name in self._tensors:
            raise self.misplaced(name, what)
