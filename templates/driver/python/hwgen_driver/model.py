"""One model of a build, as the host sees it: files for DRAM, how images go in, what the int16 that come out mean."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OtherBuild, UnknownTask, WrongFiles, WrongInput

MANIFEST = "manifest.json"


class Model:
    """The directory `path` of a build: the build itself, or one of its `models/NAME`.

    `shape`: of an image, [height, width, channels]; `batch`: images one run of the program takes; `tasks`: their
    entries in `memory_map.json`; `build_hash`: of the hardware it was compiled for.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        homes = [home for home in (self.path, *self.path.parents[:2]) if (home / MANIFEST).is_file()]
        if not homes:
            raise WrongFiles(f"{self.path} is not in a directory written by `hwgen build`: no {MANIFEST}")
        self.home = homes[0]
        try:
            self._load()
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, OSError) as error:
            files = f"{self.home / MANIFEST}, {self.path / 'memory_map.json'}"
            raise WrongFiles(f"{files}: {type(error).__name__}: {error}") from None

    def _load(self) -> None:
        manifest, self.map = _read(self.home / MANIFEST), _read(self.path / "memory_map.json")
        self.build_hash = int(manifest["build_hash"], 16)
        self._sums: dict[str, str] = manifest["files"]
        self.name: str = self.map["model"]
        self.tasks: dict[str, Any] = dict(self.map["tasks"])
        #: Byte offset of the program that clears the buffers, if the configuration asked for one.
        self.clear: int | None = self.map.get("clear", {}).get("entry")
        height, width, channels = (int(size) for size in self.map["input"]["shape"])
        self.shape = (height, width, channels)
        self.batch = int(self.map["batch"])
        align = self.map["alignment"]
        self.input_stride = -(-self.map["input"]["bytes"] // align) * align
        self.program = self._contents("program")[0]
        self.weights = self._contents("weights")

    def _contents(self, region: str) -> list[bytes]:
        """The files of a region, checked against memory map and manifest."""
        found = []
        entry = self.map[region]
        for part in entry.get("ports", [entry]):
            file = self.path / part["file"]
            if not file.is_file():
                raise WrongFiles(f"{file} is missing")
            data = file.read_bytes()
            if len(data) != part["bytes"]:
                raise WrongFiles(f"{file} has {len(data)} bytes, not {part['bytes']}")
            if hashlib.sha256(data).hexdigest() != self._sums[file.relative_to(self.home).as_posix()]:
                raise WrongFiles(f"{file} has other contents than {self.home / MANIFEST} says")
            found.append(data)
        return found

    def check_build(self, build_hash: int) -> None:
        """OtherBuild unless the accelerator with this hash can run the model."""
        if build_hash != self.build_hash:
            raise OtherBuild(f"bitstream 0x{build_hash:016x}, {self.path} 0x{self.build_hash:016x}")

    def task(self, name: str | None) -> tuple[str, dict[str, Any]]:
        """Name and entry of a task; None: the only one."""
        names = list(self.tasks)
        if name is None and len(names) == 1:
            name = names[0]
        if name not in self.tasks:
            raise UnknownTask(f"{name!r}; {self.name} has {', '.join(names)}")
        return name, self.tasks[name]

    def check_images(self, images: Any) -> np.ndarray:
        """uint8 [n, height, width, channels] of one or more images; a single channel may be left out."""
        images = np.asarray(images)
        if images.ndim == 3 and self.shape[2] == 1:
            images = images[..., None]
        if images.dtype != np.uint8 or images.shape[1:] != self.shape or not len(images):
            expected = ", ".join(map(str, self.shape))
            raise WrongInput(f"{images.dtype} {list(images.shape)}, expected uint8 [n, {expected}]")
        return images

    def runs(self, images: int) -> int:
        """Runs of the program that so many images take."""
        return -(-images // self.batch)

    def output_stride(self, task: dict[str, Any]) -> int:
        """Bytes from one run's outputs to the next's."""
        align = self.map["alignment"]
        return -(-task["output"]["bytes"] // align) * align

    def pack(self, images: np.ndarray, region: np.ndarray) -> None:
        """Write checked images into the input region, uint8 [runs · input_stride]; the last one fills a run up."""
        runs, pitch, size = self.runs(len(images)), self.map["input"]["image_pitch"], images[0].size
        rows = region.reshape(runs, self.input_stride)
        flat = images.reshape(len(images), size)
        for slot in range(self.batch):
            chosen = flat[slot :: self.batch]
            place = rows[:, slot * pitch : slot * pitch + size]
            place[: len(chosen)] = chosen
            place[len(chosen) :] = flat[-1]

    def unpack(self, task: dict[str, Any], region: np.ndarray, images: int) -> np.ndarray:
        """int16 [images, rows, columns] from the output region, uint8 [runs · output_stride]."""
        output = task["output"]
        size = self.batch * output["rows"] * output["row_pitch"]  # behind it may be what the accelerator keeps there
        runs = region.reshape(self.runs(images), self.output_stride(task))[:, :size]
        words = np.ascontiguousarray(runs).view("<i2").reshape(-1, output["rows"], output["row_pitch"] // 2)
        return words[:images, :, : output["columns"]].astype(np.int16)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise WrongFiles(f"{path}: {error}") from None
