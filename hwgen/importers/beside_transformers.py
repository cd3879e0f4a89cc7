"""transformers' `config.json` and `preprocessor_config.json`. Tested by tests/importers/test_huggingface.py."""

from __future__ import annotations

from typing import Any

from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Read, validate
from hwgen.importers.common import Finite, ImageSize, Normalize, Positive
from hwgen.importers.refused import MODEL_TYPES, lacks
from hwgen.importers.stated import CONFIG, PREPROCESSOR, Stated
from hwgen.network.description import Count

_COMMON: dict[str, Any] = {"hidden_size": 768, "num_attention_heads": 12, "image_size": 224}
#: What keys are that a file leaves out, by `model_type`: the defaults of transformers 5.24.0; a test compares them.
DEFAULTS: dict[str, dict[str, Any]] = {
    name: _COMMON | {"hidden_act": activation, "layer_norm_eps": eps}
    for name, activation, eps in (
        ("vit", "gelu", 1e-12), ("deit", "gelu", 1e-12), ("vit_mae", "gelu", 1e-12), ("ijepa", "gelu", 1e-12),
        ("vit_msn", "gelu", 1e-6), ("dinov2", "gelu", 1e-6), ("dinov2_with_registers", "gelu", 1e-6),
        ("clip_vision_model", "quick_gelu", 1e-5), ("siglip_vision_model", "gelu_pytorch_tanh", 1e-6),
    )
}  # fmt: skip
#: Networks of an image and a text tower, and their image tower.
TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
#: Networks whose head reads the class token; with the tensor names of another library nothing else says so.
CLASS_TOKEN = ("vit", "deit", "vit_msn")


class _Config(Read):
    hidden_size: Count
    num_attention_heads: Count
    layer_norm_eps: Positive | None = None
    hidden_act: str | None = None
    image_size: Count | list[Count] | None = None
    use_swiglu_ffn: bool = False


class _Preprocessor(Read):
    do_normalize: bool = True
    do_rescale: bool = True
    rescale_factor: Positive = 1 / 255
    image_mean: list[Finite] | None = None
    image_std: list[Positive] | None = None


def is_transformers(content: dict[str, Any]) -> bool:
    """Whether a `config.json` tells of a network of transformers."""
    kind = str(content.get("model_type"))
    return kind in DEFAULTS or kind in TOWERS or kind in MODEL_TYPES or (
        "hidden_size" in content and "num_attention_heads" in content
    )  # fmt: skip


def read_transformers(content: dict[str, Any], where: str, found: Stated) -> None:
    """Put into `found` what the file `where` states."""
    kind, prefix = content.get("model_type"), ""
    if not isinstance(kind, str | None):
        raise HwgenError(where, "model_type", expected="text", found=repr(kind), mend="correct or remove it")
    found.model_type = kind
    if kind in MODEL_TYPES:
        raise lacks(where, "model_type", MODEL_TYPES[kind], repr(kind))
    labels = content.get("id2label")
    if isinstance(labels, dict):
        found.classes = len(labels)
    if kind in TOWERS:
        found.model_type = kind = TOWERS[kind]
        content, prefix = content.get("vision_config") or {}, "vision_config."
    defaults = DEFAULTS.get(str(kind), {})
    config = validate(_Config, defaults | content, where)
    origins = {
        key: f"{CONFIG}: {prefix}{key}" if key in content else f"{CONFIG}: model_type {kind}, whose default it is"
        for key in defaults.keys() | content.keys()
    }
    found.width = config.hidden_size
    found.put("heads", config.num_attention_heads, origins["num_attention_heads"])
    if config.use_swiglu_ffn:  # whatever hidden_act says
        found.put("activation", "silu", f"{CONFIG}: {prefix}use_swiglu_ffn")
    else:
        found.put("activation", config.hidden_act, origins.get("hidden_act", ""))
    found.put("layer_norm_eps", config.layer_norm_eps, origins.get("layer_norm_eps", ""))
    if kind in CLASS_TOKEN:
        found.put("pooling", "token", f"{CONFIG}: model_type {kind}")
    if config.image_size is not None:
        found.put_size(config.image_size, origins["image_size"])


def read_preprocessor(content: dict[str, Any], where: str, found: Stated) -> None:
    """Put into `found` what the file `where` states of pixels."""
    config = validate(_Preprocessor, content, where)
    unit = round(1 / config.rescale_factor, 9) if config.do_rescale else 1.0
    mean, std = config.image_mean, config.image_std
    if not config.do_normalize:
        channels = 3 if mean is None else len(mean)
        mean, std = [0.0] * channels, [1.0] * channels
    if mean is not None and std is not None:
        codes = {"mean": [unit * value for value in mean], "std": [unit * value for value in std]}
        normalize = validate(Normalize, codes, f"{where}: in codes 0..255")
        found.put("normalize", normalize, PREPROCESSOR)
    size = content.get("crop_size" if content.get("do_center_crop") else "size")
    if isinstance(size, dict) and all(isinstance(size.get(key), int) for key in ("height", "width")):
        found.prepared = validate(ImageSize, {key: size[key] for key in ("height", "width")}, f"{where}: size")
