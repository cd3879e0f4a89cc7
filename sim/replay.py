"""How a build is simulated where nothing else is asked for: as usual, or as the case that `hwgen verify` saved with it.

Tested by tests/verify/test_run.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwgen.common.errors import HwgenError
from sim.job import CASE, Timing

__all__ = ["IMAGES", "setting"]

IMAGES = 4


def setting(folder: Path, images: int | None = None, **timing: int | None) -> tuple[int, Timing]:
    """How many images, and the memory: what is not None is asked for."""
    path = folder / CASE
    usual, count = Timing(), IMAGES
    if path.exists():
        try:
            case: dict[str, Any] = json.loads(path.read_text("utf-8"))
            facts = case["timing"]
            usual = Timing(**facts | {"weight_latency": tuple(facts["weight_latency"])})
            count = int(case["images"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HwgenError(str(path), expected="a case of `hwgen verify`", found=f"{type(error).__name__}: {error}",
                             mend="remove the file to simulate the build as any other") from None  # fmt: skip
    asked: dict[str, Any] = {name: value for name, value in timing.items() if value is not None}
    return images or count, replace(usual, **asked)
