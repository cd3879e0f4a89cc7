"""Designs that were looked at, in a file: what is there is not looked at again, whenever and however it ended."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

import hwgen
from hwgen.common.errors import HwgenError
from hwgen.config import Project
from hwgen.explore.evaluate import Design, Setting
from hwgen.explore.space import Point

__all__ = ["FILE", "Lines", "Store", "digests", "fingerprint"]

Key = TypeVar("Key")
Entry = TypeVar("Entry")

FILE = "designs.jsonl"
FORMAT = {"format": "hwgen-explore", "version": 1}


def digests(project: Project) -> dict[str, str]:
    """Of the models' files, by name."""
    found = {}
    for desc in project.models:
        assert desc.path is not None
        files = (desc.path, desc.path.parent / desc.model.weights)
        found[desc.model.name] = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return found


def fingerprint(setting: Setting, models: dict[str, str]) -> str:
    """Of what decides a design's figures beside its point: hwgen, the models' contents (digests by name), the rest of
    the configuration, memory, board, clock."""
    said = {"hwgen": hwgen.__version__, "models": models, "latency": setting.latency, "board": setting.board,
            "mhz": setting.mhz, "config": Path(setting.config).read_text("utf-8")}  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


class Lines(Generic[Key, Entry]):
    """Lines of a file, each an entry of what was found; one is added and flushed as soon as it is known, so an
    interruption costs no more than what was under way. A last line that was cut off is dropped.

    Entries of another mark are left alone. A class of its own says what an entry is."""

    what: str  #: an entry, in the file and in messages
    head: dict[str, Any]  #: the file's first line

    def __init__(self, path: Path, mark: str) -> None:
        self.path, self.mark = path, mark
        self.known: dict[Key, Entry] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._read()
            self._file: TextIO = self.path.open("a", encoding="utf-8")
            if not self.path.stat().st_size:
                self._write(self.head)
        except OSError as error:
            raise self._refused(error) from None

    def key(self, entry: Entry) -> Key:
        raise NotImplementedError

    def parse(self, data: dict[str, Any]) -> Entry:
        raise NotImplementedError

    def dump(self, entry: Entry) -> dict[str, Any]:
        raise NotImplementedError

    def add(self, entry: Entry) -> None:
        """Raises HwgenError where it cannot be written; what was written before stays."""
        self.known[self.key(entry)] = entry
        try:
            self._write({"mark": self.mark, self.what: self.dump(entry)})
        except OSError as error:
            raise self._refused(error) from None

    def close(self) -> None:
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _read(self) -> None:
        """Entries of the same mark; others, of an earlier state of the models or of another board, are left alone."""
        if not self.path.exists() or not self.path.stat().st_size:
            return
        try:
            text = self.path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HwgenError(str(self.path), expected=f"lines of {self.what}s in UTF-8", found=str(error),
                             mend="choose another --output, or move the file away") from None  # fmt: skip
        first, *lines = text.splitlines()
        try:
            head = json.loads(first)
        except (ValueError, RecursionError):
            head = None
        if head != self.head:
            raise HwgenError(str(self.path), expected=f"{self.what}s of this hwgen, {json.dumps(self.head)}",
                             found=first[:80], mend="choose another --output, or move the file away")  # fmt: skip
        for number, line in enumerate(lines, 2):
            try:
                read = json.loads(line)
                mark, entry = read["mark"], self.parse(read[self.what])
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, HwgenError):
                if number == len(lines) + 1 and not text.endswith("\n"):
                    self.path.write_text(text[: len(text) - len(line)], "utf-8")
                    continue
                raise HwgenError(str(self.path), f"line {number}", expected=f"a {self.what}", found=line[:80],
                                 mend="delete this line") from None  # fmt: skip
            if mark == self.mark:
                self.known[self.key(entry)] = entry

    def _refused(self, error: OSError) -> HwgenError:
        return HwgenError(str(self.path), expected="a file that can be written", found=str(error.strerror),
                          mend="start again when there is room: what was found so far is kept")  # fmt: skip


class Store(Lines[Point, Design]):
    """The designs in a folder."""

    what = "design"
    head = FORMAT

    def __init__(self, folder: Path, mark: str) -> None:
        super().__init__(folder / FILE, mark)

    def key(self, entry: Design) -> Point:
        return entry.point

    def parse(self, data: dict[str, Any]) -> Design:
        return Design.from_dict(data)

    def dump(self, entry: Design) -> dict[str, Any]:
        return entry.as_dict()
