"""The random descriptions that other tests are built on."""

from __future__ import annotations

import numpy as np
import pytest

from golden.model import Golden
from hwgen.common.errors import HwgenError
from hwgen.network.description import expected_tensors
from tests.random_model import random_description, random_images

#: Largest codes of row operands and of column operands.
FULL = {"q": 255, "k": 127, "v": 127, "norm1": 255, "norm2": 255}


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_random_descriptions_are_valid_deterministic_and_lively(start: int) -> None:
    for seed in range(start, start + 50):
        description = random_description(seed)  # checks itself against expected_tensors
        if seed % 10:
            continue
        again = random_description(seed)
        assert again.model == description.model
        assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in description.tensors.items())
        images = random_images(description, 3, seed)
        assert np.array_equal(images, random_images(again, 3, seed))
        for task in description.model.tasks:
            tensors = Golden(description).run(images, task.name, keep=True).tensors
            for name, tensor in tensors.items():
                kind = name.rpartition(".")[2]
                if kind in FULL:
                    assert 0.12 < tensor.std() / FULL[kind] < 0.55, f"{seed} {name}"
                    assert np.mean(np.abs(tensor.astype(int)) >= FULL[kind]) < 0.1, f"{seed} {name}"
            assert len(np.unique(tensors[f"{task.name}.output"])) > 3, seed


def test_what_few_networks_have_is_drawn() -> None:
    models = [random_description(seed).model for seed in range(100, 140)]
    assert {model.register_tokens for model in models} == {0, 1, 4, 9}
    assert {model.norm_pre for model in models} == {model.qk_norm for model in models} == {False, True}
    assert len({(model.rms_norm, model.qk_norm) for model in models}) == 4
    assert len({(model.post_norm, model.qk_norm) for model in models}) == 4
    pooled = [task for model in models for task in model.tasks if task.head == "map"]
    assert {task.outputs is None for task in pooled} == {task.norm for task in pooled} == {False, True}
    usual = [random_description(seed).model for seed in range(40)]
    assert not any(model.rms_norm or model.post_norm for model in usual)
    assert not any(model.register_tokens or model.norm_pre or model.qk_norm for model in usual)


def test_overrides_and_gain() -> None:
    description = random_description(7, dim=24, class_token=False, image={"height": 9, "width": 8, "channels": 1})
    assert (description.model.dim, description.model.tokens) == (24, description.model.patches)
    assert set(description.tensors) == set(expected_tensors(description.model))
    loud, quiet = (random_description(7, gain=gain).tensors["embed.mult"] for gain in (1.0, 1.5))
    assert (loud != quiet).any()
    with pytest.raises(HwgenError, match="unknown key `dims`\n  mend:     did you mean `dim`"):
        random_description(7, dims=24)
