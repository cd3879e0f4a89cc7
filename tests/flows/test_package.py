"""What `hwgen build` writes for other tools."""

import shutil

import numpy as np
import pytest

from hwgen.compiler import compile_model
from hwgen.flows import package
from hwgen.machine.devices import boards, devices
from hwgen.machine.emission import TOP
from hwgen.machine.params import HwParams
from tests.flows.helpers import BUILD_HASH, VERILOG, kernel_sources
from tests.hollow import hollow_verilog
from tests.random_model import random_description, random_images

PARAMS = HwParams(t=2, c=2, k=2, weight_bus=64, data_bus=64)


@pytest.fixture
def written(tmp_path):
    """For a device: the build's directory."""
    model = random_description(3)

    def write(device, images=None):
        path = tmp_path / VERILOG
        path.parent.mkdir(parents=True)
        path.write_text(hollow_verilog(PARAMS))
        if images is not None:
            np.savez(tmp_path / "images.npz", images=images)
        package.write(
            tmp_path, top=TOP, params=PARAMS, build_hash=BUILD_HASH, device=device, model=model,
            compiled=compile_model(model, PARAMS, batch=3),
        )  # fmt: skip
        return tmp_path

    return write


@pytest.mark.parametrize(
    "name, part, period",
    [(None, devices()["xczu9eg"].part, "5.000"), ("xcu280", devices()["xcu280"].part, "5.000"),
     ("lfe5u-85f", devices()["xczu9eg"].part, "5.000"), ("pynq-z2", boards()["pynq-z2"].device.part, "10.000")],
)  # fmt: skip
def test_device_and_clock(written, name, part, period):
    build = written(name)
    assert f"set part [argument 0 {part}]" in (build / "vivado/synth.tcl").read_text()
    assert f"-period {period} " in (build / "vivado/clock.xdc").read_text()


def test_hls_sources(written, tmp_path):
    """What Vitis needs is there if they are, with the same images and outputs as the simulation of the Verilog."""
    build = written("kv260")
    assert not (build / "hls").exists()
    shutil.rmtree(build)
    for name, text in kernel_sources(PARAMS, TOP).items():
        (tmp_path / "hls/src").mkdir(parents=True, exist_ok=True)
        (tmp_path / "hls/src" / name).write_text(text)
    home = written("kv260") / "hls"
    assert f"part={boards()['kv260'].device.part}\n" in (home / "vitis/hls_config.cfg").read_text()
    for file in (tmp_path / "fusesoc").glob("*.bin"):
        assert (home / "tb" / file.with_suffix(".dat").name).read_bytes() == file.read_bytes()


def test_images_of_the_configuration(written):
    """Too few for a run: the last one again."""
    images = random_images(random_description(3), 2, 1)
    raw = (written(None, images) / "fusesoc/input.bin").read_bytes()
    size = images[0].size
    stride = (len(raw) - size) // 2
    parts = [raw[start : start + size] for start in (0, stride, 2 * stride)]
    assert parts == [images[0].tobytes(), images[1].tobytes(), images[1].tobytes()]
