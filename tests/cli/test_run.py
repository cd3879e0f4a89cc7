"""`hwgen run`: outputs of the golden model on archives and pictures, what is printed and written, errors."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from golden.model import Golden
from hwgen.network import description
from hwgen.network.description import Description
from hwgen.quantize import read_job
from tests.command import run_command
from tests.paths import MNIST
from tests.random_model import random_description, random_images

TASKS = [
    {"name": "file", "head": "class_token", "outputs": 7, "norm": True},
    {"name": "map", "head": "every_token", "outputs": 3, "norm": False},
    {"name": "depth", "head": "mean", "outputs": 1, "norm": True},
    {"name": "raw", "head": "none", "norm": False},
    {"name": "pair", "head": "class_token", "outputs": 2, "norm": True},
]


@pytest.fixture
def hwgen(monkeypatch, capsys):
    """Runs `hwgen run`; returns exit code, standard output, standard error."""

    return partial(run_command, monkeypatch, capsys, "run")


@pytest.fixture
def made(tmp_path) -> tuple[Description, np.ndarray]:
    """A saved model with every kind of output, and images.npz without labels."""
    desc = random_description(
        4, class_token=True, tasks=TASKS, image={"height": 6, "width": 8, "channels": 3},
        patch={"height": 3, "width": 4}, scales={"tasks.file.output": 0.5, "tasks.map.output": 2.0},
    )  # fmt: skip
    description.save(desc, tmp_path / "model")
    images = random_images(desc, 3, 0)
    np.savez(tmp_path / "images.npz", images=images)
    return desc, images


def test_every_kind_of_output(hwgen, tmp_path, made):
    desc, images = made
    code, printed, _ = hwgen(tmp_path / "model", tmp_path / "images.npz", "-o", tmp_path / "out.json")
    assert code == 0
    golden = Golden(desc)
    outputs = {task["name"]: golden.run(images, task["name"]).output.astype(int) for task in TASKS}
    best = sorted(range(7), key=lambda index: (-outputs["file"][1, 0, index], index))[:5]
    top = ", ".join(f"{index} ({outputs['file'][1, 0, index] / 2:.2f})" for index in best)
    winners = outputs["map"][1].argmax(-1).tolist()
    counts = ", ".join(f"{winner} ({winners.count(winner)})" for winner in sorted(set(winners)))
    low, high = outputs["map"][1].min() * 2.0, outputs["map"][1].max() * 2.0
    raw = outputs["raw"][1] / 2 ** desc.model.stream_bits[-1]
    scores = outputs["pair"][1, 0]
    pair = ", ".join(f"{index} ({scores[index]:.2f})" for index in np.argsort(-scores))
    assert printed.splitlines()[5:10] == [
        f"image 1  file: {top}",
        f"image 1  map: 4 x 3 from {low:.4g} to {high:.4g}; classes {counts}",
        f"image 1  depth: {outputs['depth'][1, 0, 0]:.4g}",
        f"image 1  raw: 5 x {desc.model.dim} from {raw.min():.4g} to {raw.max():.4g}",
        f"image 1  pair: {pair}",
    ]
    assert len(printed.splitlines()) == 15
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["model"] == "random" and list(found["tasks"]) == [task["name"] for task in TASKS]
    assert [index for index, _ in found["tasks"]["file"]["images"][1]["top"]] == best
    assert found["tasks"]["map"]["step"] == 2.0 and found["tasks"]["file"]["metrics"] == {}
    assert found["tasks"]["map"]["images"][2]["shape"] == [4, 3]


def test_numbers_are_those_of_the_golden_model(hwgen, tmp_path, made):
    desc, images = made
    args = (tmp_path / "model" / "model.yaml", tmp_path / "images.npz", "--task", "raw", "--task", "file")
    code, printed, _ = hwgen(*args, "--count", 2, "-o", tmp_path / "out.npz")
    assert code == 0 and len(printed.splitlines()) == 4
    with np.load(tmp_path / "out.npz") as found:
        assert sorted(found.files) == ["file.output", "file.values", "raw.output", "raw.values"]
        for task, step in (("file", 0.5), ("raw", 2.0 ** -desc.model.stream_bits[-1])):
            wanted = Golden(desc).run(images[:2], task).output
            assert np.array_equal(found[f"{task}.output"], wanted) and found[f"{task}.output"].dtype == np.int16
            assert np.array_equal(found[f"{task}.values"], wanted * np.float32(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.npz", "model", "out.npz"]


def test_pictures(hwgen, tmp_path, made):
    """A picture of the right size is the image itself, others are resized, which is said."""
    _, images = made
    Image.fromarray(images[0]).save(tmp_path / "one.png")
    for name in ("one.png", "images.npz"):
        hwgen(tmp_path / "model", tmp_path / name, "--count", 1, "-o", tmp_path / f"{name}.npz")
    first, second = (np.load(tmp_path / f"{name}.npz")["map.output"] for name in ("one.png", "images.npz"))
    assert np.array_equal(first, second)
    Image.fromarray(images[0]).resize((80, 60)).save(tmp_path / "large.png")
    code, printed, _ = hwgen(tmp_path / "model", tmp_path / "large.png")
    assert code == 0 and "1 of 1 images resized to 6x8" in printed


def test_example_with_labels(hwgen):
    """The archive's labels are classes of the head with one row. No more than 20 images are printed."""
    code, printed, _ = hwgen(MNIST / "model", MNIST / "test.npz", "--count", 40, "--task", "digit")
    lines = printed.splitlines()
    assert code == 0 and len(lines) == 22
    with np.load(MNIST / "test.npz") as archive:
        images, labels = archive["images"][:40, ..., None], archive["labels"][:40]
    predicted = Golden(description.load(MNIST / "model")).run(images, "digit").output[:, 0].argmax(-1)
    assert [int(line.split()[3]) for line in lines[:20]] == predicted[:20].tolist()
    assert lines[20] == "... and 20 more images; --output writes them all"
    assert lines[21] == f"digit: top1 {(predicted == labels).mean():.2%} of 40 images"


def test_dense_labels_and_values(hwgen, tmp_path, made):
    desc, images = made
    wanted = Golden(desc).run(images, "map").output.argmax(-1)
    depth = Golden(desc).run(images, "depth").output[:, 0, 0] + 1.5
    np.savez(tmp_path / "labelled.npz", images=images, labels_map=wanted, labels_depth=depth)
    printed = hwgen(tmp_path / "model", tmp_path / "labelled.npz")[1].splitlines()
    assert printed[-3:] == [
        "map: top1 100.00% of 3 images", "map: miou 100.00% of 3 images", "depth: mae 1.5 of 3 images",
    ]  # fmt: skip


def refused(hwgen, tmp_path, text, *args):
    """Exit code 2, this message, no traceback, nothing written."""
    before = sorted(tmp_path.rglob("*"))
    code, out, err = hwgen(*args)
    assert code == 2 and "Traceback" not in out + err
    assert err.replace(str(tmp_path), "DIR").strip() == text
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("made")
def test_errors(hwgen, tmp_path):
    model, data = tmp_path / "model", tmp_path / "images.npz"
    tasks = "one of file, map, depth, raw, pair"
    refused(hwgen, tmp_path, f"model random: --task\n  expected: {tasks}\n  found:    'digit'",
            model, data, "--task", "digit")  # fmt: skip
    refused(hwgen, tmp_path, "command line: --output\n  expected: a file name with .npz or .json\n  found:    out.txt",
            model, data, "-o", "out.txt")  # fmt: skip
    refused(hwgen, tmp_path, "DIR/no/out.npz: --output\n  expected: a file in a directory that exists\n"
            "  found:    no directory DIR/no\n  mend:     make the directory",
            model, data, "-o", tmp_path / "no" / "out.npz")  # fmt: skip
    refused(hwgen, tmp_path, "DIR/none\n  expected: a readable YAML file\n  found:    No such file or directory\n"
            "  mend:     check the path", tmp_path / "none", data)  # fmt: skip
    (tmp_path / "dir.npz").mkdir()
    refused(hwgen, tmp_path, "DIR/dir.npz: --output\n  expected: a file that can be written\n"
            "  found:    Is a directory", model, data, "-o", tmp_path / "dir.npz")  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"labels_maps": np.zeros((3, 4), int)},
         "labels_maps\n  expected: a task of the model\n  found:    'maps'\n"
         "  mend:     its tasks are file, map, depth, raw, pair"),
        ({"labels_map": np.zeros((3, 5), int)},
         "labels_map\n  expected: classes [3, 4] for the task map\n  found:    int64 [3, 5]"),
        ({"labels_depth": np.zeros((3, 2))},
         "labels_depth\n  expected: values [3, 1, 1] for the task depth\n  found:    float64 [3, 2]"),
        ({"labels_map": np.full((3, 4), 3)},
         "labels_map\n  expected: classes 0..2 for the task map\n  found:    3..3"),
        ({"labels_map": np.full((3, 4), -1)},
         "labels_map\n  expected: classes 0..2 for the task map\n  found:    -1..-1"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(hwgen, tmp_path, made, labels, text):
    np.savez(tmp_path / "labelled.npz", images=made[1], **labels)
    refused(hwgen, tmp_path, f"DIR/labelled.npz: {text}", tmp_path / "model", tmp_path / "labelled.npz")


# --- the float network, and a reference


def test_float(hwgen, tmp_path):
    """Its outputs are written, and are a reference for the integer model."""
    given = (MNIST / "test.npz", "--count", 30)
    code, printed, err = hwgen(MNIST / "quantize.yaml", *given, "--float", "-o", tmp_path / "float.npz")
    assert code == 0, err
    assert "mnist_m3vit, read as hwgen" in printed and "digit: top1 " in printed
    images = np.load(MNIST / "test.npz")["images"][:30, ..., None]
    network = read_job(MNIST / "quantize.yaml").imported.network()
    with np.load(tmp_path / "float.npz") as found:
        assert sorted(found.files) == ["digit.values", "segment.values"]
        assert np.array_equal(found["segment.values"], network.run(images, "segment").astype(np.float32))
        wanted = found["digit.values"].astype(float)
    code, printed, _ = hwgen(MNIST / "model", *given, "--task", "digit", "--reference", tmp_path / "float.npz")
    desc = description.load(MNIST / "model")
    values = Golden(desc).run(images, "digit").output * desc.model.scales["tasks.digit.output"]
    noise = 10 * np.log10((wanted**2).sum() / ((values - wanted) ** 2).sum())
    assert code == 0 and printed.splitlines()[-1] == (
        f"digit against {tmp_path}/float.npz, 30 image(s): the integer model has {noise:.1f} dB"
    )
    assert 25 < noise < 40
    code, printed, _ = hwgen(MNIST / "quantize.yaml", *given, "--float", "--reference", tmp_path / "float.npz")
    assert code == 0 and "segment against" in printed and "30 image(s): the import is within " in printed


def test_float_checkpoint_with_its_settings(hwgen, tmp_path):
    given = ("--top-k", 2, "--gate", "softmax_topk", "--mean", 0, "--std", 1, "--name", "own",
             "--tasks", "digit:class_token,segment:every_token")  # fmt: skip
    args = (MNIST / "float.npz", MNIST / "test.npz", "--float", "--count", 5, *given)
    assert hwgen(*args, "--heads", 2, "-o", tmp_path / "float.json")[0] == 0
    found = json.loads((tmp_path / "float.json").read_text())
    assert found["model"] == "own" and found["tasks"]["digit"]["step"] is None
    hwgen(*args, "--heads", 2, "-o", tmp_path / "float.npz")
    code, printed, err = hwgen(*args, "--heads", 4, "--reference", tmp_path / "float.npz")
    assert code == 2 and "number of heads 2 it agrees" in err and "image 0" not in printed


def test_an_integer_model_far_from_the_reference(hwgen, tmp_path, made):
    desc, images = made
    shape = (3, *desc.model.output_shape(desc.model.tasks[1]))
    np.savez(tmp_path / "reference.npz", outputs_map=np.random.default_rng(0).normal(size=shape))
    printed = hwgen(tmp_path / "model", tmp_path / "images.npz", "--reference", tmp_path / "reference.npz")[1]
    assert printed.splitlines()[-1] == (
        "WARNING: so far apart, the import may be wrong: `hwgen quantize --reference` compares it"
    )
    np.savez(tmp_path / "reference.npz", outputs_map=np.ones(shape), images=images[::-1])
    refused(hwgen, tmp_path, "DIR/reference.npz: images\n  expected: the images that are run\n  found:    others\n"
            "  mend:     run the reference's own images: it is a .npz like any other",
            tmp_path / "model", tmp_path / "images.npz", "--reference", tmp_path / "reference.npz")  # fmt: skip


@pytest.mark.usefixtures("made")
def test_what_has_no_float_network(hwgen, tmp_path):
    model, data = tmp_path / "model", tmp_path / "images.npz"
    for path, name in ((model, "DIR/model"), (model / "model.yaml", "DIR/model/model.yaml")):
        refused(hwgen, tmp_path, f"{name}: --float\n  expected: a quantize.yaml, or a checkpoint\n"
                "  found:    a quantized description, which has no float weights\n"
                "  mend:     give what it was made from", path, data, "--float")  # fmt: skip
    for option, key in (("--heads", "heads"), ("--format", "format")):
        refused(hwgen, tmp_path, f"command line: {key}\n  expected: a float network, of which this tells something\n"
                "  found:    a quantized description\n  mend:     add --float, or leave that out",
                model, data, option, 3)  # fmt: skip
    refused(hwgen, tmp_path, f"command line: heads\n  expected: nothing that {MNIST}/quantize.yaml tells\n"
            "  found:    3\n  mend:     write it into quantize.yaml, or leave that out",
            MNIST / "quantize.yaml", data, "--float", "--heads", 3)  # fmt: skip
