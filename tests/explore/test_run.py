"""All designs, however many workers there are, in the middle of what, and wherever they run."""

import os
import signal
import threading
import time

import pytest

from hwgen.common.errors import HwgenError
from hwgen.explore import run as module
from hwgen.explore.evaluate import evaluate
from hwgen.explore.run import explore
from hwgen.explore.space import Space, points
from hwgen.explore.store import Store


@pytest.fixture
def wanted(project):
    space = {"array": {"t": [2, 4], "c": [2, 4, 3], "k": [2, 4]}, "batch": [1, 2]}
    return points(Space.model_validate(space), project, "x")


@pytest.fixture
def expected(setting, wanted):
    """By this process alone."""
    return [evaluate(setting, point) for point in wanted]


def test_any_number_of_workers(setting, wanted, expected, tmp_path):
    """The same designs in the same order; c = 3 is refused, the rest goes on."""
    seen = []
    for workers in (1, 2):
        store = Store(tmp_path / str(workers), "a")
        assert explore(setting, wanted, store, workers=workers, progress=lambda *at: seen.append(at)) == expected
        store.close()
    assert sum(bool(design.refused) for design in expected) == len(wanted) // 3
    assert seen[0] == (0, len(wanted)) and seen[-1] == (len(wanted), len(wanted))


def test_goes_on(setting, wanted, expected, tmp_path, monkeypatch):
    """What is known is not looked at again: an executor is not even made when all is."""
    store = Store(tmp_path, "a")
    for design in expected[::2]:
        store.add(design)
    assert explore(setting, wanted, store, workers=1) == expected
    monkeypatch.setattr(module, "_executor", None)
    assert explore(setting, wanted, store) == expected


def test_a_worker_that_is_killed(setting, wanted, expected, tmp_path, monkeypatch):
    """Of two processes one, when the first designs are there; then one of each pool, until it is given up."""
    pools, made = [], module._executor

    def executor(workers):
        pools.append(made(workers))
        return pools[-1]

    def progress(done, total):
        if len(killed) < most and pools and done < total:
            killed.append(next(iter(pools[-1]._processes)))
            os.kill(killed[-1], signal.SIGKILL)

    monkeypatch.setattr(module, "_executor", executor)
    monkeypatch.setattr(module, "CHUNK", 2)
    killed, most = [], 1
    assert explore(setting, wanted, Store(tmp_path / "one", "a"), workers=2, progress=progress) == expected
    assert len(killed) == 1 and len(pools) == 2
    monkeypatch.setattr(module, "TRIES", 1)
    killed, most = [], 9
    pools.clear()
    store = Store(tmp_path / "two", "a")
    with pytest.raises(HwgenError, match=r"processes that live\n  found:    1 times one was killed"):
        explore(setting, wanted, store, workers=2, progress=progress)
    assert 0 < len(store.known) < len(wanted)


def test_a_cluster_of_which_a_worker_is_killed(setting, wanted, expected, tmp_path):
    """A real one of Dask with two worker processes; the first is killed when the first designs are there."""
    distributed = pytest.importorskip("distributed", reason="pip install 'hwgen[explore]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        victims = [worker.pid for worker in cluster.workers.values()]
        killed = threading.Event()

        def progress(done, total):
            if 0 < done < total and not killed.is_set():
                killed.set()
                os.kill(victims[0], signal.SIGKILL)

        store = Store(tmp_path, "a")
        start = time.monotonic()
        found = explore(setting, wanted, store, scheduler=cluster.scheduler_address, progress=progress)
        assert found == expected and killed.is_set()
        print(f"{len(wanted)} designs on two workers, one killed: {time.monotonic() - start:.1f} s")


def test_a_scheduler_that_is_not_there(setting, wanted, tmp_path):
    pytest.importorskip("distributed", reason="pip install 'hwgen[explore]'")
    store = Store(tmp_path, "a")
    with pytest.raises(HwgenError, match=r"--scheduler\n  expected: the address of a running Dask scheduler"):
        explore(setting, wanted, store, scheduler="tcp://127.0.0.1:1")
    assert store.known == {}
