"""The headline figures, by hand."""

import json
from dataclasses import replace

import pytest

from hwgen.estimate.cycles import estimate
from hwgen.machine.devices import find_board
from hwgen.network.macs import macs
from hwgen.report.cards import cards
from hwgen.report.result import Cost, Run
from tests.report.helpers import build_of, cost_of, result_of


@pytest.fixture
def shown(build):
    """The cards by label."""

    def show(run=None, cost=None, device=None, mhz=200.0, of=build):
        guess = estimate(of.compiled, "digit", of.params, latency=40)
        return {card.label: card for card in cards(of, "digit", run, guess, cost, device, mhz)}

    return show


def test_of_a_run(build, shown):
    document = result_of(build)
    document["tasks"]["digit"]["cycles_per_image"]["mean"] = 1_250_000.0
    run = Run.model_validate(json.loads(json.dumps(document))).tasks["digit"]
    found = shown(run, mhz=250)
    assert (found["cycles"].value, found["cycles"].warns) == ("1,250,000", False)
    assert found["cycles"].note == "simulated, 3 images, bit for bit the golden model's"
    assert (found["time"].value, found["time"].note) == ("5 ms", "per image at 250 MHz")
    assert found["frames per second"].value == "200"
    share = macs(build.model, "digit") / (1_250_000 * build.params.macs)
    assert found["utilization"].value == f"{share:.1%}"
    # Bytes read in vain are among those read.
    assert (found["DRAM"].value, found["DRAM"].note) == ("1.52 MB", "per image, 1.2 bytes per cycle")
    assert "accuracy" not in found and found["DSP"].note == "estimated for UltraScale+"


def test_a_run_that_differs_warns(build, shown):
    document = result_of(build)
    document["tasks"]["digit"] |= {"bit_identical": False, "accuracy": 0.25}
    found = shown(Run.model_validate(document).tasks["digit"])
    assert found["cycles"].warns and "NOT the golden" in found["cycles"].note
    assert found["accuracy"].value == "25.00%"


def test_without_a_run(build, shown):
    guess = estimate(build.compiled, "digit", build.params, latency=40)
    found = shown()
    assert found["cycles"].value == f"{guess.cycles:,}" and found["cycles"].note.startswith("by the cycle model")
    assert found["time"].value.endswith("µs")


def test_a_batch_shares_its_cycles(build, shown, tmp_path):
    twice = build_of(build.model, tmp_path, 2, 4, 4, batch=2, weight_bus=64, data_bus=64)
    guess = estimate(twice.compiled, "digit", twice.params, latency=40)
    found = shown(of=twice)
    assert found["cycles"].value == f"{guess.cycles / 2:,.0f}" and "in batches of 2" in found["time"].note


def test_accuracy(build, shown):
    found = shown(cost=Cost.model_validate(cost_of(build)))
    assert (found["top1"].value, found["top1"].note) == ("99.00%", "in integers; in floats 99.12%; 512 images")
    assert (found["against float"].value, found["against float"].note) == (
        "31.5 dB", "SQNR of the outputs; same class in 99.80%",
    )  # fmt: skip


def test_resources_against_the_device(shown):
    device = find_board("zcu102").device
    found = shown(device=device)
    assert found["DSP"].note.endswith(f"of {device.name}") and not found["DSP"].warns
    small = shown(device=replace(device, dsp=1, bram36=0))
    assert small["DSP"].warns and small["BRAM36"].note == f"estimated; {device.name} has none"
