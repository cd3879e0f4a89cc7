"""Errors of the units."""

from hwgen.evaluate.report import Report


def test_units(found: Report) -> None:
    assert {unit: max(error.largest for error in errors.values()) < 1 for unit, errors in found.units.items()} == {
        "layernorm": True, "softmax": True, "activation": True,
    }  # fmt: skip
    assert set(found.units["layernorm"]) >= {"layers.0.norm1", "layers.1.norm2", "one.norm", "pooled.norm"}
    assert len(found.units["activation"]) == 1 + 4 and len(found.units["softmax"]) == 2
