"""The bytes of the weights region, read back one by one as docs/architecture.md says where they are."""

import numpy as np
import pytest

from hwgen.compiler.packing import Region, pack_linear, pack_norm, pack_rows, spread
from hwgen.machine.params import HwParams

SHAPES = [(8, 8), (8, 1), (4, 2), (2, 16), (16, 4), (8, 32)]


def filled_up(p, steps):
    """A product is as long as there are parameter words at least."""
    return max(steps, p.param_words)


@pytest.mark.parametrize("steps", [1, 4, 9])
@pytest.mark.parametrize("c, k", SHAPES)
def test_linear(c, k, steps):
    p, rng = HwParams(c=c, k=k), np.random.default_rng(0)
    outputs, inputs = 2 * c - 1, (steps - 1) * k + 1
    weight = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    bias = rng.integers(-(2**31), 2**31, outputs).astype(np.int32)
    mult = rng.integers(0, 2**16, outputs).astype(np.uint16)
    shift = rng.integers(0, 48, outputs).astype(np.uint8)
    data = pack_linear(p, weight, bias, mult, shift)
    words = filled_up(p, steps)
    tile_words = p.param_words + words
    assert len(data) == 2 * tile_words * c * k
    for channel in range(2 * c):
        first, column = channel // c * tile_words, channel % c

        def at(word, lane, first=first, column=column):
            return data[(first + word) * c * k + column * k + lane]

        record = bytes(at(b // k, b % k) for b in range(8))
        row = [at(p.param_words + i // k, i % k) for i in range(words * k)]
        if channel < outputs:
            values = int(bias[channel]).to_bytes(4, "little", signed=True) + int(mult[channel]).to_bytes(2, "little")
            assert record == values + bytes([shift[channel], 0])
            assert row == [int(w) & 255 for w in weight[channel]] + [0] * (words * k - inputs)
        else:
            assert not any(record)
            assert not any(row)


@pytest.mark.parametrize("weight_bus", [64, 256])
@pytest.mark.parametrize("steps", [1, 4, 5])
@pytest.mark.parametrize("c, k", SHAPES)
def test_narrow_linear(c, k, steps, weight_bus):
    """Byte by byte: parameters as ever; a weight's nibble is where the word's beat, or the word, has its partner."""
    p, rng = HwParams(c=c, k=k, weight_bus=weight_bus), np.random.default_rng(0)
    weight = rng.integers(-7, 8, (2 * c - 1, steps * k - k // 2)).astype(np.int8)
    parameters = [rng.integers(0, 48, len(weight)).astype(kind) for kind in (np.int32, np.uint16, np.uint8)]
    wide = np.frombuffer(pack_linear(p, weight, *parameters), np.uint8).reshape(2, -1)
    data = np.frombuffer(pack_linear(p, weight, *parameters, narrow=True), np.uint8).reshape(2, -1)
    first, piece = p.param_words * c * k, min(weight_bus // 8, c * k)
    assert np.array_equal(data[:, :first], wide[:, :first])
    words = filled_up(p, steps)
    pairs = -(-words * c * k // (2 * piece))
    assert wide.shape[1] == first + words * c * k
    assert data.shape[1] == first + pairs * piece
    for tile in range(2):
        for at in range(pairs * 2 * piece):  # of the widened stream
            byte = int(data[tile, first + at // (2 * piece) * piece + at % piece])
            nibble = byte >> 4 if at // piece % 2 else byte & 15
            assert nibble == (int(wide[tile, first + at]) & 15 if at < words * c * k else 0)


@pytest.mark.parametrize("c, k", SHAPES)
def test_norm(c, k):
    p, rng = HwParams(c=c, k=k), np.random.default_rng(1)
    dim = 2 * c + 1
    gamma = rng.integers(-(2**15), 2**15, dim).astype(np.int16)
    beta = rng.integers(-(2**31), 2**31, dim).astype(np.int32)
    words = np.frombuffer(pack_norm(p, gamma, beta), "<u2").reshape(3, 4, c)
    for channel in range(3 * c):
        low, high, scale, fill = (int(value) for value in words[channel // c, :, channel % c])
        values = (int(beta[channel]), int(gamma[channel])) if channel < dim else (0, 0)
        assert (high << 16 | low, scale, fill) == (values[0] & 0xFFFFFFFF, values[1] & 0xFFFF, 0)


def test_rows_in_whole_words():
    data = pack_rows(HwParams(c=4, k=1), np.array([[1, -2, 3, 4, 5], [6, 7, 8, 9, -10]], np.int16))
    assert np.frombuffer(data, "<i2").tolist() == [1, -2, 3, 4, 5, 0, 0, 0, 6, 7, 8, 9, -10, 0, 0, 0]


def test_spread():
    assert spread(np.array([[1, 2], [3, 4]]), [0, 3], 5, axis=1).tolist() == [[1, 0, 0, 2, 0], [3, 0, 0, 4, 0]]


def test_region_aligns_and_shares():
    region = Region(64)
    first = region.add("a", lambda: b"abc")
    second = region.add("b", lambda: bytes([7] * 65))
    assert (first.offset, first.bytes, second.offset, second.bytes) == (0, 3, 64, 65)
    assert region.add("a", lambda: b"never packed again") == first
    assert len(region.data) == 192
    assert region.data[:4] == b"abc\0"
