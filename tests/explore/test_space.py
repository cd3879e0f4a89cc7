"""`space.yaml`: all combinations, what it leaves out from the configuration, and what it may not say."""

import pytest

from hwgen.common.errors import HwgenError
from hwgen.explore.space import Point, Space, board_space, configuration, points, read_space
from hwgen.machine.devices import find_board


def test_all_combinations(project):
    space = Space.model_validate({
        "array": {"t": [2, 4], "c": [4], "k": [2, 4]}, "buses": {"weights": [64, 128]},
        "weight_depth": ["auto", 512], "batch": [1, 3], "weight_bits": [8, 4], "models": ["plain"],
    })  # fmt: skip
    found = points(space, project, "space.yaml")
    assert len(found) == len(set(found)) == 4 * 2 * 2 * 2 * 2
    assert found[0] == Point(2, 4, 2, 64, 128, 1, None, None, 1, 8, "plain")
    assert {point.weight_depth for point in found} == {None, 512} and {point.data for point in found} == {128}


def test_what_is_left_out_is_the_configurations(project):
    assert points(Space(), project, "x") == [
        Point(2, 4, 4, 256, 128, 1, None, None, 1, None, name) for name in ("random", "plain")
    ]
    shapes = Space.model_validate({"array": [[2, 2, 2], [4, 4, 1]]})
    assert [(point.t, point.c, point.k) for point in points(shapes, project, "x")][::2] == [(2, 2, 2), (4, 4, 1)]


@pytest.mark.parametrize(
    "text, said",
    [
        ("arrays: {}", "arrays"), ("array: {t: [2], c: [2]}", "array"), ("array: {t: [], c: [2], k: [2]}", "array"),
        ("batch: [one]", "batch"), ("weight_bits: [5]", "weight_bits"), ("- 1", "a mapping of keys to values"),
    ],
)  # fmt: skip
def test_bad_files_are_refused(tmp_path, text, said):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(HwgenError) as error:
        read_space(tmp_path / "space.yaml")
    assert "space.yaml" in error.value.text() and said in error.value.text()


def test_unknown_models_and_too_many_designs(project):
    with pytest.raises(HwgenError, match=r"models\n  expected: random or plain\n  found:    vit"):
        points(Space(models=["vit"]), project, "space.yaml")
    many = Space.model_validate({"batch": list(range(1, 400)), "weight_depth": list(range(1, 400))})
    with pytest.raises(HwgenError, match=r"at most 100,000 designs\n  found:    318,402"):
        points(many, project, "space.yaml")


def test_boards(project):
    """Buses as wide as a port; one port stays for the data; bursts and multipliers are the board's."""
    board = find_board("pynq-z2")
    space = board_space(board)
    assert (space.buses.weights, space.buses.data, space.buses.weight_ports) == ([64], [64], [1, 2, 4])
    point = points(space, project, "x")[0]
    made = configuration(project.config, point, board)
    assert (made.axi.burst, made.array.multiplier_bits, made.device) == (16, 18, "xc7z020")
    plain = configuration(project.config, point, None)
    assert (plain.axi.burst, plain.array.multiplier_bits, plain.device) == (64, 27, None)
    assert (plain.array.t, plain.buses.weights, plain.batch) == (point.t, 64, 1)
