"""Spoils files of a kind for a while: `python -m tests.fuzz [TARGET ...] --seconds N --seed S`. A fault is kept."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz.guard import Fault
from tests.fuzz.targets import TARGETS, prepared, tried
from tests.paths import ROOT

KEPT = ROOT / "build" / "fuzz"


def keep(name: str, path: Path, data: bytes, fault: Fault) -> None:
    folder = KEPT / name
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / (hashlib.sha256(data).hexdigest()[:12] + "".join(path.suffixes))
    place.write_bytes(data)
    print(f"FAULT {name}: {place} ({len(data)} bytes): {str(fault)[:300]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="*", help="default: each in turn")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = given.target or list(TARGETS)
    faults: Counter[str] = Counter()
    for name in names:
        with tempfile.TemporaryDirectory(prefix="hwgen-fuzz-") as home:
            path, data = prepared(name, Path(home))
            end, count, refused = time.monotonic() + given.seconds / len(names), 0, 0
            while time.monotonic() < end:
                dice = Random(f"{name} {given.seed} {count}")
                made = TARGETS[name].spoil(dice, data)
                try:
                    refused += tried(name, path, made) is not None
                except Fault as fault:
                    text = str(fault)[:60]
                    faults[text] += 1
                    if faults[text] <= 2:
                        keep(name, path, made, fault)
                count += 1
            print(f"{name}: {count} files, {refused} refused, {count - refused} taken", flush=True)
    print(f"{sum(faults.values())} faults of {len(faults)} kinds")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
