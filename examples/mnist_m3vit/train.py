"""Train the example's float checkpoint on MNIST: python train.py MNIST_DIRECTORY OUTPUT_NPZ [--minutes 60]

MNIST_DIRECTORY holds the four unpacked idx files. Needs torch, which nothing else in this project does. The
learning rate follows the clock, so runs differ; the checkpoint in this directory took about 5,400 steps.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DIM, LAYERS, HEADS, HIDDEN = 64, 4, 2, 256
EXPERTS, TOP_K, EXPERT_HIDDEN = 8, 2, 128
PATCH, GRID = 4, 7
PATCHES, TOKENS = GRID * GRID, GRID * GRID + 1
TASKS, DIGITS, BACKGROUND = 2, 10, 10
FOREGROUND_MEAN = 0.15
EPS = 1e-6
BATCH, LEARNING_RATE, WARM_UP, WEIGHT_DECAY, BALANCE = 128, 1.5e-3, 100, 0.02, 0.01

Parameters = dict[str, Tensor]


def read_idx(path: Path, header: int) -> Tensor:
    """The bytes of an idx file after its header."""
    return torch.from_numpy(np.fromfile(path, np.uint8)[header:].copy())


def read_set(directory: Path, prefix: str) -> tuple[Tensor, Tensor]:
    """Images uint8 [B, 28, 28] and labels int64 [B]; prefix `train` or `t10k`."""
    images = read_idx(directory / f"{prefix}-images-idx3-ubyte", 16).view(-1, 28, 28)
    return images, read_idx(directory / f"{prefix}-labels-idx1-ubyte", 8).long()


def patches_of(images: Tensor) -> Tensor:
    """Pixels / 255 as [B, 49, 16]: patches row-major, pixels row-major in the patch."""
    grid = images.view(-1, GRID, PATCH, GRID, PATCH).permute(0, 1, 3, 2, 4)
    return grid.reshape(-1, PATCHES, PATCH * PATCH).float() / 255


def patch_labels(patches: Tensor, digits: Tensor) -> Tensor:
    """[B, 49]: the digit where the patch is bright enough, else background."""
    return torch.where(patches.mean(-1) > FOREGROUND_MEAN, digits[:, None], BACKGROUND)


def new_parameters() -> Parameters:
    """Random parameters in the checkpoint's layout (see hwgen/network/floatmodel.py)."""
    parameters: Parameters = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        parameters[f"{name}.w"] = torch.randn(outputs, inputs) * inputs**-0.5
        parameters[f"{name}.b"] = torch.zeros(outputs)

    def norm(name: str) -> None:
        parameters[f"{name}.g"] = torch.ones(DIM)
        parameters[f"{name}.b"] = torch.zeros(DIM)

    linear("embed", DIM, PATCH * PATCH)
    parameters["cls"] = torch.randn(1, DIM) * 0.02
    parameters["pos"] = torch.randn(TOKENS, DIM) * 0.02
    for layer in range(LAYERS):
        norm(f"l{layer}.n1")
        norm(f"l{layer}.n2")
        linear(f"l{layer}.qkv", 3 * DIM, DIM)
        linear(f"l{layer}.proj", DIM, DIM)
        if layer % 2 == 0:
            linear(f"l{layer}.fc1", HIDDEN, DIM)
            linear(f"l{layer}.fc2", DIM, HIDDEN)
            continue
        for expert in range(EXPERTS):
            linear(f"l{layer}.e{expert}.fc1", EXPERT_HIDDEN, DIM)
            linear(f"l{layer}.e{expert}.fc2", DIM, EXPERT_HIDDEN)
        for task in range(TASKS):
            parameters[f"l{layer}.gate{task}"] = torch.randn(EXPERTS, DIM) * 0.02
    norm("nf")
    linear("head0", DIGITS, DIM)
    linear("head1", DIGITS + 1, DIM)
    return parameters


class Network:
    """The forward pass of a set of parameters. While training, gates are noisy and collect a load-balancing loss."""

    def __init__(self, parameters: Parameters, training: bool = False) -> None:
        self.parameters, self.training = parameters, training

    def __call__(self, patches: Tensor, task: int) -> tuple[Tensor, Tensor]:
        """Outputs [B, 10] (task 0) or [B, 49, 11] (task 1), and the load-balancing loss."""
        token = self.parameters["cls"].expand(len(patches), 1, DIM)
        x = torch.cat([token, self._linear("embed", patches)], 1) + self.parameters["pos"]
        balance = torch.zeros(())
        for layer in range(LAYERS):
            x = x + self._attention(layer, self._norm(f"l{layer}.n1", x))
            y = self._norm(f"l{layer}.n2", x)
            if layer % 2 == 0:
                x = x + self._mlp(f"l{layer}", y)
                continue
            added, loss = self._moe(layer, y.reshape(-1, DIM), task)
            x, balance = x + added.view(x.shape), balance + loss
        x = self._norm("nf", x)
        return (self._linear("head0", x[:, 0]) if task == 0 else self._linear("head1", x[:, 1:])), balance

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.parameters[f"{name}.w"], self.parameters[f"{name}.b"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (DIM,), self.parameters[f"{name}.g"], self.parameters[f"{name}.b"], EPS)

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        return self._linear(f"{name}.fc2", F.gelu(self._linear(f"{name}.fc1", x)))

    def _attention(self, layer: int, y: Tensor) -> Tensor:
        qkv = self._linear(f"l{layer}.qkv", y).view(-1, TOKENS, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-1, -2) * (DIM // HEADS) ** -0.5).softmax(-1)
        return self._linear(f"l{layer}.proj", (weights @ qkv[2]).transpose(1, 2).reshape(-1, TOKENS, DIM))

    def _moe(self, layer: int, y: Tensor, task: int) -> tuple[Tensor, Tensor]:
        """Softmax over all experts, then top-k without renormalisation, for rows y [rows, D]."""
        logits = F.linear(y, self.parameters[f"l{layer}.gate{task}"])
        if self.training:
            logits = logits + torch.randn_like(logits) / EXPERTS
        probabilities = logits.softmax(-1)
        weights, winners = probabilities.topk(TOP_K, -1)
        importance = probabilities.sum(0)
        added = torch.zeros_like(y)
        for expert in range(EXPERTS):
            rows, place = (winners == expert).nonzero(as_tuple=True)
            if len(rows):
                result = weights[rows, place, None] * self._mlp(f"l{layer}.e{expert}", y[rows])
                added = added.index_add(0, rows, result)
        return added, importance.var() / importance.mean() ** 2


def train(images: Tensor, digits: Tensor, minutes: float) -> Parameters:
    """AdamW with a cosine over the given time; both tasks on every batch, images shifted by up to two pixels."""
    torch.manual_seed(0)
    shifts = np.random.default_rng(0)
    parameters = new_parameters()
    for parameter in parameters.values():
        parameter.requires_grad_()
    network = Network(parameters, training=True)
    optimizer = torch.optim.AdamW(parameters.values(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    start, step = time.monotonic(), 0
    while (elapsed := (time.monotonic() - start) / (60 * minutes)) < 1:
        rate = LEARNING_RATE * min(1, step / WARM_UP) * (0.5 * (1 + math.cos(math.pi * elapsed)) + 0.005)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = torch.randint(len(images), (BATCH,))
        down, right = (int(shift) for shift in shifts.integers(-2, 3, 2))
        patches, wanted = patches_of(torch.roll(images[batch], (down, right), (1, 2))), digits[batch]
        digit, balance0 = network(patches, 0)
        segment, balance1 = network(patches, 1)
        loss = F.cross_entropy(digit, wanted)
        loss = loss + F.cross_entropy(segment.flatten(0, 1), patch_labels(patches, wanted).flatten())
        loss = loss + BALANCE * (balance0 + balance1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            print(f"step {step}  {elapsed:.0%} of the time  loss {loss.item():.4f}", flush=True)
    return {name: parameter.detach() for name, parameter in parameters.items()}


@torch.no_grad()
def accuracy(parameters: Parameters, images: Tensor, digits: Tensor) -> tuple[float, float]:
    """Share of right digits and of right patches."""
    network = Network(parameters)
    digit_hits = patch_hits = 0
    for start in range(0, len(images), 500):
        patches, wanted = patches_of(images[start : start + 500]), digits[start : start + 500]
        digit_hits += int((network(patches, 0)[0].argmax(-1) == wanted).sum())
        patch_hits += int((network(patches, 1)[0].argmax(-1) == patch_labels(patches, wanted)).sum())
    return digit_hits / len(images), patch_hits / len(images) / PATCHES


def main() -> None:
    """Train, save, report the test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("mnist", type=Path, help="directory of the unpacked idx files")
    parser.add_argument("output", type=Path, help="the .npz file to write")
    parser.add_argument("--minutes", type=float, default=60)
    arguments = parser.parse_args()
    parameters = train(*read_set(arguments.mnist, "train"), arguments.minutes)
    np.savez_compressed(arguments.output, **{name: value.numpy() for name, value in parameters.items()})
    digit, patch = accuracy(parameters, *read_set(arguments.mnist, "t10k"))
    print(f"digit {digit:.2%}  patches {patch:.2%}  -> {arguments.output}")


if __name__ == "__main__":
    main()
