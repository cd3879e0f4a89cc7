"""What killed processes left behind is swept away when it is old, and nothing else."""

import os
import time

from hwgen.common.leftovers import sweep

TWO_DAYS = 2 * 24 * 3600


def old(path):
    path.mkdir(parents=True)
    (path / "file").write_text("x")
    for one in (path / "file", path):
        os.utime(one, (time.time() - TWO_DAYS,) * 2)
    return path


def test_old_directories_only(tmp_path):
    kept = [old(tmp_path / "other"), old(tmp_path / "build-busy"), tmp_path / "build-new", tmp_path / "build-file"]
    (tmp_path / "build-busy" / "file").write_text("still at work")
    os.utime(tmp_path / "build-busy", (time.time() - TWO_DAYS,) * 2)
    (tmp_path / "build-new").mkdir()
    (tmp_path / "build-file").write_text("x")
    os.utime(tmp_path / "build-file", (time.time() - TWO_DAYS,) * 2)
    gone = old(tmp_path / "build-1")
    (tmp_path / "build-link").symlink_to(tmp_path / "other")
    sweep(tmp_path, "build-*")
    assert not gone.exists()
    assert all(path.exists() for path in kept)
    sweep(tmp_path / "nowhere", "build-*")
