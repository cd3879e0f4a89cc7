"""Weights and parameters as the bytes of the weights region (docs/architecture.md, "Weight stream")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwgen.compiler.layout import div_up, dot_steps
from hwgen.machine.params import HwParams

__all__ = ["Block", "Region", "pack_linear", "pack_norm", "pack_rows", "port_images", "spread"]


def spread(array: NDArray, positions: Sequence[int], size: int, axis: int = 0) -> NDArray:
    """`array` with entry i of `axis` moved to positions[i] of an axis of `size`, zeros elsewhere."""
    shape = list(array.shape)
    shape[axis] = size
    out = np.zeros(shape, array.dtype)
    index: list[slice | NDArray] = [slice(None)] * array.ndim
    index[axis] = np.asarray(positions)
    out[tuple(index)] = array
    return out


def _words(p: HwParams, channels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Ring words [tiles, words, C, K] of channels [outputs, bytes]: byte b is lane b % K of word b div K."""
    outputs, size = channels.shape
    tiles, words = div_up(outputs, p.c), div_up(size, p.k)
    padded = np.zeros((tiles * p.c, words * p.k), np.uint8)
    padded[:outputs, :size] = channels
    return padded.reshape(tiles, p.c, words, p.k).transpose(0, 2, 1, 3)


def _columns(*arrays: NDArray) -> NDArray[np.uint8]:
    """Little-endian bytes of per-channel values side by side, filled up to the 8 of a parameter record."""
    little = [np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for array in arrays]
    record = np.concatenate([array.view(np.uint8).reshape(len(array), -1) for array in little], axis=1)
    return np.pad(record, ((0, 0), (0, 8 - record.shape[1])))


def _narrow(p: HwParams, words: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Ring words of weights in -8..7, two pieces in one [tiles, bytes]: the first one's bytes are the low nibbles, the
    second one's the high nibbles; zeros where there is no second piece."""
    tiles = words.reshape(len(words), -1)
    filled = np.pad(tiles, ((0, 0), (0, -tiles.shape[1] % (2 * p.piece_bytes))))
    pairs = filled.reshape(len(words), -1, 2, p.piece_bytes)
    return (pairs[:, :, 0] & np.uint8(15) | pairs[:, :, 1] << np.uint8(4)).reshape(len(words), -1)


def pack_linear(
    p: HwParams,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    mult: NDArray[np.uint16],
    shift: NDArray[np.uint8],
    *,
    narrow: bool = False,
) -> bytes:
    """A MATMUL's stream for weight [outputs, inputs]: per output tile the parameters, then as many words of weights at
    least (zeros, where inputs are few), as both are read side by side; `narrow`: weights (in -8..7) two to a byte."""
    missing = max(0, dot_steps(p, weight.shape[1]) * p.k - weight.shape[1])
    filled = np.pad(weight, ((0, 0), (0, missing)))
    parameters, weights = _words(p, _columns(bias, mult, shift)), _words(p, filled.view(np.uint8))
    tiles = len(parameters)
    packed = _narrow(p, weights) if narrow else weights.reshape(tiles, -1)
    return np.hstack([parameters.reshape(tiles, -1), packed]).tobytes()


def pack_norm(p: HwParams, gamma: NDArray[np.int16], beta: NDArray[np.int32]) -> bytes:
    """A NORM's half of the parameter table: 4 words of C int16 for C channels: beta (low, high halves), gamma, 0."""
    words = div_up(len(gamma), p.c)
    halves = np.zeros((4, words * p.c), "<i2")
    halves[0:2, : len(beta)] = beta.astype("<i4").view("<i2").reshape(-1, 2).T
    halves[2, : len(gamma)] = gamma
    return halves.reshape(4, words, p.c).transpose(1, 0, 2).tobytes()


def pack_rows(p: HwParams, rows: NDArray[np.int16]) -> bytes:
    """What LOAD brings to X: each row in whole C-words of int16."""
    fill = -rows.shape[1] % p.c
    return np.pad(rows, ((0, 0), (0, fill))).astype("<i2").tobytes()


def port_images(weights: bytes, ports: int, port_bytes: int) -> tuple[bytes, ...]:
    """The weights region's shares, as each of `ports` reads it in beats of `port_bytes`: port i has the beats i, i +
    ports, ..."""
    beats = np.frombuffer(weights, np.uint8).reshape(-1, ports, port_bytes)
    return tuple(beats[:, port].tobytes() for port in range(ports))


@dataclass(frozen=True)
class Block:
    """What one instruction reads of a region."""

    offset: int
    bytes: int


@dataclass
class Region:
    """Collects blocks in order of first use, each at a multiple of `align` bytes; a block asked for again by name (by
    another task) is stored once."""

    align: int
    _blocks: dict[str, Block] = field(default_factory=dict)
    _data: bytearray = field(default_factory=bytearray)

    def add(self, name: str, pack: Callable[[], bytes]) -> Block:
        """The block of this name, packed when it is new."""
        if name not in self._blocks:
            data = pack()
            self._blocks[name] = Block(len(self._data), len(data))
            self._data += data + bytes(-len(data) % self.align)
        return self._blocks[name]

    @property
    def data(self) -> bytes:
        """The whole region, a multiple of `align` bytes."""
        return bytes(self._data)
