"""Presets: each can be built, a board's is what `hwgen explore --fit` chooses, and the docs have their costs."""

import re
from pathlib import Path

import pytest

from hwgen.build import load_build
from hwgen.common.errors import HwgenError
from hwgen.config import load_project, read_config
from hwgen.explore import presets as module
from hwgen.explore.presets import preset_project, presets
from hwgen.explore.space import Space
from hwgen.machine.devices import find_device
from tests.paths import DOCS

FEW = {"array": [[2, 4, 4], [4, 4, 4], [4, 8, 4]], "buses": {"weights": [64], "data": [64]}}


def test_sizes_grow(config):
    """On the description alone, and on a configuration, whose other keys stay."""
    sizes = [preset_project(config.parent / "experts", name).params.macs for name in ("small", "medium", "LARGE")]
    assert sizes == sorted(sizes) and sizes[1] == 1024
    config.write_text("models: [experts, plain]\narray: {t: 2, c: 4, k: 4, multiplier_bits: 18}\nbatch: 2\n")
    made = preset_project(config, "small")
    assert (made.params.t, made.params.c, made.params.k) == (4, 8, 4)
    assert made.params.multiplier_bits == 18 and made.config.batch == 2 and len(made.models) == 2
    assert "models: [model, models/plain/model]" in made.text


def test_a_board_is_what_explore_fits(config, monkeypatch, hwgen):
    """The same array as the command, for the board's device; its `config.yaml` in the build reads itself again."""
    monkeypatch.setattr(module, "board_space", lambda board: Space.model_validate(FEW))
    monkeypatch.setattr("hwgen.explore.space.board_space", module.board_space)
    config.write_text("model: experts\n")
    code, _, err = hwgen("explore", config, "--fit", "pynq-z2", "-o", config.parent / "found", "--workers", 1)
    assert code == 0, err
    expected = load_project(config.parent / "found" / "config.yaml").params
    seen = []
    made = preset_project(config.parent / "experts", "pynq-z2", lambda *at: seen.append(at))
    assert made.params == expected and made.device == find_device("xc7z020") and seen[-1] == ("arrays", 3, 3)
    code, _, err = hwgen("build", "--preset", "pynq-z2", config.parent / "experts", "-o", config.parent / "out")
    assert code == 0, err
    built = load_build(config.parent / "out")
    assert built.params == expected
    assert load_project(config.parent / "out" / "config.yaml").params == expected


def test_refusals(config, monkeypatch):
    monkeypatch.setattr(module, "board_space", lambda board: Space.model_validate(FEW | {"array": [[3, 4, 4]]}))
    with pytest.raises(HwgenError, match=r"--preset\n  expected: small, medium, large, or a board: zcu102"):
        preset_project(config, "huge")
    with pytest.raises(HwgenError, match=r"(?s)models\n  expected: one model.*--fit pynq-z2"):
        preset_project(config, "pynq-z2")
    with pytest.raises(HwgenError, match=r"(?s)room for\n  found:    array.t: a power of two"):
        preset_project(config.parent / "experts", "pynq-z2")
    with pytest.raises(HwgenError, match=r"(?s)a config.yaml\n  found:    a quantized description.*--preset medium"):
        read_config(config.parent / "experts")
    with pytest.raises(HwgenError, match="none"):
        preset_project(Path("none"), "small")


def test_the_docs_have_them():
    """Names, arrays and ports of the table in docs/config.md."""
    row = r"^\| `(\w+)` \| (\d+) × (\d+) × (\d+) \| (\d) × (\d+), (\d+) \|"
    rows = re.findall(row, (DOCS / "config.md").read_text(), re.MULTILINE)
    stated = {name: tuple(map(int, numbers)) for name, *numbers in rows}
    assert stated == {
        name: (one.array.t, one.array.c, one.array.k, one.buses.weight_ports, one.buses.weights, one.buses.data)
        for name, one in presets().items()
    }
