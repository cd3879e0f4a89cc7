"""Coverage-guided bytes (atheris) in a file of a kind: `python -m tests.fuzz.bytes TARGET --seconds N`.

A fault is kept and ends it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

#: What is watched: where new lines are reached, bytes are kept to be changed further.
WATCHED = ("hwgen", "yaml", "json", "zipfile", "safetensors", "numpy.lib.format", "pydantic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with atheris.instrument_imports(include=list(WATCHED)):  # all of them are imported in here
        from tests.fuzz.__main__ import keep
        from tests.fuzz.guard import Fault
        from tests.fuzz.targets import prepared, tried

        home = Path(tempfile.mkdtemp(prefix="hwgen-fuzz-"))
        path, valid = prepared(given.target, home)
    corpus = home / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(valid)

    def one(data: bytes) -> None:
        try:
            tried(given.target, path, data)
        except Fault as fault:
            keep(given.target, path, data, fault)
            raise

    options = [f"-max_total_time={given.seconds}", f"-seed={given.seed}", f"-max_len={4 * len(valid) + 256}",
               "-rss_limit_mb=0", "-timeout=60", "-print_final_stats=1", f"-artifact_prefix={home}/"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
