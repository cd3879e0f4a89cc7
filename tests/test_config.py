"""Every mistake in config.yaml: file, key, what was expected, what was found."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hwgen.common.errors import HwgenError
from hwgen.config import load_project
from hwgen.machine.emission import Emission
from hwgen.network import description
from tests.random_model import random_description


@pytest.fixture
def write(tmp_path):
    desc = random_description(1)
    description.save(desc, tmp_path / "model")
    np.savez(tmp_path / "images.npz", images=np.zeros(1, np.uint8))

    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def test_defaults_and_overrides(write):
    p = load_project(write("model: model\n")).params
    assert (p.t, p.c, p.k, p.weight_bus, p.data_bus) == (8, 16, 8, 256, 128)
    changed = load_project(write("model: model\nbuffers: {weight_depth: 4096}\nbuses: {data: 64}\n")).params
    assert (changed.weight_depth, changed.data_bus, changed.x_depth) == (4096, 64, p.x_depth)
    assert load_project(write("model: model\nbuffers: auto\n")).params == p
    axi = load_project(write("model: model\naxi: {burst: 16, id_bits: 6, cache: 0b1111, prot: 2}\n")).params
    assert axi == replace(p, max_burst=16, id_bits=6, axi_cache=15, axi_prot=2)
    rtl = load_project(write("model: model\nrtl: {prefix: my_, debug: false, ram_init: true}\n"))
    assert (rtl.params, rtl.emission) == (p, Emission("my_", debug=False, ram_init=True))
    assert rtl.config.backends == ["amaranth"]
    both = load_project(write("model: model\nbackends: [amaranth, hls]\n"))
    assert (both.params, both.config.backends) == (p, ["amaranth", "hls"])
    striped = load_project(write("model: model\nbuses: {weights: 128, weight_ports: 2}\n")).params
    assert (striped.weight_bus, striped.weight_ports, striped.port_bits) == (256, 2, 128)


def test_features_of_the_models(write, tmp_path):
    """Set by the models, also for another array; no key says so."""
    desc = random_description(1, rms_norm=True)
    description.save(replace(desc, model=desc.model.model_copy(update={"name": "other"})), tmp_path / "other")
    project = load_project(write("models: [model, other]\n"))
    assert project.params.rms_norm and project.resized(4, 8, 4).rms_norm
    assert not load_project(write("model: model\n")).params.rms_norm
    with pytest.raises(HwgenError, match="unknown key"):
        load_project(write("models: [model, other]\nbuffers: {rms_norm: false}\n"))


def test_device_with_ultra_ram(write):
    """Also for another array of the same configuration."""
    for device, there in (("kv260", True), ("zcu102", False)):
        project = load_project(write(f"model: model\ndevice: {device}\n"))
        assert project.params.ultra_ram == project.resized(4, 8, 4).ultra_ram == there


def test_sized_for_all_models(write, tmp_path):
    large = random_description(2, dim=40, image={"height": 12, "width": 12, "channels": 1})
    large = replace(large, model=large.model.model_copy(update={"name": "large"}))
    description.save(large, tmp_path / "large")
    small = load_project(write("model: model\n")).params
    both = load_project(write("models: [model, large/model.yaml]\n"))
    assert both.params.norm_depth > small.norm_depth
    assert len(both.models) == 2


@pytest.mark.parametrize(
    ("text", "key", "expected", "found"),
    [
        ("model: model\narray: {t: 6}\n", "array.t", "a power of two from 2 to 64", "6"),
        ("model: model\narray: {c: '8'}\n", "array.c", "an integer", "'8'"),
        ("model: model\narray: {k: 64}\n", "array.k", "a power of two from 1 to 32", "64"),
        ("model: model\nbuses: {weights: 1024}\n", "buses.weights", "a power of two from 64 to 512", "1024"),
        ("model: model\nbuses: {weight_ports: 3}\n", "buses.weight_ports", "1, 2 or 4", "3"),
        ("model: model\nbuses: {weight_ports: 0}\n", "buses.weight_ports", "1, 2 or 4", "0"),
        ("model: model\nbuses: {weights: 512, weight_ports: 2}\n", "buses.weights",
         "a power of two from 32 to 256: bits of each of the 2 ports", "512"),
        ("model: model\nbuses: {weights: 16, weight_ports: 4}\n", "buses.weights",
         "a power of two from 32 to 128: bits of each of the 4 ports", "16"),
        ("model: model\nbuses: {weights: 96, weight_ports: 2}\n", "buses.weights",
         "a power of two from 32 to 256: bits of each of the 2 ports", "96"),
        ("model: model\narray: {multiplier_bits: 25}\n", "array.multiplier_bits", "18 or 27", "25"),
        ("model: model\naxi: {burst: 48}\n", "axi.burst", "a power of two from 1 to 256", "48"),
        ("model: model\naxi: {id_bits: 0}\n", "axi.id_bits", "an integer from 1 to 16", "0"),
        ("model: model\naxi: {cache: 16}\n", "axi.cache", "an integer from 0 to 15", "16"),
        ("model: model\naxi: {prot: 8}\n", "axi.prot", "an integer from 0 to 7", "8"),
        ("model: model\naxi: {len: 8}\n", "axi.len", "no such key here", "unknown key `len`"),
        ("model: model\nrtl: {prefix: 9x}\n", "rtl.prefix", "a letter, then letters, digits or underscores", "'9x'"),
        ("model: model\nrtl: {prefix: x-}\n", "rtl.prefix", "a letter, then letters, digits or underscores", "'x-'"),
        ("model: model\nrtl: {debug: 3}\n", "rtl.debug", "true or false", "3"),
        ("model: model\narrays: {t: 8}\n", "arrays", "no such key here", "unknown key `arrays`"),
        ("model: model\nbuffers: large\n", "buffers", "`auto` or a mapping of sizes", "'large'"),
        ("model: model\nbuffers: {x_depth: 0}\n", "buffers.x_depth", "an integer from 1 to 65536", "0"),
        ("model: model\nbuffers: {on_chip: much}\n", "buffers.on_chip", "a size such as `3000 KB`", "'much'"),
        ("model: model\nbuffers: {on_chip: 1}\n", "buffers.on_chip", "at least 11 KB", "1 KB"),
        ("model: model\nbuffers: {xdepth: 9}\n", "buffers.xdepth", "no such key here", "unknown key `xdepth`"),
        ("model: model\nbackends: [hls]\n", "backends", "[amaranth] or [amaranth, hls]", "['hls']"),
        ("model: model\nbackends: []\n", "backends", "[amaranth] or [amaranth, hls]", "[]"),
        ("model: model\nbackends: [amaranth, amaranth]\n", "backends", "[amaranth] or [amaranth, hls]", "['amaranth'"),
        ("model: model\nbatch: 0\n", "batch", "at least 1", "0"),
        ("model: model\nbatch: 65\n", "batch", "at most 64", "65"),
        ("model: model\nbatch: '2'\n", "batch", "an integer", "'2'"),
        ("array: {t: 8}\n", "model", "either `model` or `models`", "neither"),
        ("model: model\nmodels: [model]\n", "model", "either `model` or `models`", "both"),
        ("models: [model, model/model.yaml]\n", "models", "models of different names", "`random` 2 times: "),
        ("model: model\nimages: {nobody: images.npz}\n", "images.nobody", "random", "nobody"),
        ("model: model\nimages: {random: none.npz}\n", "images", "an .npz file with `images` (and `labels`)",
         "no file"),
        ("model: model\nimages: 3\n", "images", "a file, or a mapping of the models' names to files", "3"),
        ("model: model\nimages: {random: [a]}\n", "images", "a file, or a mapping of the models' names to files", ""),
        ("models: []\n", "models", "a list of at least 1", "[]"),
        ("model: model\nimages: none.npz\n", "images", "an .npz file with `images` (and `labels`)", "no file"),
        ("- model\n", "", "a mapping of keys to values", "['model']"),
    ],
)
def test_mistakes(write, text, key, expected, found):
    path = write(text)
    with pytest.raises(HwgenError) as error:
        load_project(path)
    assert (error.value.where, error.value.key, error.value.expected) == (str(path), key, expected)
    assert error.value.found.startswith(found)


def test_too_small_buffers(write):
    path = write("model: model\nbuffers: {x_depth: 3, y_depth: 1}\n")
    with pytest.raises(HwgenError) as error:
        load_project(path)
    assert error.value.key == "buffers.x_depth, buffers.y_depth"
    assert re.search(r"x_depth of at least \d+ \(the residual stream\)", error.value.expected)
    assert re.search(r"x_depth = 3, too small by \d+, y_depth = 1, too small by", error.value.found)


def test_batch(write, tmp_path):
    """Buffers are sized for all images of a run; the errors say what to do."""
    one, four = (load_project(write(f"model: model\nbatch: {batch}\n")).params for batch in (1, 4))
    tokens = random_description(1).model.tokens
    assert (one.max_tokens, four.max_tokens) == (tokens, 4 * tokens)
    assert four.x_depth > one.x_depth
    with pytest.raises(HwgenError) as error:
        load_project(write(f"model: model\nbatch: 4\nbuffers: {{max_tokens: {tokens}}}\n"))
    assert error.value.key == "buffers.max_tokens"
    assert error.value.mend.endswith("or lower `batch`")
    large = random_description(2, image={"height": 64, "width": 64, "channels": 1})
    description.save(large, tmp_path / "large")
    with pytest.raises(HwgenError) as error:
        load_project(write("model: large\nbatch: 64\n"))
    assert (error.value.key, error.value.mend) == ("buffers.max_tokens", "lower `batch`")
    assert error.value.found == f"{64 * large.model.tokens}, what `batch: 64` needs"


def test_missing_files(write, tmp_path):
    with pytest.raises(HwgenError, match=r"nothing.yaml\n  expected: a readable YAML file\n  found:    No such file"):
        load_project(tmp_path / "nothing.yaml")
    with pytest.raises(HwgenError, match=r"models2\n  expected: a readable YAML file"):
        load_project(write("model: models2\n"))
