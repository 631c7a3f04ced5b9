"""Many jobs through one worker function, whatever runs them: what an executor is, and what becomes of one job."""

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
    """The object is sound but not wanted: it is skipped with this reason, and nothing has failed."""


@runtime_checkable
class Named(Protocol):
    """A job: anything that pickles and has a name of its own."""

    @property
    def name(self) -> str: ...


Work = Callable[[Any], object]  # of one job


class Outcome(NamedTuple):
    """What became of one job. reason: empty when it was prepared; seconds: wall time of all its attempts."""

    name: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    attempts: int = 1


class Attempt(NamedTuple):
    """How one call of the worker function ended. again: another try may end otherwise."""

    status: Status
    reason: str = ""
    again: bool = False


@runtime_checkable
class Executor(Protocol):
    """Runs `work(job)` for every job and yields one Outcome per name as the jobs end, in any order.

    `work` raises Unsuitable for a skip, ValueError or OSError for what no retry helps; anything else is tried again.
    `folder` is where the jobs write; what a stopped worker had half made there is removed (`drafts`).
    Raises OSError when the disk is full: nothing after it could succeed.
    """

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]: ...


@dataclass(frozen=True)
class Serial:
    """One job after the other in this process: for a debugger and for tests; no timeout, no memory cap, no retry."""

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        refuse_doubles(jobs)
        for job in jobs:
            start = time.monotonic()
            status, reason, _ = attempt(job, work)
            yield Outcome(job.name, status, reason, time.monotonic() - start)


def attempt(job: Named, work: Work) -> Attempt:
    """One call of `work`; what is wrong with the object comes back as words. Raises OSError on a full disk."""
    try:
        work(job)
    except Unsuitable as error:
        return Attempt("skipped", str(error))
    except Exception as error:  # whatever a foreign file provokes is the report's to tell
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        return Attempt("failed", f"{type(error).__name__}: {error}", again=not isinstance(error, (ValueError, OSError)))
    return Attempt("prepared")


def refuse_doubles(jobs: Sequence[Named]) -> None:
    """Raises ValueError when two jobs have one name: they would write one folder, and outcomes could not be told."""
    doubles = [name for name, count in Counter(job.name for job in jobs).items() if count > 1]
    if doubles:
        raise ValueError(f"several objects are named {', '.join(doubles[:5])}: give every object a name of its own")
