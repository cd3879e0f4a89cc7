"""LayerNorm, RMSNorm and rescale against Python integers, on random and on extreme rows."""

import numpy as np
import pytest

from golden.errors import rows
from golden.layernorm import Norm, normalize, rsqrt
from tests.golden import scalar


def test_rsqrt_at_every_power_and_table_index() -> None:
    values = {1 << i for i in range(52)} | {(1 << i) - 1 for i in range(1, 53)}
    values |= {(i << 46) + d for i in range(16, 64) for d in (-1, 0, 1) if (i << 46) + d < 1 << 52}
    v = np.array(sorted(values), np.int64)
    y1, lz = rsqrt(v)
    assert y1.min() > 0 and y1.max() < 1 << 17 and not (lz & 1).any()
    for value, y, z in zip(v.tolist(), y1.tolist(), lz.tolist(), strict=True):
        assert abs(y * 2.0 ** (z // 2 - 41) * value**0.5 - 1) < 5e-4


@pytest.mark.parametrize("d", [1, 2, 5, 16, 64, 192, 1024, 2047])
@pytest.mark.parametrize("eps", [1, 12345, 1 << 40])
@pytest.mark.parametrize("rms", [False, True], ids=["layernorm", "rmsnorm"])
def test_normalize(d: int, eps: int, rms: bool) -> None:
    x = np.concatenate([kind[:2] for kind in rows(d, np.random.default_rng(d)).values()])
    assert normalize(x, eps, rms).tolist() == [scalar.xhat(row, eps, rms) for row in x.tolist()]


def test_rms_norm_leaves_the_mean_in() -> None:
    x = np.array([[3000] * 4, [-3000] * 4, [1000, 3000, 1000, 3000]], np.int16)
    assert normalize(x, 1).tolist() == [[0] * 4, [0] * 4, [-1024, 1024] * 2]
    rms = [round(1024 * value / 5**0.5) for value in (1, 3)]
    assert normalize(x, 1, rms=True).tolist() == [[1024] * 4, [-1024] * 4, rms * 2]


def test_v_out_of_range() -> None:
    for v in (0, -1, 1 << 52):
        with pytest.raises(AssertionError, match=r"V must be in \[1, 2\^52\)"):
            rsqrt(np.array([v]))


@pytest.mark.parametrize("shift", [0, 1, 19, 31])
@pytest.mark.parametrize(("eps", "rms"), [(None, False), (1, False), (1, True)], ids=["rescale", "norm", "rms"])
def test_norm_and_rescale(shift: int, eps: int | None, rms: bool) -> None:
    rng = np.random.default_rng(shift)
    d = 48
    x = np.concatenate([kind[:3] for kind in rows(d, rng).values()])
    gamma = rng.integers(-32768, 32768, d).astype(np.int16)
    beta = rng.integers(-(1 << 31), 1 << 31, d).astype(np.int32)
    gamma[:4], beta[:4] = (32767, -32768, 0, 1), ((1 << 31) - 1, -(1 << 31), 0, -1)
    tensors: dict[str, np.ndarray] = {"n.gamma": gamma, "n.beta": beta, "n.shift": np.array([shift], np.uint8)}
    if eps is not None:
        tensors["n.eps"] = np.array([eps], np.int64)
    got = Norm.load(tensors, "n", rms)(x)
    assert got.dtype == np.int16
    assert got.tolist() == scalar.norm(tensors | {"rms_norm": np.array(rms)}, "n", x.tolist())


def test_constant_row_gives_beta() -> None:
    norm = Norm(gamma=np.full(4, 32767, np.int16), beta=np.array([0, 16, -16, 24], np.int32), shift=4, eps=1)
    assert norm(np.full((1, 4), -32768, np.int16)).tolist() == [[0, 1, -1, 2]]
