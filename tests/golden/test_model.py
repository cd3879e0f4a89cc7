"""The whole model on random descriptions against Python integers; shapes, types, independence of the batch."""

import re

import numpy as np
import pytest

from golden.model import Golden
from hwgen.network.description import Description
from tests.golden import scalar
from tests.random_model import random_description, random_images


def plain(value):
    """Nested lists of an array, or of a ragged tensor's entry."""
    return value.tolist() if isinstance(value, np.ndarray) else value


# Gains far from 1 make most tensors saturate or vanish.
@pytest.mark.parametrize(
    ("seed", "gain"), [*((seed, 1.0) for seed in (*range(12), *range(100, 112))), (12, 8.0), (13, 8.0), (14, 0.02)]
)
def test_every_tensor(seed: int, gain: float) -> None:
    description = random_description(seed, gain=gain)
    images = random_images(description, 2, seed)
    for task in description.model.tasks:
        got = Golden(description).run(images, task.name, keep=True)
        for b, image in enumerate(images.tolist()):
            want = scalar.run(description, image, task.name)
            assert got.tensors.keys() == want.keys()
            for name in want:
                assert plain(got.tensors[name][b]) == want[name], name


@pytest.mark.parametrize("norms", [("rms_norm",), ("post_norm",), ("rms_norm", "post_norm")])
def test_norms_everywhere(norms: tuple[str, ...]) -> None:
    """Every place that may have a norm."""
    mlp = {"kind": "dense", "hidden": 9}
    tasks = [{"name": "pooled", "head": "map", "norm": True, "mlp": mlp},
             {"name": "mean", "head": "mean_norm", "norm": True, "outputs": 3}]  # fmt: skip
    description = random_description(
        7, norm_pre=True, qk_norm=True, tasks=tasks, layers=[{"mlp": mlp}] * 2,
        residual_fraction_bits=[12, 11, 9, 8, 8],
        **dict.fromkeys(norms, True),
    )  # fmt: skip
    image = random_images(description, 1, 0)
    for task in tasks:
        got = Golden(description).run(image, str(task["name"]), keep=True).tensors
        want = scalar.run(description, image[0].tolist(), str(task["name"]))
        assert got.keys() == want.keys()
        for name in want:
            assert plain(got[name][0]) == want[name], name


@pytest.mark.parametrize("seed", [*range(20, 26), *range(120, 126)])
def test_shapes_and_types(seed: int) -> None:
    description = random_description(seed)
    model = description.model
    n, d, a, b = model.tokens, model.dim, model.attn_dim, 3
    for task in model.tasks:
        result = Golden(description).run(random_images(description, b, seed), task.name, keep=True)
        tensors = result.tensors
        want: dict[str, tuple] = {"patches": (np.uint8, n, model.patch_size), "embed": (np.int16, n, d)}
        if model.norm_pre:
            want |= {"norm_pre": (np.int16, n, d), "stream": (np.int16, n, d)}
        for i, layer in enumerate(model.layers):
            mlp = layer.mlp
            of_layer: dict[str, tuple] = dict.fromkeys(("q", "context"), (np.int16, n, a))
            of_layer |= dict.fromkeys(("k", "v"), (np.int8, n, a))
            of_layer |= {"norm1": (np.int16, n, d), "norm2": (np.int16, n, d)}
            if model.post_norm:
                of_layer |= dict.fromkeys(("rescale1", "rescale2", "proj", "fc2"), (np.int16, n, d))
            of_layer |= {"score": (np.int16, model.heads, n, n), "prob": (np.uint8, model.heads, n, n)}
            of_layer |= {"attn": (np.int16, n, d), "mlp": (np.int16, n, d)}
            if model.qk_norm:
                of_layer |= dict.fromkeys(("q_proj", "k_proj"), (np.int16, n, a))
            if mlp.kind == "dense":
                if mlp.gated:
                    of_layer["up"] = (np.int16, n, mlp.hidden)
                count = description.tensors.get(f"layers.{i}.mlp.activation.windows")
                of_layer["hidden"] = (np.int16, n, mlp.hidden if count is None else int(count.sum()))
            else:
                of_layer["logits"] = (np.int32, n, mlp.experts)
                of_layer |= dict.fromkeys(("experts", "weights"), (np.int32, n, mlp.top_k))
                check_queues(tensors, f"layers.{i}", b, n, mlp)
            want |= {f"layers.{i}.{part}": spec for part, spec in of_layer.items()}
        if task.norm or task.head != "none":
            want[f"{task.name}.norm"] = (np.int16, n, d)
        if task.mlp is not None:
            of_task: dict[str, tuple] = dict.fromkeys(("k", "v"), (np.int8, n, a))
            of_task |= dict.fromkeys(("q", "context"), (np.int16, 1, a))
            of_task |= {"score": (np.int16, model.heads, 1, model.patches),
                        "prob": (np.uint8, model.heads, 1, model.patches)}  # fmt: skip
            of_task |= dict.fromkeys(("proj", "map_norm", "mlp"), (np.int16, 1, d))
            of_task |= {"map_rescale": (np.int16, 1, d)} if task.outputs else {}
            of_task["hidden"] = (np.int16, 1, task.mlp.hidden)
            want |= {f"{task.name}.{part}": spec for part, spec in of_task.items()}
        if task.head == "mean":
            want[f"{task.name}.mean"] = (np.int16, 1, d)
        rows = {"every_token": model.patches, "none": n}.get(task.head, 1)
        want[f"{task.name}.output"] = (np.int16, rows, task.outputs or d)
        assert want.keys() == {name for name in tensors if ".expert." not in name}
        for name, (dtype, *shape) in want.items():
            assert tensors[name].dtype == dtype and tensors[name].shape == (b, *shape), name
        assert result.output is tensors[f"{task.name}.output"]


def check_queues(tensors: dict, name: str, batch: int, tokens: int, mlp) -> None:
    """Every token is queued once at each of its winners, in ascending order."""
    for b in range(batch):
        queues = [tensors[f"{name}.expert.{e}.tokens"][b] for e in range(mlp.experts)]
        winners = tensors[f"{name}.experts"][b]
        assert [q.tolist() for q in queues] == [
            [i for i in range(tokens) if e in winners[i]] for e in range(mlp.experts)
        ]
        for e, queue in enumerate(queues):
            hidden = tensors[f"{name}.expert.{e}.hidden"][b]
            assert hidden.dtype == np.int16 and hidden.shape == (len(queue), mlp.hidden)


@pytest.mark.parametrize("seed", [30, 31, 130, 131])
def test_batch_and_chunk_do_not_matter(seed: int) -> None:
    description = random_description(seed)
    images = random_images(description, 5, seed)
    golden = Golden(description)
    for task in description.model.tasks:
        whole = golden.run(images, task.name, keep=True)
        again = Golden(description).run(images, task.name, keep=True, chunk=2)
        single = [golden.run(images[b : b + 1], task.name, keep=True) for b in range(5)]
        without = golden.run(images, task.name)
        assert np.array_equal(without.output, whole.output) and without.tensors == {}
        for name, tensor in whole.tensors.items():
            for b in range(5):
                assert plain(tensor[b]) == plain(again.tensors[name][b]) == plain(single[b].tensors[name][0]), name


def test_inputs_stay_as_they_are() -> None:
    description = random_description(33)
    images = random_images(description, 2, 0)
    before = {name: tensor.copy() for name, tensor in description.tensors.items()} | {"images": images.copy()}
    Golden(description).run(images, description.model.tasks[0].name)
    for name, tensor in (description.tensors | {"images": images}).items():
        assert np.array_equal(tensor, before[name]), name


@pytest.fixture(scope="module")
def small() -> Description:
    return random_description(
        34,
        image={"height": 4, "width": 6, "channels": 1},
        patch={"height": 2, "width": 2},
        tasks=[{"name": "a", "head": "mean", "outputs": 3, "norm": True}],
    )


@pytest.mark.parametrize(
    ("images", "task", "message"),
    [
        (np.zeros((1, 4, 6, 1), np.int16), "a", "images must be uint8 [B, 4, 6, 1], not int16 [1, 4, 6, 1]"),
        (np.zeros((1, 4, 6), np.uint8), "a", "images must be uint8 [B, 4, 6, 1], not uint8 [1, 4, 6]"),
        (np.zeros((0, 4, 6, 1), np.uint8), "a", "images must be at least one, not 0"),
        (np.zeros((1, 4, 6, 1), np.uint8), "b", "task must be one of a, not 'b'"),
    ],
)
def test_wrong_arguments(small: Description, images: np.ndarray, task: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Golden(small).run(images, task)
