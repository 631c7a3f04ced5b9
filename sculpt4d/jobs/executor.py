"""Executor interface: run many jobs through one worker function, and report the outcome of each job.

Also holds `Serial`, the executor that runs in the calling process, and `attempt`, which classifies errors.
"""

import errno
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
Status = Literal["prepared", "skipped", "failed"]


class Unsuitable(ValueError):
    """The object is valid but not wanted: it is skipped with this reason and does not count as failed."""


@runtime_checkable
class Named(Protocol):
    """A job: any picklable object with a unique name."""

    @property
    def name(self) -> str: ...


Work = Callable[[Any], object]  # worker function, called with one job


class Outcome(NamedTuple):
    """Result of one job. reason: empty when it was prepared. seconds: wall time of all attempts."""

    name: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    attempts: int = 1


class Attempt(NamedTuple):
    """Result of one call of the worker function. again: a retry may succeed."""

    status: Status
    reason: str = ""
    again: bool = False


@runtime_checkable
class Executor(Protocol):
    """Runs `work(job)` for every job and yields one Outcome per name as jobs finish, in any order.

    `work` raises Unsuitable to skip a job, and ValueError or OSError for errors that a retry cannot fix; other errors
    are retried. `folder` is where the jobs write; partial output of a stopped worker is removed there
    (`files.remove_stale`). Raises OSError when the disk is full, because every later job would fail too.
    """

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]: ...


@dataclass(frozen=True)
class Serial:
    """Runs jobs one after another in this process, for debugging and tests. No timeout, memory limit or retries."""

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        refuse_doubles(jobs)
        for job in jobs:
            start = time.monotonic()
            status, reason, _ = attempt(job, work)
            yield Outcome(job.name, status, reason, time.monotonic() - start)


def attempt(job: Named, work: Work) -> Attempt:
    """Call `work` once and return errors about the object as text. Raises OSError when the disk is full."""
    try:
        work(job)
    except Unsuitable as error:
        return Attempt("skipped", str(error))
    except Exception as error:  # any error caused by the input file goes into the report
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        return Attempt("failed", f"{type(error).__name__}: {error}", again=not isinstance(error, (ValueError, OSError)))
    return Attempt("prepared")


def refuse_doubles(jobs: Sequence[Named]) -> None:
    """Raise ValueError when two jobs share a name: they would write to one folder and their results would mix."""
    doubles = [name for name, count in Counter(job.name for job in jobs).items() if count > 1]
    if doubles:
        raise ValueError(f"several objects are named {', '.join(doubles[:5])}: give every object a name of its own")
