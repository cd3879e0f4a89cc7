"""What is known of a network from files beside its checkpoint, and where each of it was read.

Tested by tests/importers/test_beside.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import validate
from hwgen.importers.common import ImageSize, Overrides, show

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"


@dataclass
class Stated:
    """What the files in a folder state.

    values:  by key of Overrides
    origins: the file and key that states each
    taken:   of these, those which the user left open
    width:   of a token; None: not stated
    classes: of the head; None: not stated
    model_type: transformers' name of the architecture; None: not its file
    prepared: size of the images that the preprocessor makes; None: not stated
    """

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    width: int | None = None
    classes: int | None = None
    model_type: str | None = None
    prepared: ImageSize | None = None
    #: Files that were not understood.
    warnings: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, origin: str) -> None:
        """A value of `Overrides`, unless it is None; two files must not state different ones."""
        if value is None:
            return
        if show(self.values.get(key, value)) != show(value):
            expected = f"{show(self.values[key])}, as {self.origins[key]} states"
            raise HwgenError(str(self.folder), key, expected=expected, found=f"{show(value)} in {origin}",
                             mend="correct the wrong one of these files")  # fmt: skip
        self.values[key], self.origins[key] = value, origin

    def put_size(self, size: int | list[int], origin: str) -> None:
        """Of the image: a square's side, or height and width; anything else says nothing."""
        sizes = [size, size] if isinstance(size, int) else size
        if len(sizes) == 2:
            size_of = {"height": sizes[0], "width": sizes[1]}
            self.put("image_size", validate(ImageSize, size_of, f"{self.folder}: {origin}"), origin)

    def fill(self, overrides: Overrides) -> tuple[Overrides, list[str], list[str]]:
        """Overrides with what is stated where nothing is given; notes of what was taken, warnings of contradictions."""
        filled: dict[str, Any] = {}
        notes, warnings = [], list(self.warnings)
        for key, value in self.values.items():
            given, origin = getattr(overrides, key), self.origins[key]
            if key == "heads" and overrides.head_dim is not None:
                continue
            if given is None:
                filled[key], self.taken[key] = value, origin
                notes.append(f"{key} {show(value)}: stated by {origin}")
            elif key != "image_size" and show(given) != show(value):
                warnings.append(f"{key} {show(given)}, as given, though {origin} states {show(value)}")
        if "image_size" in filled and self.prepared not in (None, filled["image_size"]):
            size = show(self.prepared)
            notes.append(f"{PREPROCESSOR} makes images of {size}: for that size give --image-size {size}")
        return overrides.model_copy(update=filled), notes, warnings

    def check_classes(self, classes: int, warnings: list[str]) -> None:
        """Warn if the head has another number of classes than the files state."""
        if self.classes not in (None, 0, classes):
            warnings.append(f"{CONFIG} states {self.classes} classes, the head has {classes}")

    def check_width(self, width: int, where: str) -> None:
        """HwgenError if the files are another network's than the checkpoint's, `where`, whose tokens are so wide."""
        if self.width not in (None, width):
            expected = f"the network of {where}, whose tokens are {width} wide"
            raise HwgenError(str(self.folder / CONFIG), expected=expected, found=f"one of {self.width}",
                             mend="keep the checkpoint in a folder of its own, or remove that file")  # fmt: skip
