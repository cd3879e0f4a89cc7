"""The report as JSON and as tables."""

import io
import json
from copy import copy
from dataclasses import replace

import pytest
from rich.console import Console

from hwgen.evaluate.report import Report


def test_json_and_tables(found: Report) -> None:
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert list(json.loads(text)) == [
        "model", "images", "tasks", "tensors", "warnings", "gate_agreement", "unit_errors_lsb", "weights",
    ]  # fmt: skip
    names = list(found.as_dict()["tensors"])
    assert names[:4] == ["embed", "layers.0.norm1", "layers.0.q", "layers.0.k"]
    assert names.index("layers.1.expert.3.hidden") < names.index("layers.1.mlp") < names.index("one.norm")
    assert names.index("layers.1.expert.3.pre") < names.index("layers.1.expert.0.hidden")
    stream = io.StringIO()
    found.show(Console(file=stream, width=80))
    assert "…" not in stream.getvalue()
    experts = ("layers.1.experts.hidden", "layers.1.experts.pre")
    for words in (*experts, "pooled.rescale", "Tokens with the same experts", "layernorm"):
        assert words in stream.getvalue()


def test_tensors_of_each_task(found: Report) -> None:
    rows = found.as_dict()["tensors"]
    assert set(rows["layers.1.norm2"]["by_task"]) == {"one", "other", "pooled", "mean", "map", "raw"}
    assert "by_task" not in rows["one.norm"]
    for name, tensor in found.tensors.items():
        parts = [tensors[name] for tensors in found.by_task.values() if name in tensors]
        for total in ("values", "clipped", "noise", "clipped_noise", "signal"):
            assert getattr(tensor, total) == pytest.approx(sum(getattr(part, total) for part in parts)), name


def clipping(found: Report, loud: str) -> Report:
    """A report in which clipped values make 2 % of the error of all tensors of one task, 0.5 % in the others."""
    by_task = {name: {key: copy(tensor) for key, tensor in tensors.items()} for name, tensors in found.by_task.items()}
    for task, tensors in by_task.items():
        for tensor in tensors.values():
            tensor.clipped_noise = (0.02 if task == loud else 0.005) * tensor.noise
    return replace(found, by_task=by_task)


def test_clipping_that_matters_is_a_warning(found: Report) -> None:
    """In one task of six suffices; of q, k, v and what is behind a head's norm the figures tell."""
    assert clipping(found, "none").as_dict()["warnings"] == []
    loud = clipping(found, "map")
    warned = [line.partition(":")[0] for line in loud.as_dict()["warnings"]]
    kinds = {name.rpartition(".")[2] for name in warned}
    assert kinds == {"embed", "norm1", "context", "attn", "norm2", "pre", "hidden", "mlp", "norm"}
    assert loud.warnings()[0] == "embed: values beyond its codes make a good part of its error (map 2%)"
    stream = io.StringIO()
    loud.show(Console(file=stream, width=200))
    assert "warning: layers.1.norm2: values beyond its codes" in stream.getvalue()
