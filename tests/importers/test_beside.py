"""What a state dict does not tell is asked for, or read beside it, or refused: the cases that once were wrong in
silence. tests/evaluate/test_doubts.py has those which no file states."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwgen.common.errors import HwgenError
from hwgen.importers import ImageSize, Imported, Overrides, load
from hwgen.importers.activation import SUPPORTED
from tests.importers.moe_models import COLUMNS, PATCH, ROWS, state_dict
from tests.importers.timm_models import MEAN, STD, distilled, pixels, timm, told, vit

HALF = np.full(3, 0.5)
#: As in a folder of the hub; a test adds to it.
TIMM = {
    "architecture": "vit_mine", "num_features": 128, "global_pool": "token",
    "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 32, 32]},
    "model_args": {"num_heads": 2, "act_layer": "gelu"},
}  # fmt: skip
TRANSFORMERS = {
    "model_type": "vit", "hidden_size": 128, "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-6,
    "image_size": 32,
}  # fmt: skip
PREPROCESSOR = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}


def saved(model: Any, directory: Path, config: Any = None, preprocessor: Any = None) -> Path:
    torch.save(model.state_dict(), directory / "model.pth")
    for name, content in (("config.json", config), ("preprocessor_config.json", preprocessor)):
        if content is not None:
            (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return directory / "model.pth"


def error(imported: Imported, model: Any, mean: np.ndarray = MEAN, std: np.ndarray = STD) -> float:
    """Largest difference from timm's outputs, as a share of the largest."""
    image = imported.model.image
    images = np.random.default_rng(1).integers(0, 256, (2, image.height, image.width, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = model(pixels(images, mean, std)).numpy()
    found = imported.network(np.float32).run(images, imported.model.tasks[0].name)[:, 0]
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def message(path: Path, overrides: Overrides | None = None) -> str:
    with pytest.raises(HwgenError) as caught:
        load(path, overrides=overrides)
    return caught.value.text().replace(str(path.parent), "DIR")


def asked(path: Path, overrides: Overrides) -> str:
    """What a single question asks for."""
    first, expected, found, mend = message(path, overrides).split("\n")
    assert (first, found) == ("DIR/model.pth", "  found:    no value given")
    assert expected.endswith(", which the checkpoint does not tell")
    assert mend.startswith("  mend:     give `") and mend.endswith(", or put the network's config.json beside it")
    return mend.removeprefix("  mend:     give ").removesuffix(", or put the network's config.json beside it")


def test_all_that_is_missing_is_asked_for_at_once(tmp_path: Path) -> None:
    assert message(saved(vit(embed_dim=192, num_heads=12), tmp_path)) == (
        "DIR/model.pth\n"
        "  expected: what the head reads (global_pool); the activation of the MLPs (gelu is the exact one, by erf); "
        "the number of attention heads of 192 channels (3 in most of timm's); the normalisation of 3 channel(s) "
        "(in timm 0.5,0.5,0.5 by 0.5,0.5,0.5, or 0.485,0.456,0.406 by 0.229,0.224,0.225), "
        "which the checkpoint does not tell\n"
        "  found:    no value given\n"
        "  mend:     give `--pooling token` or `--pooling avg`, `--activation gelu`, `--heads`, `--mean and --std`, "
        "or put the network's config.json beside it"
    )


@pytest.mark.parametrize("config", [TIMM, TRANSFORMERS])
def test_all_of_it_from_files(tmp_path: Path, config: dict[str, Any]) -> None:
    """Nothing is guessed, and it is said where everything was read."""
    model = vit()
    imported = load(saved(model, tmp_path, config, None if config is TIMM else PREPROCESSOR))
    assert error(imported, model, HALF, HALF) < 1e-4
    assert imported.warnings == []
    assert "heads 2: stated by config.json: " in "\n".join(imported.notes)
    assert "normalize mean 0.5,0.5,0.5 std 0.5,0.5,0.5: stated by " in "\n".join(imported.notes)


def test_a_distilled_deit_has_no_pooling_to_ask_for(tmp_path: Path) -> None:
    model = distilled()
    assert load(saved(model, tmp_path), overrides=told(pooling=None)).model.prefix == 2


# --- normalisation


def test_normalisation(tmp_path: Path) -> None:
    """Read as ImageNet's it once cost all but 4.5 dB."""
    path = saved(vit(), tmp_path)
    assert asked(path, told(normalize=None)) == "`--mean and --std`"
    for files in ({"config": TIMM}, {"preprocessor": PREPROCESSOR}):
        folder = tmp_path / next(iter(files))
        folder.mkdir()
        model = vit()
        imported = load(saved(model, folder, **files), overrides=told(normalize=None))
        assert (imported.mean, imported.std) == ([127.5] * 3, [127.5] * 3)
        assert error(imported, model, HALF, HALF) < 1e-4


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({"rescale_factor": 1 / 127.5}, 0.5 * 127.5, 0.5 * 127.5),
        ({"do_rescale": False, "image_mean": [110.0] * 3, "image_std": [50.0] * 3}, 110, 50),
        ({"do_normalize": False}, 0, 255),
    ],
)
def test_pixels_of_a_preprocessor(tmp_path: Path, changes: dict[str, Any], mean: float, std: float) -> None:
    imported = load(saved(vit(), tmp_path, None, PREPROCESSOR | changes), overrides=told(normalize=None))
    assert (imported.mean, imported.std) == ([mean] * 3, [std] * 3)


def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    path = saved(vit(), tmp_path, TIMM, PREPROCESSOR | {"image_mean": [0.4] * 3})
    assert message(path) == (
        "DIR: normalize\n"
        "  expected: mean 0.5,0.5,0.5 std 0.5,0.5,0.5, as config.json: pretrained_cfg states\n"
        "  found:    mean 0.4,0.4,0.4 std 0.5,0.5,0.5 in preprocessor_config.json\n"
        "  mend:     correct the wrong one of these files"
    )


def test_m3vit_is_normalised_as_its_public_code_does_with_a_warning(tmp_path: Path) -> None:
    np.savez(tmp_path / "m3vit.npz", **state_dict())
    size = ImageSize(height=ROWS * PATCH, width=COLUMNS * PATCH)
    imported = load(tmp_path / "m3vit.npz", overrides=Overrides(heads=4, top_k=2, image_size=size))
    assert imported.warnings == [
        "normalisation taken to be ImageNet's, as in the public training code; else give --mean and --std"
    ]


def test_old_files_of_timm(tmp_path: Path) -> None:
    """They have no `pretrained_cfg`."""
    old = {"architecture": "vit_mine", "mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64]}
    path = saved(vit(), tmp_path, old | {"model_args": {"img_size": 32}})
    imported = load(path, overrides=told(normalize=None))
    assert (imported.mean, imported.model.image.height) == ([127.5] * 3, 32)
    assert "image_size 32x32: stated by config.json: model_args.img_size" in imported.notes


# --- heads


def test_heads(tmp_path: Path) -> None:
    """Twelve heads of 16 were once read as three of 64."""
    model = vit(embed_dim=192, num_heads=12)
    path = saved(model, tmp_path)
    assert asked(path, told(heads=None)) == "`--heads`"
    for config in (
        TRANSFORMERS | {"hidden_size": 192, "num_attention_heads": 12},
        TIMM | {"num_features": 192, "model_args": {"num_heads": 12}, "pretrained_cfg": {}},
    ):
        imported = load(saved(model, tmp_path, config), overrides=told(heads=None))
        assert (imported.model.heads, imported.model.head_dim) == (12, 16)
        assert error(imported, model) < 1e-4


def test_heads_by_the_architecture(tmp_path: Path) -> None:
    """This one has 16, others of its width 12."""
    torch.manual_seed(0)
    model = timm.create_model("vit_base_patch16_gap_224", pretrained=False, depth=1, img_size=32).eval()
    config = {"architecture": "vit_base_patch16_gap_224", "num_features": 768, "global_pool": "avg",
              "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 32, 32]}}  # fmt: skip
    imported = load(saved(model, tmp_path, config))
    assert (imported.model.heads, imported.model.head_dim) == (16, 48)
    assert error(imported, model, HALF, HALF) < 1e-4
    assert "heads 16: stated by config.json: architecture vit_base_patch16_gap_224" in imported.notes
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "vit_of_tomorrow"}))
    assert "--activation gelu`, `--heads`, or" in message(tmp_path / "model.pth")


# --- norms and blocks


def test_rms_norm(tmp_path: Path) -> None:
    """All norms are the same; those that are neither are told by the file alone."""
    last = vit()
    last.norm = timm.layers.RmsNorm(128)
    assert message(saved(last, tmp_path), told()) == (
        "DIR/model.pth: norm.bias\n  expected: what the first norm is (LayerNorm, with one)\n"
        "  found:    no such tensor (RMSNorm, without a bias)\n"
        "  mend:     if it is a LayerNorm without bias, save zeros by this name"
    )
    last = vit(norm_layer=timm.layers.RmsNorm)
    last.norm = torch.nn.LayerNorm(128)
    assert message(saved(last, tmp_path), told()) == (
        "DIR/model.pth: norm.bias\n  expected: what the first norm is (RMSNorm, without a bias)\n"
        "  found:    a tensor (LayerNorm, with one)"
    )
    model = vit(norm_layer=timm.layers.RmsNorm)
    path = saved(model, tmp_path, TIMM | {"model_args": {"norm_layer": "rmsnorm"}})
    assert load(path, overrides=told()).model.rms_norm
    path = saved(vit(norm_layer=timm.layers.SimpleNorm), tmp_path, TIMM | {"model_args": {"norm_layer": "simplenorm"}})
    assert message(path, told()) == (
        "DIR/config.json: model_args.norm_layer\n"
        "  expected: a network without other norms than LayerNorm and RMSNorm: the machine has no operator for that\n"
        "  found:    'simplenorm'\n  mend:     this variant is not supported; docs/importing.md lists what is"
    )


@pytest.mark.parametrize(
    ("change", "origin"),
    [
        ({"architecture": "vit_base_patch16_rpn_224"}, "architecture vit_base_patch16_rpn_224"),
        ({"model_args": {"block_fn": "ResPostBlock"}}, "model_args.block_fn"),
    ],
)
def test_post_norm_blocks(tmp_path: Path, change: dict[str, Any], origin: str) -> None:
    """Their tensors have the names of those with the norms in front: only the file tells, or the user."""
    model = vit(block_fn=timm.models.vision_transformer.ResPostBlock)
    assert model.state_dict().keys() == vit().state_dict().keys()
    imported = load(saved(model, tmp_path, TIMM | change), overrides=told())
    assert imported.model.post_norm and f"post_norm True: stated by config.json: {origin}" in imported.notes
    assert error(imported, model, MEAN, STD) < 1e-4
    (tmp_path / "config.json").unlink()
    given = told(post_norm=True)
    assert load(tmp_path / "model.pth", overrides=given).model.post_norm
    assert not load(tmp_path / "model.pth", overrides=told()).model.post_norm
    scaled = saved(vit(init_values=0.5), tmp_path)
    assert message(scaled, given) == (
        "DIR/model.pth: blocks.0.ls1.gamma\n  expected: no LayerScale with norms behind attention and MLP, as in "
        "timm's ResPostBlock\n  found:    one"
    )


def test_epsilon(tmp_path: Path) -> None:
    model = vit(norm_layer=partial(torch.nn.LayerNorm, eps=1e-5))
    imported = load(saved(model, tmp_path, TRANSFORMERS | {"layer_norm_eps": 1e-5}, PREPROCESSOR))
    assert imported.eps == 1e-5


# --- activation


OTHERS = {
    "relu": torch.nn.ReLU,
    "silu": torch.nn.SiLU,
    "hardswish": torch.nn.Hardswish,
    "quick_gelu": timm.layers.QuickGELU,
    "gelu_tanh": timm.layers.GELUTanh,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_activations(tmp_path: Path, name: str) -> None:
    """Asked for, or read; right then, and another one would show."""
    model = vit(act_layer=OTHERS[name])
    path = saved(model, tmp_path)
    assert asked(path, told(activation=None)) == "`--activation gelu`"
    imported = load(path, overrides=told(activation=name))
    assert {layer.mlp.activation for layer in imported.model.layers} == {name}
    assert error(imported, model) < 1e-4 < error(load(path, overrides=told(activation="gelu")), model)
    for config in (TIMM | {"model_args": {"act_layer": name}}, TRANSFORMERS | {"hidden_act": name}):
        assert error(load(saved(model, tmp_path, config), overrides=told(activation=None)), model) < 1e-4


def test_an_activation_without_a_table(tmp_path: Path) -> None:
    path = saved(vit(act_layer=torch.nn.Mish), tmp_path)
    assert message(path, told(activation="mish")) == (
        f"DIR/model.pth: activation\n  expected: {' or '.join(SUPPORTED)}\n  found:    'mish'\n"
        "  mend:     hwgen's machine has no table of another activation"
    )
    for config, key in (
        (TIMM | {"model_args": {"act_layer": "mish"}}, "model_args.act_layer"),
        (TRANSFORMERS | {"hidden_act": "mish"}, "hidden_act"),
    ):
        assert message(saved(vit(), tmp_path, config), told(activation=None)) == (
            f"DIR/model.pth: activation\n  expected: {' or '.join(SUPPORTED)}\n  found:    'mish'\n"
            f"  mend:     config.json: {key} states it; if it is wrong give `--activation`"
        )


# --- pooling


@pytest.mark.parametrize("pooling", ["max", "avgmax"])
def test_other_poolings(tmp_path: Path, pooling: str) -> None:
    model = vit(global_pool=pooling)
    path = saved(model, tmp_path)
    assert asked(path, told(pooling=None)) == "`--pooling token` or `--pooling avg`"
    assert message(path, told(pooling=pooling)) == (
        f"DIR/model.pth: pooling\n  expected: token or avg\n  found:    '{pooling}'\n"
        "  mend:     other poolings, as max and avgmax, are not supported"
    )
    assert message(saved(model, tmp_path, TIMM | {"global_pool": pooling})) == (
        f"DIR/model.pth: pooling\n  expected: token or avg\n  found:    '{pooling}'\n"
        "  mend:     config.json: global_pool states it; if it is wrong give `--pooling`"
    )


@pytest.mark.parametrize(
    ("changes", "pooling", "head"),
    [
        ({"fc_norm": True}, "token", "class_token"),
        ({"global_pool": "avg", "fc_norm": False}, "avg", "mean"),
        ({"global_pool": "avg"}, "avg", "mean_norm"),
    ],
)
def test_pooling(tmp_path: Path, changes: dict[str, Any], pooling: str, head: str) -> None:
    """The norm of the head is behind the pooling if it is named so."""
    model = vit(**changes)
    imported = load(saved(model, tmp_path), overrides=told(pooling=pooling))
    assert imported.model.tasks[0].head == head
    assert error(imported, model) < 1e-4


def test_pooling_that_cannot_be(tmp_path: Path) -> None:
    path = saved(vit(global_pool="avg", class_token=False), tmp_path)
    assert asked(path, told(pooling=None)) == "`--pooling avg`"
    assert message(path, told()).startswith("DIR/model.pth: pooling\n  expected: avg\n  found:    'token'")
    np.savez(tmp_path / "m3vit.npz", **state_dict())
    assert message(tmp_path / "m3vit.npz", Overrides(pooling="avg")).startswith(
        "DIR/m3vit.npz: pooling\n  expected: no such setting"
    )


# --- the files


def test_what_is_given_comes_first_with_a_warning(tmp_path: Path) -> None:
    imported = load(saved(vit(), tmp_path, TIMM), overrides=told(heads=4))
    assert imported.model.heads == 4
    assert imported.warnings == [
        "heads 4, as given, though config.json: model_args.num_heads states 2",
        "normalize mean 0.485,0.456,0.406 std 0.229,0.224,0.225, as given, though config.json: pretrained_cfg states "
        "mean 0.5,0.5,0.5 std 0.5,0.5,0.5",
    ]
    assert load(saved(vit(), tmp_path, TIMM), overrides=told(heads=None, head_dim=32)).model.heads == 4


def test_the_config_of_another_network(tmp_path: Path) -> None:
    assert message(saved(vit(), tmp_path, TIMM | {"num_features": 192})) == (
        "DIR/config.json\n  expected: the network of DIR/model.pth, whose tokens are 128 wide\n  found:    one of 192\n"
        "  mend:     keep the checkpoint in a folder of its own, or remove that file"
    )
    wrong = TIMM | {"model_args": {"num_heads": 3}}
    assert message(saved(vit(), tmp_path, wrong), told(heads=None)).endswith(
        "heads\n  expected: heads * head_dim = 128\n  found:    3 * 42\n"
        "  mend:     config.json: model_args.num_heads states it; if it is wrong give `--heads`"
    )
    wrong = TRANSFORMERS | {"image_size": [64, 32]}
    assert message(saved(vit(), tmp_path, wrong), told()).endswith(
        "image_size\n  expected: a size of 16 patches of 8x8\n  found:    64x32\n"
        "  mend:     config.json: image_size states it; if it is wrong give `--image-size`"
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert load(saved(vit(), tmp_path, {"a": 1}), overrides=told()).warnings == [
        "config.json is neither timm's nor transformers': nothing was taken from it"
    ]
    assert "DIR/config.json\n  expected: a readable JSON file\n  found:    " in message(saved(vit(), tmp_path, "{"))
    assert message(saved(vit(), tmp_path, "[]")).startswith(
        "DIR/config.json\n  expected: a mapping of keys to values\n  found:    list\n"
    )
    wrong = TIMM | {"model_args": {"num_heads": "two"}}
    assert message(saved(vit(), tmp_path, wrong)) == (
        "DIR/config.json: model_args.num_heads\n  expected: an integer\n  found:    'two'"
    )
