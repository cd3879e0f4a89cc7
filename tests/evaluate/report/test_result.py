"""The report as JSON and as tables."""

import io
import json

from rich.console import Console

from hwgen.evaluate.report import Report


def test_json_and_tables(found: Report) -> None:
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert list(json.loads(text)) == [
        "model", "images", "tasks", "tensors", "gate_agreement", "unit_errors_lsb", "weights",
    ]  # fmt: skip
    names = list(found.as_dict()["tensors"])
    assert names[:4] == ["embed", "layers.0.norm1", "layers.0.q", "layers.0.k"]
    assert names.index("layers.1.expert.3.hidden") < names.index("layers.1.mlp") < names.index("one.norm")
    stream = io.StringIO()
    found.show(Console(file=stream, width=80))
    assert "…" not in stream.getvalue()
    for words in ("layers.1.experts.hidden", "pooled.rescale", "Tokens with the same experts", "layernorm"):
        assert words in stream.getvalue()
