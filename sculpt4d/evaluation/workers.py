"""Many jobs in single-threaded processes, bounded in time and memory; a job that ends its process ends no other."""

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch

# read when a process loads its libraries: more threads than cores make every one of them slower
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "IGL_NUM_THREADS")


@runtime_checkable
class Named(Protocol):
    """A job: anything that pickles and has a name of its own."""

    @property
    def name(self) -> str: ...


Work = Callable[[Any], None]


class Outcome(NamedTuple):
    """What became of a job. reason: empty when it was done."""

    name: str
    reason: str = ""


class Slot(NamedTuple):
    """A process at work, and when its patience ends."""

    process: SpawnProcess
    pipe: Connection
    job: Named
    deadline: float


def run_jobs(
    jobs: Sequence[Named], work: Work, workers: int, timeout: float, memory: float | None = None
) -> Iterator[Outcome]:
    """Outcomes as jobs end. timeout: seconds a job may take; memory: GiB of data a process may hold.

    `workers` 0 runs them here, one by one and without bounds: for a debugger and for tests.
    """
    if workers == 0:
        for job in jobs:
            yield Outcome(job.name, attempt(job, work))
        return
    waiting, running = list(jobs)[::-1], list[Slot]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(), work, timeout, memory))
            patience = max(0.0, min(slot.deadline for slot in running) - time.monotonic())
            ready = connection.wait([slot.pipe for slot in running], patience)
            for slot in list(running):
                late = time.monotonic() >= slot.deadline
                if slot.pipe not in ready and not late:
                    continue
                running.remove(slot)
                reason = _answer(slot) if slot.pipe in ready else f"not done after {timeout:g} s: raise timeout"
                alive = slot.pipe in ready and slot.process.is_alive()
                if alive and waiting:
                    running.append(_give(slot, waiting.pop(), timeout))
                else:
                    _stop(slot)
                yield Outcome(slot.job.name, reason)
    finally:
        for slot in running:
            _stop(slot)


def attempt(job: Named, work: Work) -> str:
    """Empty, or what went wrong in words: one object never stops the others."""
    try:
        work(job)
    except MemoryError:
        return "out of memory: raise memory, or give a mesh of fewer faces"
    except Exception as error:  # whatever a foreign file provokes is the report's to tell
        return str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
    return ""


def _serve(pipe: Connection, work: Work, memory: float | None) -> None:
    """The process: job after job until the other end closes."""
    torch.set_num_threads(1)
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 2**30),) * 2)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(job, work))


def _start(job: Named, work: Work, timeout: float, memory: float | None) -> Slot:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, memory), daemon=True)
    with _single_threaded():
        process.start()
    theirs.close()
    return _give(Slot(process, ours, job, 0.0), job, timeout)


def _give(slot: Slot, job: Named, timeout: float) -> Slot:
    slot.pipe.send(job)
    return slot._replace(job=job, deadline=time.monotonic() + timeout)


def _answer(slot: Slot) -> str:
    try:
        return slot.pipe.recv()
    except EOFError:
        slot.process.join()
        return f"its process ended with status {slot.process.exitcode} (killed for memory, or a library crashed)"


def _stop(slot: Slot) -> None:
    slot.process.kill()
    slot.process.join()
    slot.pipe.close()


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started inside find one thread per library in their environment."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
