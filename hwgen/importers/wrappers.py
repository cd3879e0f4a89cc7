"""Names of tensors in the network itself, without what wrappers and training code put before and beside them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from hwgen.common.errors import HwgenError

#: What wrappers put before every name.
WRAPPERS = ("module.", "_orig_mod.", "model.")
BACKBONE = "backbone."
#: Of two networks in one file, the one that is wanted: running averages.
AVERAGED = re.compile(r"(^|[._])(ema|teacher|averaged|swa|momentum)([._]|$)")
#: Names, or their first part, of what only training uses, as metrics and losses; and counters that profilers leave.
TRAINING = re.compile(
    r"(?:\w*_)?(?:loss(?:es|_fn|_fct)?|criterion|criteria|metrics?|acc(?:uracy)?\d*|auroc|f1(?:_?score)?|precision|recall"
    r"|miou|iou|confusion(?:_?mat(?:rix)?)?|confmat)(?:_\w*)?\..*|(?:.*\.)?total_(?:ops|params)|n_averaged"
)
#: Of the networks that train DINO and its kind; no ViT has them in its head.
PROJECTION = re.compile(r"(?:dino_|ibot_)?head\.(?:mlp|last_layer)\..*")

Tensors = dict[str, np.ndarray]
Note = Callable[[str], None]


def unwrap(tensors: Mapping[str, np.ndarray], where: str) -> Tensors:
    """The tensors by their names in the model itself, without the prefixes of wrappers that all of them have."""
    names = {name: name for name in tensors}
    for prefix in WRAPPERS * 2:  # a wrapper in a wrapper
        if all(name.startswith(prefix) for name in names.values()):
            names = {key: name.removeprefix(prefix) for key, name in names.items()}
    return _renamed(tensors, {key: name.removeprefix(BACKBONE) for key, name in names.items()}, where)


def find_network(tensors: Mapping[str, np.ndarray], signs: Iterable[str], where: str, note: Note) -> Tensors:
    """Of the tensors those of the network, by their names in it: `signs` are patterns of names that show where it is.

    A module that holds the network (`net.`, `vit.`, `timm_model.`) is taken off all names that have it; metrics, losses
    and the projection heads of self-supervision are left out, which `note` is told. Other tensors stay as they are.
    """
    tensors = _without_training(tensors, note)
    prefixes = _prefixes(tensors, signs)
    if not prefixes or prefixes == {""}:
        return dict(tensors)
    prefix = _chosen(prefixes, where)
    others = [other for other in prefixes if other != prefix and not prefix.startswith(other or " ")]
    left = {key for key in tensors if any(key.startswith(other) for other in others if other)}
    if "" in prefixes and prefix:
        left = {key for key in tensors if not key.startswith(prefix)}
    if len(prefixes) > 1:
        note(f"the network `{prefix.rstrip('.') or 'without a prefix'}` of {len(prefixes)} in the file; "
             f"{len(left)} tensors left out")  # fmt: skip
    kept = {key: tensor for key, tensor in tensors.items() if key not in left}
    return _renamed(kept, {key: key.removeprefix(prefix) for key in kept}, where)


def _without_training(tensors: Mapping[str, np.ndarray], note: Note) -> dict[str, np.ndarray]:
    kept = {name: tensor for name, tensor in tensors.items() if not TRAINING.fullmatch(name)}
    left = sorted({name.split(".")[0] for name in tensors if name not in kept})
    if left:
        note(f"{len(tensors) - len(kept)} tensors of metrics and losses ({', '.join(left[:4])}) left out")
    bare = {name: tensor for name, tensor in kept.items() if not PROJECTION.fullmatch(name)}
    if len(bare) < len(kept):
        note(f"{len(kept) - len(bare)} tensors of a projection head, as self-supervised training has it, left out")
    return bare


def _prefixes(names: Iterable[str], signs: Iterable[str]) -> set[str]:
    """What stands before a sign, in all names."""
    patterns = [re.compile(r"(?s)(?P<prefix>(?:.*\.)?)" + fnmatch.translate(sign).removeprefix("(?s:")
                           .replace(r")\Z", "").replace(r")\z", "") + r"\Z") for sign in signs]  # fmt: skip
    found = set()
    for pattern in patterns:
        found |= {match["prefix"] for name in names if (match := pattern.match(name))}
        if found:
            return found
    return found


def _chosen(prefixes: set[str], where: str) -> str:
    averaged = sorted(prefix for prefix in prefixes if AVERAGED.search(prefix))
    if len(averaged) == 1:
        return averaged[0]
    if len(prefixes) == 1:
        return next(iter(prefixes))
    if "" in prefixes:
        return ""
    names = ", ".join(f"`{prefix}`" for prefix in sorted(prefixes))
    raise HwgenError(where, expected="one network", found=f"{len(prefixes)}, under {names}",
                     mend="save the state dict of the one that is wanted")  # fmt: skip


def _renamed(tensors: Mapping[str, np.ndarray], names: Mapping[str, str], where: str) -> Tensors:
    result: Tensors = {}
    for key, name in names.items():
        if name in result:
            prefix = max((key, next(one for one in names if names[one] == name)), key=len).removesuffix(name)
            raise HwgenError(where, key, expected="each name once", found=f"`{name}` and `{prefix}{name}`")
        result[name] = tensors[key]
    return result
