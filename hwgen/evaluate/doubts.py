"""Which assumption of an import is wrong: others are tried on one image until the outputs agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from hwgen.evaluate.error import relative_rms
from hwgen.importers import Imported
from hwgen.importers.common import HALF, IMAGENET
from hwgen.network.description import DenseMlp
from hwgen.network.floatmodel import ACTIVATIONS, FloatModel, Tap

#: Usual pairs of mean and standard deviation for pixels in 0..1: the last two are CLIP's, and pixel codes as they are.
PAIRS = (
    HALF, IMAGENET, ((0.0,) * 3, (1.0,) * 3),
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)), ((0.0,) * 3, (1 / 255,) * 3),
)  # fmt: skip
EPSILONS = (1e-5, 1e-6, 1e-12)
#: Narrowest and widest attention head that is tried.
HEAD_DIMS = (8, 256)
POOLED = ("class_token", "mean", "mean_norm")
#: Tried as a pair where nothing agrees alone; the normalisation is the likeliest of them.
PAIRED = ("normalisation", "number of heads", "pooling")
DOUBTS = "normalisation, number of heads, pooling, epsilon of the LayerNorms, activation, post-norm blocks"


@dataclass(frozen=True)
class Alternative:
    """To an assumption: what to say, the option that says it (none: not supported), and changes of a `_Trial`."""

    assumption: str
    value: str
    option: str
    changes: dict[str, Any] = field(compare=False)


def explain(imported: Imported, task: str, image: np.ndarray, wanted: np.ndarray, limit: float, normalisation: bool,
            progress: Callable[[str], None]) -> str:  # fmt: skip
    """How to mend an import whose outputs for `image` uint8 [1, H, W, C] are not `wanted` [1, rows, outputs].

    `normalisation`: may be to blame, too.
    """
    single = [one for one in _alternatives(imported) if normalisation or one.assumption != "normalisation"]
    trials = [(one,) for one in single] + [
        pair for pair in combinations((one for one in single if one.assumption in PAIRED), 2)
        if pair[0].assumption != pair[1].assumption
    ]  # fmt: skip
    for trial in trials:
        progress("not the same; trying " + ", ".join(f"{one.assumption} {one.value}" for one in trial))
        changes = {key: value for one in trial for key, value in one.changes.items()}
        with np.errstate(over="ignore"):
            error = relative_rms(_Trial(imported, **changes).run(image, task), wanted)
        if error <= limit:
            what = " and ".join(f"{one.assumption} {one.value}".rstrip() for one in trial)
            options = " ".join(one.option for one in trial)
            if all(one.option for one in trial):
                return f"with {what} it agrees ({error:.1g}): give `{options}`"
            return f"with {what} it agrees ({error:.1g}), which is not supported yet"
    doubts = DOUBTS if normalisation else DOUBTS.removeprefix("normalisation, ")
    return f"doubt {doubts}, and whether the images are the same: no usual value of one of these makes it agree"


def _alternatives(imported: Imported) -> Iterator[Alternative]:
    """Other values of every assumption, the likeliest first."""
    model = imported.model
    channels, width = model.image.channels, model.attn_dim
    for pair in PAIRS:
        mean, std = (list(values) if channels == 3 else [values[0]] * channels for values in pair)
        if np.allclose(255 * np.array([mean, std]), [imported.mean, imported.std]):
            continue
        text = " ".join(f"{key} {','.join(f'{x:g}' for x in values)}" for key, values in (("mean", mean), ("std", std)))
        changes = {"mean": [255 * value for value in mean], "std": [255 * value for value in std]}
        yield Alternative("normalisation", text, "--" + text.replace(" std", " --std"), changes)
    for heads in range(1, width // HEAD_DIMS[0] + 1):
        if width % heads == 0 and heads != model.heads and width // heads <= HEAD_DIMS[1]:
            yield Alternative("number of heads", str(heads), f"--heads {heads}", {"heads": heads})
    kinds = {one.head for one in model.tasks}
    if len(model.tasks) == 1 and kinds <= set(POOLED):
        name = model.tasks[0].name
        for kind in POOLED[model.prefix == 0 :]:
            if kind not in kinds:
                yield Alternative("pooling", kind, f"--tasks {name}:{kind}", {"pooling": kind})
        for kind in ("max", "avgmax"):
            yield Alternative("pooling", kind, "", {"pooling": kind})
    for eps in EPSILONS:
        if eps != imported.eps:
            yield Alternative("epsilon", f"{eps:g}", f"--layer-norm-eps {eps:g}", {"eps": eps})
    if all(isinstance(layer.mlp, DenseMlp) for layer in model.layers):
        for activation in ACTIVATIONS:
            if activation != imported.activation:
                yield Alternative("activation", activation, f"--activation {activation}", {"activation": activation})
        kind, option = ("pre-norm", "--no-post-norm") if model.post_norm else ("post-norm", "--post-norm")
        yield Alternative(f"{kind} blocks", "", option, {"post_norm": not model.post_norm})


class _Trial(FloatModel):
    """The imported network with other assumptions, in single precision."""

    def __init__(self, imported: Imported, *, mean: list[float] | None = None, std: list[float] | None = None,
                 heads: int | None = None, eps: float | None = None, pooling: str | None = None,
                 activation: str | None = None, post_norm: bool | None = None) -> None:  # fmt: skip
        model = imported.model
        if post_norm is not None:
            model = model.model_copy(update={"post_norm": post_norm})
        if heads is not None:
            model = model.model_copy(update={"heads": heads, "head_dim": model.attn_dim // heads})
        if pooling in POOLED:
            tasks = [one.model_copy(update={"head": pooling}) for one in model.tasks]
            model = model.model_copy(update={"tasks": tasks})
        if activation is not None:
            layers = [one.model_copy(update={"mlp": one.mlp.model_copy(update={"activation": activation})})
                      for one in model.layers]  # fmt: skip
            model = model.model_copy(update={"layers": layers})
        super().__init__(model, imported.tensors, eps=eps or imported.eps, mean=mean or imported.mean,
                         std=std or imported.std)  # fmt: skip
        self.pooling = pooling

    def head(self, number: int, x: np.ndarray, tap: Tap = lambda name, value: None) -> np.ndarray:
        """As `FloatModel.head`; `max` and `avgmax` of the patches are normalised behind the pooling, as in timm."""
        if self.pooling not in ("max", "avgmax"):
            return super().head(number, x, tap)
        patches = x[:, self.model.prefix :]
        pooled = patches.max(1, keepdims=True)
        if self.pooling == "avgmax":
            pooled = (pooled + patches.mean(1, keepdims=True)) / 2
        if self.model.tasks[number].norm:
            pooled = self._norm("nf", pooled)
        return self._linear(f"head{number}", pooled)
