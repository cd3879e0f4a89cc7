"""timm's `config.json`: architecture, what its checkpoint was trained with, arguments of the constructor.

Tested by tests/importers/test_beside.py.
"""

from __future__ import annotations

from typing import Any

from hwgen.common.strict_yaml import Read, validate
from hwgen.importers.architectures import ARCHITECTURES
from hwgen.importers.common import Finite, Normalize, Positive
from hwgen.importers.refused import ARGUMENTS, lacks
from hwgen.importers.stated import CONFIG, Stated
from hwgen.network.description import Count


class _Pretrained(Read):
    mean: list[Finite] | None = None
    std: list[Positive] | None = None
    input_size: list[Count] | None = None


class _Arguments(Read):
    """Of the constructor, where they differ from the architecture's."""

    num_heads: Count | None = None
    act_layer: str | None = None
    img_size: Count | list[Count] | None = None
    global_pool: str | None = None
    mlp_layer: str | None = None
    block_fn: str | None = None


class _Config(Read):
    architecture: str
    num_classes: int | None = None
    num_features: Count | None = None
    global_pool: str | None = None
    pretrained_cfg: _Pretrained = _Pretrained()
    model_args: _Arguments = _Arguments()


def read_timm(content: dict[str, Any], where: str, found: Stated) -> None:
    """Put into `found` what the file `where` states."""
    # Older files have the keys of `pretrained_cfg` beside the others.
    config = validate(_Config, {"pretrained_cfg": content} | content, where)
    known, given, trained = ARCHITECTURES.get(config.architecture), config.model_args, config.pretrained_cfg
    for key, (plain, operator) in ARGUMENTS.items():
        value = content.get("model_args", {}).get(key)
        if value is not None and value not in plain:
            raise lacks(where, f"model_args.{key}", operator, repr(value))
    found.width, found.classes = config.num_features, config.num_classes
    found.put("heads", given.num_heads, f"{CONFIG}: model_args.num_heads")
    found.put("activation", given.act_layer, f"{CONFIG}: model_args.act_layer")
    if given.mlp_layer == "SwiGLUPacked":
        found.put("activated", "first", f"{CONFIG}: model_args.mlp_layer")
    if known is not None:
        implied: dict[str, Any] = {
            "heads": known.heads, "activation": known.activation, "layer_norm_eps": known.eps,
        } | ({"activated": "first"} if known.packed else {})  # fmt: skip
        for key in sorted(implied.keys() - found.values.keys()):
            found.put(key, implied[key], f"{CONFIG}: architecture {config.architecture}")
    if given.block_fn is not None:
        found.put("post_norm", given.block_fn == "ResPostBlock", f"{CONFIG}: model_args.block_fn")
    elif known is not None and known.post_norm:
        found.put("post_norm", True, f"{CONFIG}: architecture {config.architecture}")
    if config.global_pool is not None:
        found.put("pooling", config.global_pool, f"{CONFIG}: global_pool")
    else:
        found.put("pooling", given.global_pool, f"{CONFIG}: model_args.global_pool")
    if trained.mean is not None and trained.std is not None:
        codes = {"mean": [255 * value for value in trained.mean], "std": [255 * value for value in trained.std]}
        normalize = validate(Normalize, codes, f"{where}: pretrained_cfg, in codes 0..255")
        found.put("normalize", normalize, f"{CONFIG}: pretrained_cfg")
    if given.img_size is not None:
        found.put_size(given.img_size, f"{CONFIG}: model_args.img_size")
    elif trained.input_size is not None:
        found.put_size(trained.input_size[1:], f"{CONFIG}: pretrained_cfg.input_size")
