"""Archives from elsewhere: named for what they are, and refused before anything large is made of them."""

import io
import time
import zipfile

import numpy as np
import pytest

from hwgen.common.archive import is_zip, names_in, read_npy, read_npz, sniff
from hwgen.common.errors import HwgenError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (POINTER.encode(), "a git-LFS pointer, not the file itself"), (b"PK\x03\x04..", "a zip archive"),
        (b"\x89PNG\r\n", "a PNG picture"), (b"BM....", "a BMP picture"), (b"RIFF....WEBPVP8 ", "a WebP picture"),
        (b"<!DOCTYPE html>", "a web page"), (b"\x89HDF\r\n", "an HDF5 file (Keras)"), (b"", "an empty file"),
        (b"text", "a file that begins with 'text'"), (b"\0\1\2", "a file that begins with 00 01 02"),
    ],
)  # fmt: skip
def test_what_a_file_is(tmp_path, head, kind):
    (tmp_path / "x").write_bytes(head)
    assert sniff(tmp_path / "x") == kind
    assert sniff(tmp_path / "lost") == "No such file or directory"


def test_arrays(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.arange(6).reshape(2, 3), b=np.float32(3), c=np.asfortranarray(np.eye(3)[:, :2]))
    found = read_npz(path, "an archive")
    assert is_zip(path) and names_in(path) == list(found) == ["a", "b", "c"]
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["b"] == 3
    assert (found["c"] == np.eye(3)[:, :2]).all()
    assert list(read_npz(path, "an archive", lambda name: name == "b")) == ["b"]
    np.save(tmp_path / "a.npy", np.arange(3))
    assert read_npy(tmp_path / "a.npy", "an array").tolist() == [0, 1, 2]


def message(path, read=read_npz):
    start = time.monotonic()
    with pytest.raises(HwgenError) as caught:
        read(path, "an archive")
    assert time.monotonic() - start < 2
    return caught.value.text().replace(str(path), "FILE")


def header(shape, dtype="<f4"):
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_hostile_archives(tmp_path):
    path = tmp_path / "a.npz"
    for shape in ((10**12,), (10**9, 10**9), (2**62, 4)):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", header(shape) + bytes(64))
        assert message(path) == (
            f"FILE: a\n  expected: float32 {list(shape)} as its header says\n  found:    64 bytes\n"
            "  mend:     copy or download the file again"
        )
    np.savez(path, a=np.array([print], object))
    assert "found:    Python objects\n" in message(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"{" * 100)
    assert message(path).startswith("FILE\n  expected: an archive\n  found:    EOF: ")
    # The directory of the archive promises ten terabytes, as a bomb does.
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"x")
        archive.infolist()[0].file_size = 10**13
    assert "GB of this machine's memory\n  found:    1e+04 GB" in message(path)
    (tmp_path / "a.npy").write_bytes(header((10**12,)))
    assert "FILE\n  expected: float32 [1000000000000] as its header says\n  found:    0 bytes" in message(
        tmp_path / "a.npy", read_npy
    )


def test_other_files(tmp_path):
    path = tmp_path / "a.npz"
    path.write_text(POINTER)
    assert message(path) == (
        "FILE\n  expected: an archive\n  found:    a git-LFS pointer, not the file itself\n"
        "  mend:     git lfs pull, or download the file itself"
    )
    path.write_bytes(b"\x80\x04pickle")
    assert "pickled" not in message(path)
    assert message(tmp_path / "lost.npz").endswith("found:    No such file or directory\n  mend:     check the path")
