"""The table of tensors, and every error of a tensor by its text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from hwgen.common.errors import HwgenError
from hwgen.network.description import Description, check, expected_tensors, load, save
from tests.network.description.helpers import load_error, small
from tests.random_model import random_description


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
    assert specs["layers.0.mlp.activation.shift"].hi == 31
    zero = specs["layers.0.mlp.activation.zero"]
    assert (zero.dtype, zero.lo, zero.hi) == (np.int16, -255, 255)
    assert specs["layers.0.attn.score.shift"].hi == specs["tasks.shape.mean.shift"].hi == 47
    assert (specs["layers.0.norm1.eps"].lo, specs["layers.0.norm1.eps"].hi) == (1, 2**40)
    assert "tasks.shape.rescale.eps" not in specs and "tasks.shape.rescale.gamma" in specs
    assert (specs["layers.0.attn.k.bias"].lo, specs["layers.0.attn.k.bias"].hi) == (0, 0)


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
        ("layers.1.moe.experts.2.activation.shift", 32, (0,), "0..31"),
        ("layers.0.mlp.activation.zero", -256, (0,), "-255..255"),
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


@pytest.mark.parametrize(("name", "value"), [("exp", 7985), ("gelu", 2), ("rsqrt", 0), ("gate_exp", 65358)])
def test_other_tables_are_refused(tmp_path: Path, name: str, value: int) -> None:
    assert tensor_error(tmp_path, filled(f"tables.{name}", 77, (1,))) == (
        f"tables.{name}\n  expected: the hardware's table: {value} at index 1\n  found:    77\n"
        "  mend:     store the tables of hwgen/machine/tables.py"
    )


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
