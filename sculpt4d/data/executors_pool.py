"""Jobs side by side in worker processes of this machine."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from sculpt4d.data.executors import Executor, Named, Outcome, Serial, Work, attempt

# read when a worker loads its libraries: more threads than cores make every one of them slower
SINGLE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "IGL_NUM_THREADS")


def local(workers: int | None) -> Executor:
    """For jobs that need no limits: this process for one worker, else a pool (None: one process per core)."""
    return Serial() if workers == 1 else Pool(workers)


@dataclass(frozen=True)
class Pool:
    """Single-threaded processes. workers: None is one per core."""

    workers: int | None = None

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        workers = min(self.workers or os.cpu_count() or 1, len(jobs))
        with _single_threaded(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            running = [pool.submit(attempt, job, work) for job in jobs]
            try:
                for future in as_completed(running):
                    yield future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started inside find one thread per library in their environment."""
    before = {name: os.environ.get(name) for name in SINGLE_THREAD}
    os.environ.update(dict.fromkeys(SINGLE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
