"""`model.yaml`'s structure: sizes, and every error by its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwgen.common.errors import HwgenError
from hwgen.network.description import load, parse_model, save
from tests.network.description.helpers import small
from tests.random_model import random_description


def test_sizes() -> None:
    model = small().model
    assert (model.patches, model.tokens, model.patch_size, model.attn_dim) == (6, 7, 24, 10)


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


#: What `residual_fraction_bits` of two layers may be, and an activation.
STREAM = "one number, or one after the embedding and two for each of the 2 layers: after attention, after the MLP"
KINDS = "'gelu', 'gelu_tanh', 'quick_gelu', 'silu', 'hardswish' or 'relu'"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("format", "onnx", message("format", "'hwgen-model'", "'onnx'")),
        ("version", 1, message("version", "2", "1")),
        ("name", "a b", message("name", "text matching ^[A-Za-z0-9_]+$", "'a b'")),
        ("weights", "../w", message("weights", "text matching ^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "'../w'")),
        ("dim", "9", message("dim", "an integer", "'9'")),
        ("dim", 9.5, message("dim", "an integer", "9.5")),
        ("dim", True, message("dim", "an integer", "True")),
        ("dim", 0, message("dim", "at least 1", "0")),
        ("dim", 2048, message("dim", "at most 2047", "2048")),
        ("class_token", 1, message("class_token", "true or false", "1")),
        ("residual_fraction_bits", 16, message("residual_fraction_bits", "at most 15", "16")),
        ("residual_fraction_bits", True, message("residual_fraction_bits", "an integer", "True")),
        ("residual_fraction_bits", [9, 16, 9, 9, 9], message("residual_fraction_bits.1", "at most 15", "16")),
        ("residual_fraction_bits", [9, 9, 9, 9, "9"], message("residual_fraction_bits.4", "an integer", "'9'")),
        ("residual_fraction_bits", [9, 9, 8, 8], message("residual_fraction_bits", STREAM, "4 numbers")),
        ("residual_fraction_bits", [9, 9, 10, 8, 8], message("residual_fraction_bits.2", "9 or up to 3 less", "10")),
        ("residual_fraction_bits", [9, 5, 5, 5, 5], message("residual_fraction_bits.1", "9 or up to 3 less", "5")),
        ("residual_fraction_bits", [9, 8, 5, 4, 3],
         message("residual_fraction_bits.4", "4, as in front of the experts", "3")),
        ("residual_fraction_bits", [9, 8, 5, 4, 5],
         message("residual_fraction_bits.4", "4, as in front of the experts", "5")),
        ("layers.0.mlp.activation", "mish", message("layers.0.mlp.activation", KINDS, "'mish'")),
        ("layers.1.mlp.activation", "gelu_new", message("layers.1.mlp.activation", KINDS, "'gelu_new'")),
        ("register_tokens", 65, message("register_tokens", "at most 64", "65")),
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


def test_stream_bits() -> None:
    """One for all additions, or falling by up to 3; experts' additions keep what attention had."""
    data = small().model.model_dump(exclude_none=True)
    assert parse_model(data | {"residual_fraction_bits": 9}, "model.yaml").stream_bits == (9,) * 5
    falling = [15, 12, 9, 6, 6]
    assert parse_model(data | {"residual_fraction_bits": falling}, "model.yaml").stream_bits == tuple(falling)


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


def test_register_tokens(tmp_path: Path) -> None:
    """With and without a class token in front of them; not in the file where there are none."""
    for class_token in (True, False):
        desc = random_description(3, class_token=class_token, register_tokens=5)
        assert (desc.model.prefix, desc.model.tokens) == (class_token + 5, class_token + 5 + desc.model.patches)
        assert len(desc.tensors["position"]) == desc.model.tokens
        assert load(save(desc, tmp_path / str(class_token))).model == desc.model
    assert "register" not in save(small(), tmp_path / "without").read_text()
