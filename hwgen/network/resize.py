"""How pictures of another size become a model's images: as a whole, or the shorter side first and a crop."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hwgen.common.errors import HwgenError

#: Pillow's filters by name, at their numbers, which processors' configurations state.
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
WHOLE = "whole"


@dataclass(frozen=True)
class Resize:
    """short: pixels of the shorter side before the centre is cropped; None: as a whole, to the model's proportions."""

    short: int | None = None
    filter: str = "bicubic"

    def __str__(self) -> str:
        return f"{self.short or WHOLE}:{self.filter}"

    def text(self, height: int, width: int) -> str:
        """What was done, for images of this size."""
        if self.short is None:
            return f"resized to {height}x{width}, {self.filter}"
        return f"resized to {self.short} on the shorter side, {self.filter}, centre-cropped to {height}x{width}"

    def apply(self, picture: Any, height: int, width: int) -> Any:
        """A Pillow image of this size."""
        number = FILTERS.index(self.filter)
        if self.short is None:
            return picture if picture.size == (width, height) else picture.resize((width, height), number)
        scale = self.short / min(picture.size)
        # As torchvision does: the longer side is cut off to whole pixels.
        resized = tuple(self.short if side == min(picture.size) else int(side * scale) for side in picture.size)
        if resized != picture.size:
            picture = picture.resize(resized, number)
        left, top = (round((have - want) / 2) for have, want in zip(picture.size, (width, height)))
        return picture.crop((left, top, left + width, top + height))


AS_A_WHOLE = Resize()


def parse_resize(text: str, where: str, key: str, height: int = 0, width: int = 0) -> Resize:
    """`whole`, or pixels of the shorter side, and after a colon perhaps the filter. Not smaller than the crop."""
    found = re.fullmatch(rf"({WHOLE}|[1-9]\d{{0,4}})(?::({'|'.join(FILTERS)}))?", text)
    if not found:
        raise HwgenError(where, key, expected=f"`{WHOLE}` or pixels of the shorter side, then perhaps `:` and one of "
                         f"{', '.join(FILTERS)}", found=repr(text), mend="for example 256:bicubic")  # fmt: skip
    resize = Resize(None if found[1] == WHOLE else int(found[1]), found[2] or Resize.filter)
    if resize.short is not None and resize.short < max(height, width):
        expected = f"at least {max(height, width)} pixels, of which {height}x{width} are cropped"
        raise HwgenError(where, key, expected=expected, found=str(resize.short))
    return resize
