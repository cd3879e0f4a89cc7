"""One small accelerator with two models in it, what the golden model says of them, and a simulated board."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from golden.model import Golden
from hwgen.build import Build, build, load_build
from hwgen.common.toolchain import lock
from hwgen.machine.isa import BY_NAME, BYTES, Op
from hwgen.network import description
from tests.paths import MNIST
from tests.random_model import TASKS, random_images, small_description

SECOND = "mnist_m3vit"
#: By which the small model's outputs are real numbers; segment's is not known.
SCALE = 0.03125


def small() -> description.Description:
    desc = small_description(scales={"tasks.digit.output": SCALE})
    return description.Description(desc.model.model_copy(update={"name": "small"}), desc.tensors)


def made(factory: pytest.TempPathFactory) -> Path:
    """The build's directory; one for all workers."""
    home = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent
    out = home / "accelerator"
    with lock(home / "accelerator.lock"):
        if not out.exists():
            description.save(small(), home / "small")
            shutil.copytree(MNIST / "model", home / "mnist")
            config = home / "config.yaml"
            buses = "buses: {weights: 32, weight_ports: 2, data: 64}"
            config.write_text(f"models: [small, mnist]\narray: {{t: 4, c: 4, k: 4}}\nclear: true\n{buses}\n")
            build(config, out)
    return out


def changed(instruction: bytes, **fields: int) -> bytes:
    """With other values in these fields, whether legal or not."""
    word = int.from_bytes(instruction, "little")
    for name, value in fields.items():
        field = BY_NAME[name]
        word = word & ~((1 << field.bits) - 1 << field.offset) | value << field.offset
    return word.to_bytes(BYTES, "little")


@dataclass(frozen=True)
class Accelerator:
    """A build with two models, opened."""

    path: Path

    @cached_property
    def first(self) -> Build:
        return load_build(self.path)

    @cached_property
    def second(self) -> Build:
        return load_build(self.path, SECOND)

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """Of the first model."""
        return random_images(self.first.model, 4, 5)

    @cached_property
    def digits(self) -> NDArray[np.uint8]:
        """Of the second."""
        with np.load(MNIST / "test.npz") as archive:
            return archive["images"][:2, ..., None]

    @cached_property
    def outputs(self) -> dict[str, NDArray[np.int16]]:
        """What the first model's tasks must give for its images."""
        golden = Golden(self.first.model)
        return {task["name"]: golden.run(self.images, task["name"]).output for task in TASKS}

    @cached_property
    def digit_outputs(self) -> dict[str, NDArray[np.int16]]:
        golden = Golden(self.second.model)
        return {task.name: golden.run(self.digits, task.name).output for task in self.second.model.model.tasks}

    def patched(self, kind: Op, **fields: int) -> bytes:
        """The first model's program with other values in fields of its first task's first such instruction."""
        compiled, task = self.first.compiled, TASKS[0]["name"]
        index = next(index for index, instr in enumerate(compiled.instructions[task]) if instr.op == kind)
        at, program = compiled.entries[task] + index * BYTES, compiled.program
        return program[:at] + changed(program[at : at + BYTES], **fields) + program[at + BYTES :]

    def part(self, target: Path) -> Path:
        """A copy of what a driver reads."""
        shutil.copytree(self.path, target, ignore=shutil.ignore_patterns("rtl", "harness", "model", "tests"))
        return target
