"""Images from archives, pictures and folders; what is wrong with them is said by file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from hwgen.common.errors import HwgenError
from hwgen.network.description import Image
from hwgen.network.images import ANY_TASK, load_images

COLOUR = Image(height=4, width=6, channels=3)
GREY = Image(height=4, width=6, channels=1)


def picture(path: Path, height: int = 4, width: int = 6, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    return pixels


def test_archive(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(5), labels_depth=np.ones((5, 2, 3)), other=[object])
    images, labels = load_images(tmp_path / "a.npz", COLOUR)
    np.testing.assert_array_equal(images, pixels)
    assert labels is not None
    assert {task: values.shape for task, values in labels.items()} == {ANY_TASK: (5,), "depth": (5, 2, 3)}
    images, labels = load_images(tmp_path / "a.npz", COLOUR, 2)
    assert labels is not None
    assert (len(images), labels[ANY_TASK].tolist(), labels["depth"].shape) == (2, [0, 1], (2, 2, 3))


def test_grey_archive_without_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.full((2, 4, 6), 7, np.uint8))
    images, labels = load_images(tmp_path / "a.npz", GREY)
    assert (images.shape, labels) == ((2, 4, 6, 1), None)


def test_folder_in_the_order_of_names(tmp_path: Path) -> None:
    wanted = [picture(tmp_path / name, seed=seed) for seed, name in enumerate(["a.png", "b.PNG", "c.png"])]
    (tmp_path / "README.txt").write_text("not a picture")
    images, labels = load_images(tmp_path, COLOUR)
    np.testing.assert_array_equal(images, wanted)
    assert labels is None
    assert len(load_images(tmp_path, COLOUR, 2)[0]) == 2


def test_one_picture_of_any_kind(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png")
    PIL.Image.fromarray(pixels).save(tmp_path / "a.jpeg", quality=95)
    images, _ = load_images(tmp_path / "a.jpeg", COLOUR)
    assert images.shape == (1, 4, 6, 3)
    grey, _ = load_images(tmp_path / "a.png", GREY)
    luma = pixels @ [0.299, 0.587, 0.114]
    assert np.abs(grey[0, ..., 0] - luma).max() <= 1
    PIL.Image.fromarray(pixels[..., 0]).save(tmp_path / "g.png")
    images, _ = load_images(tmp_path / "g.png", COLOUR)
    assert (images == pixels[None, ..., :1]).all()


def test_other_sizes_are_resized_and_said(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    PIL.Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(tmp_path / "b.png")
    notes: list[str] = []
    images, _ = load_images(tmp_path, COLOUR, note=notes.append)
    assert (images[1] == 99).all()
    assert notes == ["1 of 2 images resized to 4x6, bicubic"]
    load_images(tmp_path / "a.png", COLOUR, note=notes.append)
    assert len(notes) == 1


def test_grey_of_sixteen_bits_is_scaled(tmp_path: Path) -> None:
    """All above 255 was once white. Black stays black, white white."""
    deep = np.array([[0, 128, 129, 257], [32768, 40000, 65407, 65535]], np.uint16)
    wanted = np.round(deep / 257)
    image, notes = Image(height=2, width=4, channels=1), list[str]()
    PIL.Image.fromarray(deep).save(tmp_path / "a.png")
    PIL.Image.fromarray(deep).save(tmp_path / "b.tif")
    PIL.Image.fromarray(deep.astype(np.int32)).save(tmp_path / "c.tiff")
    images, _ = load_images(tmp_path, image, note=notes.append)
    assert (images[..., 0] == wanted).all()
    assert notes == ["3 of 3 images of 16 bits scaled to 8"]
    assert (load_images(tmp_path / "a.png", Image(height=2, width=4, channels=3))[0] == wanted[..., None]).all()
    PIL.Image.fromarray(deep.astype(np.float32) / 7).save(tmp_path / "d.tif")
    assert "found:    grey from 0 to 9362.14, of which neither black nor white is known" in message(
        tmp_path / "d.tif", image
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_the_camera_was_held(tmp_path: Path, orientation: int) -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    # By EXIF's definition: row 0 and column 0 of the file are these sides of what was seen.
    stored = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.swapaxes(0, 1),
              6: np.rot90(pixels), 7: pixels[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(pixels, -1)}  # fmt: skip
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(np.ascontiguousarray(stored[orientation])).save(tmp_path / "a.png", exif=exif)
    notes: list[str] = []
    images, _ = load_images(tmp_path / "a.png", COLOUR, note=notes.append)
    assert (images[0] == pixels).all()
    assert notes == (["1 of 1 images turned as their EXIF orientation says"] if orientation > 1 else [])


@pytest.mark.parametrize("suffix", ["bmp", "tif", "tiff", "webp", "PNG"])
def test_other_kinds_of_pictures(tmp_path: Path, suffix: str) -> None:
    pixels = picture(tmp_path / "a.png")
    options = {"lossless": True} if suffix == "webp" else {}
    PIL.Image.fromarray(pixels).save(tmp_path / f"b.{suffix}", **options)
    assert (load_images(tmp_path / f"b.{suffix}", COLOUR)[0] == pixels).all()
    assert len(load_images(tmp_path, COLOUR)[0]) == 2


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "LA", "1", "L"])
def test_pixels_of_other_kinds(tmp_path: Path, mode: str) -> None:
    """Transparency is dropped."""
    pixels = PIL.Image.fromarray(picture(tmp_path / "x.png")).convert(mode)
    pixels.save(tmp_path / "a.tif")
    assert (load_images(tmp_path / "a.tif", COLOUR)[0] == np.asarray(pixels.convert("RGB"))).all()


def test_folders_of_classes(tmp_path: Path) -> None:
    """One of each in turn, so that the first few are of many classes; labels where it is certain what they are."""
    wanted = {}
    for number, name in enumerate(["ant", "bee", "cat"]):
        (tmp_path / name / "deep").mkdir(parents=True)
        wanted[name] = [picture(tmp_path / name / file, seed=10 * number + file_number)
                        for file_number, file in enumerate(["a.png", "deep/b.png", "x.png"][: 3 - number])]  # fmt: skip
    (tmp_path / ".hidden").mkdir()
    picture(tmp_path / ".hidden" / "a.png")
    notes: list[str] = []
    images, labels = load_images(tmp_path, COLOUR, note=notes.append)
    order = [("ant", 0), ("bee", 0), ("cat", 0), ("ant", 1), ("bee", 1), ("ant", 2)]
    assert all((image == wanted[name][number]).all() for image, (name, number) in zip(images, order, strict=True))
    assert labels is None and notes == ["6 images of 3 sub-folders, one of each in turn"]
    _, labels = load_images(tmp_path, COLOUR, 4, notes.append, classes={3, 10})
    assert labels is not None and labels[ANY_TASK].tolist() == [0, 1, 2, 0]
    assert notes[-1] == "labels: the 3 sub-folders in the order of their names"
    for name, number in (("ant", "7"), ("bee", "03"), ("cat", "10")):
        (tmp_path / name).rename(tmp_path / number)
    _, labels = load_images(tmp_path, COLOUR, note=notes.append, classes={3})
    assert labels is not None and labels[ANY_TASK].tolist() == [3, 10, 7, 3, 7, 7]
    assert notes[-1] == "labels: the numbers of the 3 sub-folders"
    picture(tmp_path / "loose.png")
    assert load_images(tmp_path, COLOUR, classes={3, 4})[1] is None


def test_one_array(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    assert (load_images(tmp_path / "a.npy", COLOUR, 2)[0] == pixels[:2]).all()
    np.save(tmp_path / "a.npy", pixels[0])
    assert (load_images(tmp_path / "a.npy", COLOUR)[0] == pixels[:1]).all()
    np.save(tmp_path / "a.npy", pixels[..., 0])
    assert (load_images(tmp_path / "a.npy", GREY)[0] == pixels[..., :1]).all()
    np.save(tmp_path / "a.npy", pixels / 255)
    assert message(tmp_path / "a.npy") == (
        "DIR/a.npy: images\n  expected: uint8 [at least 1, 4, 6, 3]\n  found:    float64 [3, 4, 6, 3]"
    )


def test_example_of_edge_moe(tmp_path: Path) -> None:
    """Its pixels are k/256, channel by channel."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path, notes = tmp_path / "image.float32.bin", list[str]()
    (pixels.transpose(2, 0, 1) / 256).astype("<f4").tofile(path)
    assert (load_images(path, COLOUR, note=notes.append)[0] == pixels).all() and notes == []
    (pixels.transpose(2, 0, 1) / 255).astype("<f4").tofile(path)
    found = load_images(path, COLOUR, note=notes.append)[0][0]
    assert (found == np.minimum(np.floor(np.float32(pixels / 255) * 256), 255)).all()
    assert len(notes) == ((pixels == 255).any())
    assert "expected: 96 bytes: float32 [1, 4, 6] in 0..1\n  found:    288 bytes" in message(path, GREY)
    (pixels.transpose(2, 0, 1)).astype("<f4").tofile(path)
    assert "in 0..1\n  found:    " in message(path)
    assert "No such file" in message(tmp_path / "lost.float32.bin")


# --- errors


def message(path: Path, image: Image = COLOUR) -> str:
    with pytest.raises(HwgenError) as caught:
        load_images(path, image)
    return caught.value.text().replace(str(path.parent), "DIR")


def test_wrong_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert message(path) == (
        "DIR/a.npz\n  expected: a .npz or .npy file, a picture (PNG, JPEG, WebP, BMP, TIFF), or a folder of these\n"
        "  found:    No such file or directory\n  mend:     check the path"
    )
    path.write_bytes(b"PK\x03\x04 no archive")
    assert message(path) == (
        "DIR/a.npz\n  expected: a .npz or .npy file, a picture (PNG, JPEG, WebP, BMP, TIFF), or a folder of these\n"
        "  found:    File is not a zip file\n  mend:     copy or download the file again"
    )
    np.savez(path, pictures=np.zeros(3), more=np.zeros(3))
    assert message(path) == "DIR/a.npz: images\n  expected: an array `images`\n  found:    more, pictures"
    np.savez(path, images=np.zeros((2, 4, 5, 3), np.uint8))
    expected = "DIR/a.npz: images\n  expected: uint8 [at least 1, 4, 6, 3]\n  found:    "
    assert message(path) == expected + "uint8 [2, 4, 5, 3]"
    np.savez(path, images=np.zeros((2, 4, 6, 3), np.float32))
    assert message(path) == expected + "float32 [2, 4, 6, 3]"
    np.savez(path, images=np.zeros((0, 4, 6, 3), np.uint8))
    assert message(path) == expected + "uint8 [0, 4, 6, 3]"
    np.savez(path, images=np.zeros((2, 4, 6), np.uint8))
    assert message(path) == expected + "uint8 [2, 4, 6]"


def test_wrong_labels(tmp_path: Path) -> None:
    path, images = tmp_path / "a.npz", np.zeros((2, 4, 6, 3), np.uint8)
    np.savez(path, images=images, labels_x=np.zeros(3, int))
    assert message(path) == (
        "DIR/a.npz: labels_x\n  expected: numbers [2, ...], a row per image\n  found:    int64 [3]"
    )
    np.savez(path, images=images, labels=np.array(["cat", "dog"]))
    assert "a.npz: labels\n  expected: numbers [2, ...], a row per image\n  found:    str" in message(path)


def test_wrong_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert message(tmp_path / "empty") == (
        "DIR/empty\n  expected: a folder with pictures (PNG, JPEG, WebP, BMP, TIFF)\n  found:    none in it\n"
        "  mend:     the folder is empty"
    )
    assert message(tmp_path / "lost.png") == (
        "DIR/lost.png\n  expected: a PNG, JPEG, WebP, BMP or TIFF file\n  found:    no such file\n"
        "  mend:     check the path"
    )
    picture(tmp_path / "a.png", 64, 64)
    data = (tmp_path / "a.png").read_bytes()
    for part in (data[: len(data) // 2], b"text", b""):
        (tmp_path / "a.png").write_bytes(part)
        expected = "DIR/a.png\n  expected: a PNG, JPEG, WebP, BMP or TIFF file\n  found:    "
        assert message(tmp_path / "a.png").startswith(expected)
    picture(tmp_path / "a.png")
    assert message(tmp_path / "a.png", Image(height=4, width=6, channels=2)) == (
        "DIR/a.png\n  expected: .npz files, as the model's images have 2 channels\n  found:    a picture\n"
        "  mend:     pictures serve for 1 or 3 channels"
    )


def test_files_that_are_something_else(tmp_path: Path) -> None:
    """Named for what they are; NumPy's advice to trust the file is not given."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    for name in ("a.png", "a.npz", "a.jpg"):
        (tmp_path / name).write_text(pointer)
        assert message(tmp_path / name).endswith(
            "found:    a git-LFS pointer, not the file itself\n  mend:     git lfs pull, or download the file itself"
        )
    PIL.Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "x.gif")
    assert message(tmp_path / "x.gif").endswith("or a folder of these\n  found:    a GIF picture")
    (tmp_path / "x.dat").write_bytes(b"\x80\x04pickle")
    assert "allow_pickle" not in message(tmp_path / "x.dat") and "trust" not in message(tmp_path / "x.dat")


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert message(tmp_path / "a.png") == (
        "DIR/a.png\n  expected: Pillow, to read pictures\n  found:    no such module\n"
        "  mend:     pip install 'hwgen[images]', or give the images as .npz"
    )
