"""How faithful the integer network is to a trained one, method by method: bench/fidelity.json.

python -m bench.fidelity [--network NAME] [--edge-moe FOLDER] [--method NAME ...]

`dinov2_small`: DINOv2 ViT-S/14 of examples/dinov2_saliency, on 16 crops of photographs that calibration never sees;
besides its tokens the saliency map that the package's own decoder makes of them. `edge_moe_released`: the weight folder
of Edge-MoE's repository (--edge-moe; its expert files are not in every copy: what is missing is drawn), both tasks.
The golden model computes the integer network, so every figure is that of the hardware, to the bit.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from golden.model import Golden
from hwgen.cli.console import progress_steps
from hwgen.evaluate.error import sqnr_db
from hwgen.importers import ImageSize, Imported, Overrides, load
from hwgen.quantize.calibrate import calibrate
from hwgen.quantize.convert import Converter
from hwgen.quantize.options import Options

__all__ = ["METHODS", "RESULTS", "main"]

RESULTS = Path(__file__).with_name("fidelity.json")
EXAMPLE = Path(__file__).parent.parent / "examples" / "dinov2_saliency"
WORK = Path(__file__).parent.parent / "build" / "dinov2"
#: Methods by name; what others published, as far as this machine can run it.
METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "rounding to nearest": {"rounding": "nearest"},
    "min/max": {"ranges": "minmax"},
    "MSE": {"ranges": "mse"},
    "percentile 99.99": {"ranges": "percentile"},
    "no equalization": {"equalize": False},
    "no RepQ": {"repq": False},
    "I-ViT (min/max, a scale per tensor)": {
        "ranges": "minmax", "repq": False, "equalize": False, "rounding": "nearest"
    },
    "RepQ-ViT": {"ranges": "percentile", "equalize": False, "rounding": "nearest"},
    "SmoothQuant": {"ranges": "minmax", "repq": False, "rounding": "nearest"},
    "GPTQ alone": {"ranges": "minmax", "repq": False, "equalize": False},
}  # fmt: skip
#: Seed and size of the experts' weights that a copy of Edge-MoE's repository lacks.
SEED = 1

Row = dict[str, Any]
Say = Callable[[str], None]


def dinov2() -> ModuleType:
    """examples/dinov2_saliency/dinov2.py."""
    spec = importlib.util.spec_from_file_location("dinov2", EXAMPLE / "dinov2.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sqnr(wanted: np.ndarray, found: np.ndarray) -> list[float]:
    """In dB, of each image."""
    return [sqnr_db(*pair) for pair in zip(found, wanted, strict=True)]


def measure_dinov2(methods: list[str], say: Say) -> Iterator[Row]:
    module = dinov2()
    files, images = module.Dinov2(WORK), module.photographs()
    normalize = {"mean": [255 * v for v in module.MEAN], "std": [255 * v for v in module.STD]}
    settings = Overrides.model_validate({
        "image_size": {"height": module.SIZE, "width": module.SIZE}, "heads": 6, "normalize": normalize,
        "activation": "gelu",
    })  # fmt: skip
    network = load(files.checkpoint, "timm", settings).network()
    task = network.model.tasks[0].name
    unseen = images["unseen"]
    wanted = network.run(unseen, task)
    maps = files.saliency(wanted)
    seen = calibrate(network, images["calibration"], say, Options())
    for name in methods:
        say(f"dinov2_small, {name}")
        made = Converter(network, seen, Options(**METHODS[name]), {}).description()
        found = Golden(made).run(unseen, task, chunk=4).output * made.model.scales[f"tasks.{task}.norm"]
        each, drawn = sqnr(wanted, found), files.saliency(found)
        yield {
            "network": "dinov2_small", "method": name, "images": len(unseen), "sqnr_db": round(float(np.mean(each)), 2),
            "sqnr_db_worst": round(min(each), 2), "saliency_mad": round(float(np.abs(maps - drawn).mean()), 5),
            "saliency_iou": round(module.iou(maps, drawn), 4),
        }  # fmt: skip


def complete(folder: Path) -> Path:
    """The weight folder with the experts' files it lacks, drawn: as wide as a trained dense layer's."""
    names = {path.name.split(".")[0]: path for path in folder.glob("*.float32.bin")}
    layers = sorted(int(name[1:].split("_")[0]) for name in names if name.endswith("_htoh4_bias"))
    whole = WORK.parent / "edge_moe_released"
    whole.mkdir(parents=True, exist_ok=True)
    for path in names.values():
        (whole / path.name).write_bytes(path.read_bytes())
    rng = np.random.default_rng(SEED)
    dim = names["patch_embed_bias"].stat().st_size // 4
    for layer in layers:
        bias = np.fromfile(names[f"l{layer}_htoh4_bias"], "<f4")
        experts = names[f"l{layer}_w_gate_T_task0"].stat().st_size // 4 // dim
        hidden = bias.size // experts
        for part, shape, near in (("htoh4", (experts, hidden, dim), "fc1"), ("h4toh", (experts, dim, hidden), "fc2")):
            if f"l{layer}_{part}_weight" not in names:
                spread = np.fromfile(names[f"l{layer - 1}_{near}_weight"], "<f4").std()
                rng.normal(0, spread, shape).astype("<f4").tofile(whole / f"l{layer}_{part}_weight.float32.bin")
    return whole


def measure_edge_moe(folder: Path, methods: list[str], say: Say) -> Iterator[Row]:
    """Worst task: tokens behind the last layer, and tokens that get the same experts in the last layer with some."""
    imported: Imported = load(complete(folder), "edge-moe", Overrides(image_size=ImageSize(height=128, width=256)))
    network = imported.network()
    photographs = dinov2().photographs()
    calibration, unseen = (wide(photographs[part]) for part in ("calibration", "unseen"))
    seen = calibrate(network, calibration, say, Options())
    last = max(i for i, layer in enumerate(network.model.layers) if layer.mlp.kind == "moe")
    for name in methods:
        say(f"edge_moe_released, {name}")
        made = Converter(network, seen, Options(**METHODS[name]), {}).description()
        golden = Golden(made)
        worst = {"sqnr_db": np.inf, "gate_agreement": np.inf}
        for number, task in enumerate(network.model.tasks):
            taps: dict[str, np.ndarray] = {}
            wanted = network.run(unseen, task.name, lambda key, value, taps=taps: merge(taps, key, value))
            result = golden.run(unseen, task.name, keep=True, chunk=8).tensors
            found = result[f"{task.name}.output"] * 2.0 ** -made.model.stream_bits[-1]
            logits = taps[f"layers.{last}.norm2"] @ network.tensors[f"l{last}.gate{number}"].T
            winners = np.sort(np.argsort(-logits, axis=-1, kind="stable")[..., : network.model.layers[last].mlp.top_k])
            same = float((winners == result[f"layers.{last}.experts"]).all(-1).mean())
            worst["sqnr_db"] = min(worst["sqnr_db"], float(np.mean(sqnr(wanted, found))))
            worst["gate_agreement"] = min(worst["gate_agreement"], same)
        yield {"network": "edge_moe_released", "method": name, "images": len(unseen)} | {
            key: round(value, 4) for key, value in worst.items()
        }


def merge(taps: dict[str, np.ndarray], key: str, value: np.ndarray) -> None:
    """Tensors of many images come in parts; of experts only some are needed, and none are kept."""
    if key.endswith(".norm2"):
        taps[key] = np.concatenate([taps[key], value]) if key in taps else value


def wide(images: np.ndarray) -> np.ndarray:
    """224x224 crops as 128x256: the upper half, twice as fine."""
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(image[:112]).resize((256, 128), Image.Resampling.BICUBIC))
                     for image in images])  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["dinov2_small", "edge_moe_released"])
    parser.add_argument("--edge-moe", type=Path, help="weight folder of Edge-MoE's repository")
    parser.add_argument("--method", action="append", choices=list(METHODS))
    given = parser.parse_args()
    methods = given.method or list(METHODS)
    rows: list[Row] = []
    with progress_steps() as say:
        if given.network in (None, "dinov2_small"):
            rows += measure_dinov2(methods, say)
        if given.edge_moe and given.network in (None, "edge_moe_released"):
            rows += measure_edge_moe(given.edge_moe, methods, say)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    made = {(row["network"], row["method"]) for row in rows}
    kept = [row for row in kept if (row["network"], row["method"]) not in made and row["method"] in METHODS]
    order = list(METHODS)
    rows = sorted(kept + rows, key=lambda row: (row["network"], order.index(row["method"])))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows)
    return 0


def show(rows: list[Row]) -> None:
    """One table a network."""
    for network in dict.fromkeys(row["network"] for row in rows):
        mine = [row for row in rows if row["network"] == network]
        heads = [key for key in mine[0] if key != "network"]
        table = Table(*heads, title=network)
        for row in mine:
            table.add_row(*(str(row[head]) for head in heads))
        Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
