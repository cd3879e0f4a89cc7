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


# --- errors


def message(path: Path, image: Image = COLOUR) -> str:
    with pytest.raises(HwgenError) as caught:
        load_images(path, image)
    return caught.value.text().replace(str(path.parent), "DIR")


def test_wrong_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert message(path) == (
        "DIR/a.npz\n  expected: a .npz file, a PNG or JPEG file, or a folder of these\n"
        "  found:    No such file or directory\n  mend:     check the path"
    )
    path.write_bytes(b"PK\x03\x04 no archive")
    assert message(path) == (
        "DIR/a.npz\n  expected: a .npz file, a PNG or JPEG file, or a folder of these\n"
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
    assert (
        message(tmp_path / "empty") == "DIR/empty\n  expected: a folder with PNG or JPEG files\n  found:    none in it"
    )
    assert message(tmp_path / "lost.png") == (
        "DIR/lost.png\n  expected: a PNG or JPEG file\n  found:    no such file\n  mend:     check the path"
    )
    picture(tmp_path / "a.png", 64, 64)
    data = (tmp_path / "a.png").read_bytes()
    for part in (data[: len(data) // 2], b"text", b""):
        (tmp_path / "a.png").write_bytes(part)
        assert message(tmp_path / "a.png").startswith("DIR/a.png\n  expected: a PNG or JPEG file\n  found:    ")
    picture(tmp_path / "a.png")
    assert message(tmp_path / "a.png", Image(height=4, width=6, channels=2)) == (
        "DIR/a.png\n  expected: .npz files, as the model's images have 2 channels\n  found:    a picture\n"
        "  mend:     PNG and JPEG serve for 1 or 3 channels"
    )


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert message(tmp_path / "a.png") == (
        "DIR/a.png\n  expected: Pillow, to read pictures\n  found:    no such module\n"
        "  mend:     pip install 'hwgen[images]', or give the images as .npz"
    )
