"""Names of tensors in the network itself, without what wrappers and training code put before and beside them."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.source import Source

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
PROJECTION = [f"{head}.{part}.*" for head in ("head", "dino_head", "ibot_head") for part in ("mlp", "last_layer")]

Tensors = dict[str, np.ndarray]
#: Patterns of names, all of which a network has.
Sign = tuple[str, ...]
Note = Callable[[str], None]


def unwrap(tensors: Mapping[str, np.ndarray], where: str) -> Tensors:
    """The tensors by their names in the model itself, without the prefixes of wrappers that all of them have."""
    names = {name: name for name in tensors}
    for prefix in WRAPPERS * 2:  # a wrapper in a wrapper
        if all(name.startswith(prefix) for name in names.values()):
            names = {key: name.removeprefix(prefix) for key, name in names.items()}
    return _renamed(tensors, {key: name.removeprefix(BACKBONE) for key, name in names.items()}, where)


def find_network(tensors: Mapping[str, np.ndarray], signs: Iterable[Sign], where: str, note: Note) -> Tensors:
    """Of the tensors those of the network, by their names in it: `signs` show where it is, the most special first.

    A module that holds the network (`net.`, `vit.`, `timm_model.`) is taken off all names that have it; metrics and
    losses are left out, which `note` is told. Other tensors stay as they are.
    """
    tensors = _without_training(tensors, note)
    prefixes = _prefixes(list(tensors), signs)
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


def without_projection(source: Source) -> list[str]:
    """Drop a projection head, of which the official formats know themselves; a note of it."""
    count = sum(source.ignore(pattern) for pattern in PROJECTION)
    return [f"{count} tensors of a projection head, as self-supervised training has it, left out"] if count else []


def _without_training(tensors: Mapping[str, np.ndarray], note: Note) -> dict[str, np.ndarray]:
    kept = {name: tensor for name, tensor in tensors.items() if not TRAINING.fullmatch(name)}
    left = sorted({name.split(".")[0] for name in tensors if name not in kept})
    if left:
        note(f"{len(tensors) - len(kept)} tensors of metrics and losses ({', '.join(left[:4])}) left out")
    return kept


def _prefixes(names: list[str], signs: Iterable[Sign]) -> set[str]:
    """What stands before the first sign that is there, once before all of its patterns."""
    for sign in signs:
        found = set.intersection(*(_before(names, pattern) for pattern in sign))
        if found:
            return found
    return set()


def _before(names: list[str], pattern: str) -> set[str]:
    """What stands before a pattern. One that begins with `*` takes some of it itself: for that only what all names have
    is taken off, or that by which several networks differ."""
    if pattern.startswith("*"):
        return _modules(fnmatch.filter(names, pattern), names, pattern)
    regex = re.compile(r"(?s)(?P<prefix>(?:.*\.)?)" + fnmatch.translate(pattern).removeprefix("(?s:")
                       .replace(r")\Z", "").replace(r")\z", "") + r"\Z")  # fmt: skip
    return {match["prefix"] for name in names if (match := regex.match(name))}


def _modules(found: list[str], names: list[str], pattern: str) -> set[str]:
    """The modules that hold the tensors `found` by a pattern."""
    common = _common(found if len(found) > 1 else names)
    result = set()
    for name in found:
        parts = name.split(".")
        count = common + (len(found) > 1)
        while not fnmatch.fnmatchcase(".".join(parts[count:]), pattern):
            count -= 1
        result.add("".join(f"{part}." for part in parts[:count]))
    return result


def _common(names: list[str]) -> int:
    """How many modules all names begin with."""
    columns = zip(*(name.split(".")[:-1] for name in names))
    return len(list(itertools.takewhile(lambda column: len(set(column)) == 1, columns)))


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
