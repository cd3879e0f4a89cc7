"""Looks at all designs with as many processes as there are, or on a Dask cluster; goes on where it was interrupted.

A worker that dies takes what it was at with it, no more: the rest is given to new ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

from hwgen.common.errors import COMMAND_LINE, HwgenError
from hwgen.explore.evaluate import Design, Setting, evaluate
from hwgen.explore.space import Point
from hwgen.explore.store import Store

__all__ = ["explore", "spread"]

#: Designs that a worker gets at once: many take a tenth of a second.
CHUNK = 8
#: New pools after workers died, one after the other, before it is given up.
TRIES = 5

Progress = Callable[[int, int], None]  # done, of how many
Chunk = TypeVar("Chunk")
Found = TypeVar("Found")


def explore(
    setting: Setting, wanted: Sequence[Point], store: Store, *, workers: int | None = None,
    scheduler: str | None = None, progress: Progress = lambda done, total: None,
) -> list[Design]:  # fmt: skip
    """The designs in the order of the points, whatever the number of workers. scheduler: address of a Dask scheduler
    whose workers have hwgen and see the same files."""

    def missing() -> list[Sequence[Point]]:
        rest = [point for point in wanted if point not in store.known]
        return [rest[at : at + CHUNK] for at in range(0, len(rest), CHUNK)]

    def step() -> None:
        progress(len([point for point in wanted if point in store.known]), len(wanted))

    step()
    spread(partial(evaluate_all, setting), missing, store.add, workers=workers, scheduler=scheduler, step=step)
    return [store.known[point] for point in wanted]


def spread(
    work: Callable[[Chunk], Sequence[Found]], missing: Callable[[], Sequence[Chunk]], keep: Callable[[Found], None], *,
    workers: int | None = None, scheduler: str | None = None, step: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """`work` on everything that is missing, in processes or on a cluster, until nothing is; what is found is kept at
    once, then `step` is called. What a killed worker was at is given out again."""
    for attempt in range(TRIES):
        chunks = missing()
        if not chunks:
            break
        client = None if scheduler is None else _client(scheduler)
        executor: Executor = client.get_executor() if client else _executor(workers)
        futures: list[Future[Sequence[Found]]] = []
        try:
            futures += [executor.submit(work, chunk) for chunk in chunks]
            for future in as_completed(futures):
                for found in future.result():
                    keep(found)
                step()
        except Exception as error:
            # Dask's own, of a piece of work that took several workers with it.
            if not isinstance(error, BrokenExecutor) and type(error).__name__ != "KilledWorker":
                raise
            if attempt == TRIES - 1:
                raise HwgenError("workers", expected="processes that live", found=f"{TRIES} times one was killed",
                                 mend="give it more memory, or fewer --workers") from None  # fmt: skip
        finally:
            for future in futures:
                future.cancel()
            executor.shutdown(wait=True)
            if client:
                client.close()


def evaluate_all(setting: Setting, chunk: Sequence[Point]) -> list[Design]:
    """What a worker does."""
    return [evaluate(setting, point) for point in chunk]


def _executor(workers: int | None) -> Executor:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # else the workers wait for each other's threads
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _client(scheduler: str) -> Any:
    """Of a Dask cluster, which gives what a lost worker was at to another one by itself."""
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise HwgenError("distributed", expected="the Python package of Dask's clusters", found="not installed",
                         mend="pip install 'hwgen[explore]', on the workers too") from None  # fmt: skip
    try:
        return Client(scheduler, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise HwgenError(COMMAND_LINE, "--scheduler", expected="the address of a running Dask scheduler, as "
                         "tcp://host:8786", found=f"{scheduler}: {error}") from None  # fmt: skip
