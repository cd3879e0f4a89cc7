"""Options from YAML and from the command line."""

from __future__ import annotations

import pytest

from hwgen.common.errors import HwgenError
from hwgen.quantize.options import Options, option_strings, parse_options

LAYERS = ["embed", "layers.0.moe.gate.a", "layers.0.moe.experts.0.fc1", "layers.0.moe.experts.0.fc2"]


def test_nothing_and_null_are_the_defaults() -> None:
    assert parse_options(None, "x") == parse_options({}, "x") == option_strings([]) == Options()


def test_strings_change_a_base() -> None:
    base = parse_options({"ranges": "percentile", "weight_bits": {"a": 4, "b": 8}}, "x")
    made = option_strings(["percentile=99.9", "repq=false", "weight_bits.a=8", "mean_bits=6"], base)
    assert (made.ranges, made.percentile, made.repq, made.mean_bits) == ("percentile", 99.9, False, 6)
    assert list(made.weight_bits.items()) == [("b", 8), ("a", 8)]  # the later one counts


def test_the_last_pattern_counts() -> None:
    options = option_strings(["weight_bits.layers.*.experts.*=4", "weight_bits.*.fc2=8"])
    assert options.bits(LAYERS) == {LAYERS[2]: 4, LAYERS[3]: 8}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["ranges=max"], "ranges\n  expected: 'auto', 'minmax', 'percentile' or 'mse'\n  found:    'max'"),
        (["weight_bits.embed=5"], "command line: weight_bits.embed\n  expected: 4 or 8\n  found:    5"),
        (["mean_bits=9"], "command line: mean_bits\n  expected: at most 8"),
        (["percentile=40"], "command line: percentile\n  expected: a number greater than 50\n  found:    40"),
        (["repq=perhaps"], "command line: repq\n  expected: true or false\n  found:    'perhaps'"),
        (["range=mse"], "unknown key `range`\n  mend:     did you mean `ranges`?"),
        (["mse"], "command line: mse\n  expected: key=value\n  found:    'mse'\n  mend:     for example ranges=mse"),
        (["ranges={"], "command line: ranges\n  expected: 'auto'"),
    ],
)
def test_errors_of_settings(settings: list[str], text: str) -> None:
    with pytest.raises(HwgenError) as caught:
        option_strings(settings)
    assert text in caught.value.text()


def test_pattern_without_a_layer() -> None:
    with pytest.raises(HwgenError) as caught:
        Options(weight_bits={"layers.*.mlp.*": 4}).bits(LAYERS, "quantize.yaml")
    assert caught.value.text() == (
        "quantize.yaml: weight_bits.layers.*.mlp.*\n"
        "  expected: a pattern of linear layers such as `layers.0.moe.experts.0.fc2`\n"
        "  found:    no such layer\n"
        "  mend:     `*` matches any text, dots too"
    )
