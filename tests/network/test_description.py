"""The description's loader and saver: round trips, the tensor table, and every error by its text."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import yaml

from hwgen.common.errors import HwgenError
from hwgen.network.description import Description, check, expected_tensors, load, parse_model, save
from tests.random_model import random_description

LAYERS = [
    {"mlp": {"kind": "dense", "hidden": 10}},
    {"mlp": {"kind": "moe", "experts": 3, "hidden": 6, "top_k": 2, "gate": "softmax_topk"}},
]
TASKS = [
    {"name": "digit", "head": "class_token", "outputs": 4, "norm": True},
    {"name": "shape", "head": "mean", "outputs": 5, "norm": False},
    {"name": "raw", "head": "none", "norm": False},
]


def small() -> Description:
    """A fixed small description: 2 x 3 patches of 3 x 4 x 2 values, two heads of 5, D = 9."""
    return random_description(
        0, image={"height": 6, "width": 12, "channels": 2}, patch={"height": 3, "width": 4}, dim=9, heads=2, head_dim=5,
        class_token=True, layers=LAYERS, tasks=TASKS, scales={"layers.0.q": 0.031, "a": 1e-7},
    )  # fmt: skip


# --- what is loaded and saved


def test_sizes() -> None:
    model = small().model
    assert (model.patches, model.tokens, model.patch_size, model.attn_dim) == (6, 7, 24, 10)


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    description = small()
    assert save(description, tmp_path) == tmp_path / "model.yaml"
    for path in (tmp_path, tmp_path / "model.yaml", str(tmp_path)):
        loaded = load(path)
        assert loaded.model == description.model
        assert loaded.path == tmp_path / "model.yaml"
        assert list(loaded.tensors) == sorted(description.tensors)
        for name, tensor in description.tensors.items():
            assert loaded.tensors[name].dtype == tensor.dtype
            assert np.array_equal(loaded.tensors[name], tensor)


def test_same_description_same_bytes(tmp_path: Path) -> None:
    description = small()
    save(description, tmp_path / "a")
    turned = dict(reversed(description.tensors.items()))
    turned["embed.weight"] = np.asfortranarray(turned["embed.weight"])
    scales = dict(reversed(description.model.scales.items()))
    save(Description(description.model.model_copy(update={"scales": scales}), turned), tmp_path / "b")
    save(load(tmp_path / "a"), tmp_path / "c")
    for name in ("model.yaml", "weights.safetensors"):
        assert len({(tmp_path / copy / name).read_bytes() for copy in "abc"}) == 1, name


def test_yaml_reads_as_in_the_documentation(tmp_path: Path) -> None:
    text = save(small(), tmp_path).read_text()
    assert text.startswith("format: hwgen-model\nversion: 1\nname: random\nweights: weights.safetensors\n")
    assert "\nimage: {height: 6, width: 12, channels: 2}\npatch: {height: 3, width: 4}\ndim: 9\n" in text
    assert "- mlp: {kind: moe, experts: 3, hidden: 6, top_k: 2, gate: softmax_topk}\n" in text
    assert "- {name: raw, head: none, norm: false}\n" in text


def test_tensor_table_of_a_small_model() -> None:
    """Counts and corner entries against docs/description.md by hand."""
    specs = expected_tensors(small().model)
    layer = 4 + 3 * 4 + 2 + 2 + 4 + 4  # norm1, q k v, score, context, proj, norm2
    mlp = 4 + 3 + 4
    tasks = (4 + 4) + (3 + 2 + 4) + 0
    assert len(specs) == 4 + 1 + (layer + mlp) + (layer + 3 * 4 + 3 * mlp) + tasks + 4
    assert specs["embed.weight"].shape == (9, 24)
    assert specs["position"].shape == (7, 9)
    assert specs["layers.1.attn.proj.weight"].shape == (9, 10)
    assert specs["layers.1.moe.gate.raw.weight"].shape == (3, 9)
    assert specs["layers.1.moe.experts.2.fc2.weight"].shape == (9, 6)
    assert specs["layers.0.mlp.gelu.shift"].hi == 31
    assert specs["layers.0.attn.score.shift"].hi == specs["tasks.shape.mean.shift"].hi == 47
    assert (specs["layers.0.norm1.eps"].lo, specs["layers.0.norm1.eps"].hi) == (1, 2**40)
    assert "tasks.shape.rescale.eps" not in specs and "tasks.shape.rescale.gamma" in specs
    assert (specs["layers.0.attn.k.bias"].lo, specs["layers.0.attn.k.bias"].hi) == (0, 0)


# --- errors of the structure


def structure_error(change: Callable[[dict[str, Any]], object]) -> str:
    """The message for a changed structure."""
    data = yaml.safe_load(yaml.safe_dump(small().model.model_dump(exclude_none=True)))
    change(data)
    with pytest.raises(HwgenError) as caught:
        parse_model(data, "model.yaml")
    return caught.value.text()


def message(key: str, expected: str, found: str, mend: str = "") -> str:
    """The whole text of an error of model.yaml."""
    lines = [f"model.yaml: {key}", f"  expected: {expected}", f"  found:    {found}"]
    return "\n".join(lines + ([f"  mend:     {mend}"] if mend else []))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("format", "onnx", message("format", "'hwgen-model'", "'onnx'")),
        ("version", 2, message("version", "1", "2")),
        ("name", "a b", message("name", "text matching ^[A-Za-z0-9_]+$", "'a b'")),
        ("weights", "../w", message("weights", "text matching ^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "'../w'")),
        ("dim", "9", message("dim", "an integer", "'9'")),
        ("dim", 9.5, message("dim", "an integer", "9.5")),
        ("dim", True, message("dim", "an integer", "True")),
        ("dim", 0, message("dim", "at least 1", "0")),
        ("dim", 2048, message("dim", "at most 2047", "2048")),
        ("class_token", 1, message("class_token", "true or false", "1")),
        ("residual_fraction_bits", 16, message("residual_fraction_bits", "at most 15", "16")),
        ("layers", [], message("layers", "a list of at least 1", "[]")),
        ("layers", {}, message("layers", "a list", "{}")),
        ("image", 28, message("image", "a mapping", "28")),
        ("layers.1.mlp.experts", 1, message("layers.1.mlp.experts", "at least 2", "1")),
        ("layers.1.mlp.top_k", 0, message("layers.1.mlp.top_k", "at least 1", "0")),
        ("layers.1.mlp.top_k", 4, message("layers.1.mlp.top_k", "at most experts = 3", "4")),
        ("layers.1.mlp.gate", "hard", message("layers.1.mlp.gate", "'softmax_topk' or 'topk_softmax'", "'hard'")),
        ("layers.1.mlp.kind", "sparse", message("layers.1.mlp.kind", "'dense' or 'moe'", "'sparse'")),
        ("layers.1.mlp.topk", 2, message("layers.1.mlp.topk", "no such key here", "unknown key `topk`",
                                         "did you mean `top_k`?")),
        ("colour", 2, message("colour", "no such key here", "unknown key `colour`", "remove it")),
        ("scales.a", float("nan"), message("scales.a", "a finite number", "nan")),
        ("scales.a", float("inf"), message("scales.a", "a finite number", "inf")),
        ("scales.a", 0.0, message("scales.a", "a number greater than 0", "0.0")),
        ("scales.a", "1e-7", message("scales.a", "a number", "'1e-7'")),
        ("patch.height", 4, message("patch.height", "a divisor of image.height = 6", "4",
                                    "choose a patch height that divides the image, or pad the image")),
        ("patch.width", 24, message("patch.width", "a divisor of image.width = 12", "24",
                                    "choose a patch width that divides the image, or pad the image")),
        ("heads", 20000, message("heads", "at most 65535 heads * head_dim", "100000")),
        ("image.channels", 60000, message("patch", "at most 65535 values per patch", "720000")),
        ("image.width", 60000, message("patch", "at most 65535 tokens", "300001")),
        ("tasks.1.name", "digit", message("tasks.1.name", "a name no other task has",
                                          "'digit', also the name of tasks.0", "rename one of them")),
        ("class_token", False, message("tasks.0.head", "a head that needs no class token, or `class_token: true`",
                                       "'class_token' with `class_token: false`", "use mean, every_token or none")),
        ("tasks.0.head", "distillation_token", message(
            "tasks.0.head", "a head that needs no distillation token, or `distillation_token: true`",
            "'distillation_token' with `distillation_token: false`", "use mean, every_token or none")),
        ("tasks.1.head", "mean_norm", message("tasks.1.norm", "true with `head: mean_norm`", "false",
                                              "use the head `mean` if nothing is to be normalized")),
        ("tasks.2.outputs", 3, message("tasks.2.outputs", "no `outputs` with `head: none`", "3",
                                       "remove `outputs` or choose another head")),
        ("tasks.2.head", "mean", message("tasks.2.outputs", "the number of outputs of the mean head", "no such key",
                                         "add `outputs`")),
    ],
)  # fmt: skip
def test_wrong_value(path: str, value: object, expected: str) -> None:
    *parents, last = path.split(".")

    def change(data: Any) -> None:
        for parent in parents:
            data = data[int(parent) if isinstance(data, list) else parent]
        data[last] = value
        if path == "image.width":  # many small patches
            data["height"] = 60
    assert structure_error(change) == expected


def test_scales_may_be_left_out() -> None:
    data = small().model.model_dump(exclude_none=True, exclude={"scales"})
    assert parse_model(data, "model.yaml").scales == {}


@pytest.mark.parametrize("path", ["dim", "weights", "layers.1.mlp.top_k", "layers.0.mlp.kind", "tasks.0.norm"])
def test_missing_key(path: str) -> None:
    *parents, last = path.split(".")

    def change(data: Any) -> None:
        for parent in parents:
            data = data[int(parent) if isinstance(data, list) else parent]
        del data[last]

    assert structure_error(change) == message(path, "a value", "no such key", f"add `{last}`")


def test_not_a_mapping() -> None:
    with pytest.raises(HwgenError) as caught:
        parse_model([1], "model.yaml")
    assert caught.value.text() == (
        "model.yaml\n  expected: a mapping of keys to values\n  found:    [1]\n  mend:     see docs/"
    )


# --- errors of the files


def load_error(path: Path) -> str:
    """The message of loading, with the directory shortened."""
    with pytest.raises(HwgenError) as caught:
        load(path)
    return caught.value.text().replace(str(path if path.is_dir() else path.parent), "DIR")


def test_missing_yaml(tmp_path: Path) -> None:
    assert load_error(tmp_path / "m.yaml") == (
        "DIR/m.yaml\n  expected: a readable YAML file\n  found:    No such file or directory\n"
        "  mend:     check the path"
    )


def test_missing_weights(tmp_path: Path) -> None:
    save(small(), tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    assert load_error(tmp_path).startswith(
        "DIR/weights.safetensors\n  expected: the weights file named by `weights` in model.yaml\n  found:    No such "
    )


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("a: [1, 2\nb: 3\n", "line 2, column 2", "expected ',' or ']', but got ':'"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1", "the key `a` occurs twice"),
        ("a:\tb: c\n", "line 1, column 3", "found character '\\t' that cannot start any token"),
    ],
)
def test_yaml_syntax(tmp_path: Path, text: str, place: str, found: str) -> None:
    (tmp_path / "model.yaml").write_text(text)
    assert load_error(tmp_path) == (
        f"DIR/model.yaml: {place}\n  expected: valid YAML\n  found:    {found}\n  mend:     correct the syntax there"
    )


def test_yaml_of_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_bytes(b"\xff\xfe\x00")
    assert load_error(tmp_path) == "DIR/model.yaml\n  expected: UTF-8 text\n  found:    other bytes"


def test_broken_weights(tmp_path: Path) -> None:
    save(small(), tmp_path)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    expected = "DIR/weights.safetensors\n  expected: a safetensors file of integer tensors\n"
    assert load_error(tmp_path).startswith(expected)
    header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    weights.write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    assert load_error(tmp_path).startswith("DIR/weights.safetensors")


# --- errors of the tensors


def tensor_error(tmp_path: Path, change: dict[str, np.ndarray | None]) -> str:
    """The message of loading after exchanging (or, with None, removing) tensors; `check` must say the same."""
    description = small()
    save(description, tmp_path)
    tensors = {name: tensor for name, tensor in (description.tensors | change).items() if tensor is not None}
    (tmp_path / "weights.safetensors").write_bytes(safetensors.numpy.save(tensors))
    text = load_error(tmp_path)
    with pytest.raises(HwgenError) as caught:
        check(Description(description.model, tensors))
    assert caught.value.text().partition("\n")[2] == text.partition("\n")[2]
    assert text.startswith("DIR/weights.safetensors: ")
    return text.removeprefix("DIR/weights.safetensors: ")


def filled(name: str, value: int, at: tuple[int, ...]) -> dict[str, np.ndarray | None]:
    """The small model's tensor with one value changed."""
    tensor = small().tensors[name].copy()
    tensor[at] = value
    return {name: tensor}


def test_missing_tensor(tmp_path: Path) -> None:
    assert tensor_error(tmp_path, {"layers.1.moe.gate.raw.mult": None}) == (
        "layers.1.moe.gate.raw.mult\n  expected: uint16 [3]\n  found:    no such tensor\n"
        "  mend:     export the model again"
    )


def test_extra_tensor(tmp_path: Path) -> None:
    count = len(small().tensors)
    assert tensor_error(tmp_path, {"zebra": np.zeros(1, np.int8)}) == (
        f"zebra\n  expected: only the {count} tensors of this structure\n  found:    an extra tensor\n"
        "  mend:     remove it, or correct the structure"
    )


def test_misspelt_tensor(tmp_path: Path) -> None:
    change = {"position": None, "positions": small().tensors["position"]}
    assert tensor_error(tmp_path, change).endswith("  mend:     did you mean `position`?")


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (np.zeros((24, 9), np.int8), "int8 [24, 9]"),
        (np.zeros((9, 24), np.int16), "int16 [9, 24]"),
        (np.zeros(9 * 24, np.int8), "int8 [216]"),
        (np.zeros((9, 24), np.float32), "float32 [9, 24]"),
    ],
)
def test_wrong_shape_or_type(tmp_path: Path, tensor: np.ndarray, found: str) -> None:
    text = tensor_error(tmp_path, {"embed.weight": tensor})
    assert text == f"embed.weight\n  expected: int8 [9, 24]\n  found:    {found}"


@pytest.mark.parametrize(
    ("name", "value", "at", "limits"),
    [
        ("embed.weight", -128, (3, 7), "-127..127"),
        ("layers.0.attn.v.shift", 48, (2,), "0..47"),
        ("layers.0.norm1.shift", 32, (0,), "0..31"),
        ("layers.0.norm1.eps", 0, (0,), "1..1099511627776"),
        ("layers.0.norm2.eps", 2**40 + 1, (0,), "1..1099511627776"),
        ("layers.1.moe.experts.2.gelu.shift", 32, (0,), "0..31"),
        ("layers.0.attn.context.shift", 255, (0,), "0..47"),
        ("tasks.shape.rescale.shift", 32, (0,), "0..31"),
    ],
)
def test_value_out_of_range(tmp_path: Path, name: str, value: int, at: tuple[int, ...], limits: str) -> None:
    text = tensor_error(tmp_path, filled(name, value, at))
    assert text == f"{name}\n  expected: values in {limits}\n  found:    {value} at {list(at)}"


def test_key_bias(tmp_path: Path) -> None:
    assert tensor_error(tmp_path, filled("layers.1.attn.k.bias", -3, (4,))) == (
        "layers.1.attn.k.bias\n  expected: zeros only\n  found:    -3 at [4]\n"
        "  mend:     drop the key's bias: it cancels in the softmax"
    )


@pytest.mark.parametrize(("name", "value"), [("exp", 250), ("gelu", 2), ("rsqrt", 0), ("gate_exp", 65358)])
def test_other_tables_are_refused(tmp_path: Path, name: str, value: int) -> None:
    assert tensor_error(tmp_path, filled(f"tables.{name}", 77, (1,))) == (
        f"tables.{name}\n  expected: the hardware's table: {value} at index 1\n  found:    77\n"
        "  mend:     store the tables of hwgen/machine/tables.py"
    )


def test_save_refuses_what_load_would(tmp_path: Path) -> None:
    description = small()
    description.tensors.pop("position")
    with pytest.raises(HwgenError, match="position"):
        save(description, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_save_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HwgenError, match="expected: a directory that can be written\n  found:    File exists"):
        save(small(), tmp_path / "file")


def test_four_bit_weights(tmp_path: Path) -> None:
    """A layer listed in `weight_bits` keeps to ±7, the list survives a file, a name that is no layer is refused."""
    desc = random_description(3)
    name = "layers.0.attn.q"
    weight = desc.tensors[f"{name}.weight"]
    narrow = Description(desc.model.model_copy(update={"weight_bits": {name: 4}}), dict(desc.tensors))
    narrow.tensors[f"{name}.weight"] = np.clip(weight, -7, 7)
    assert load(save(narrow, tmp_path / "narrow")).model.weight_bits == {name: 4}
    narrow.tensors[f"{name}.weight"] = np.clip(weight, -8, 7)
    with pytest.raises(HwgenError, match=r"expected: values in -7\.\.7"):
        check(narrow)
    wrong = Description(desc.model.model_copy(update={"weight_bits": {"layers.0.attn.projj": 4}}), desc.tensors)
    with pytest.raises(HwgenError, match=r"did you mean `layers\.0\.attn\.proj`"):
        check(wrong)


def test_distillation_token(tmp_path: Path) -> None:
    """One more token, in front of the patches and behind the class token; not in the file where there is none."""
    desc = random_description(3, class_token=True, distillation_token=True)
    assert (desc.model.prefix, desc.model.tokens) == (2, 2 + desc.model.patches)
    assert len(desc.tensors["position"]) == desc.model.tokens
    assert load(save(desc, tmp_path / "with")).model == desc.model
    assert "distillation" not in save(small(), tmp_path / "without").read_text()
    with pytest.raises(HwgenError) as caught:
        random_description(3, class_token=False, distillation_token=True)
    assert caught.value.text() == (
        "random_description(3): distillation_token\n  expected: false, or `class_token: true`\n"
        "  found:    true with `class_token: false`\n  mend:     it is token 1, behind the class token"
    )
