"""Large checkpoints, and how much memory their import takes."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import torch

from tests.importers.test_files import save
from tests.importers.test_onnx_graph import exported
from tests.importers.timm_models import vit
from tests.paths import ROOT

#: Prints the bytes that importing a file takes at the most, beyond what the modules take and a small file of its kind.
MEASURE = """
import sys
from hwgen.importers import Normalize, Overrides, load
given = Overrides(heads=8, normalize=Normalize(mean=[0.0] * 3, std=[1.0] * 3), activation="gelu", pooling="token")
def status(key):  # of this process alone: that of getrusage is the parent's, too
    return 1024 * int(open("/proc/self/status").read().split(key + ":")[1].split()[0])
load(sys.argv[1], overrides=given)
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
load(sys.argv[2], overrides=given)
print(status("VmHWM") - before)
"""
#: What reading takes beside the file: pieces of a network of these sizes, larger where they are.
SMALL, LARGE = 25e6, 100e6
KINDS = {
    "safetensors": torch.float32, "bin": torch.float32, "npz": torch.float32, "onnx": torch.float32,
    "onnx with external data": torch.float32, "half safetensors": torch.bfloat16, "half bin": torch.bfloat16,
    "half onnx": torch.float16,
}  # fmt: skip


def written(directory: Path, kind: str, dim: int, depth: int) -> Path:
    """A network of this size, all blocks alike."""
    directory.mkdir()
    suffix, dtype = kind.removeprefix("half ").split()[0], KINDS[kind]
    small: Any = vit(embed_dim=dim, depth=1, num_heads=8)
    if suffix != "onnx":
        state = {}
        for name, tensor in small.state_dict().items():
            for index in range(depth if ".0." in name else 1):
                state[name.replace(".0.", f".{index}.")] = tensor.to(dtype).clone()
        return save(directory / f"model.{suffix}", state)
    blocks = (copy.deepcopy(small.blocks[0]) for _ in range(depth))
    small.blocks = torch.nn.Sequential(*blocks)
    for index, block in enumerate(small.blocks):  # the exporter writes tensors that are alike once
        for parameter in block.parameters():
            parameter.data = parameter + index / 1e4
    path = exported(small.to(dtype), directory, torch.zeros(1, 3, 32, 32, dtype=dtype))
    if "external" in kind:
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights")
    return path


def peak(directory: Path, kind: str, dim: int, depth: int) -> tuple[int, int]:
    """Of memory, and the size of the files."""
    paths = [written(directory / "first", kind, 128, 1), written(directory / "second", kind, dim, depth)]
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout), sum(file.stat().st_size for file in paths[1].parent.iterdir())
