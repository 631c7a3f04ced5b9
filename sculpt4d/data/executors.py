"""Many jobs through one worker function, whatever runs them: what an executor is, and what becomes of one job."""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from sculpt4d.data.selection import Unsuitable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@runtime_checkable
class Named(Protocol):
    """A job: anything that pickles and has a name of its own."""

    @property
    def name(self) -> str: ...


Work = Callable[[Any], object]  # of one job


class Outcome(NamedTuple):
    """What became of one job. seconds, attempts: over all its attempts; reason: empty when it was prepared."""

    name: str
    status: Literal["prepared", "skipped", "failed"]
    reason: str = ""
    seconds: float = 0.0
    attempts: int = 1


@runtime_checkable
class Executor(Protocol):
    """Runs `work(job)` for every job and yields one Outcome per name as the jobs end, in any order.

    `work` raises Unsuitable for a skip, ValueError or OSError for what no retry helps; anything else is tried again.
    `folder` is where the jobs write. Raises OSError when the disk is full: nothing after it could succeed.
    """

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]: ...


@dataclass(frozen=True)
class Serial:
    """One job after the other in this process: for a debugger and for tests; no timeout, no memory cap, no retry."""

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        for job in jobs:
            yield attempt(job, work)


def attempt(job: Named, work: Work) -> Outcome:
    """One call of `work`; what is wrong with the object comes back as words. Raises OSError on a full disk."""
    start = time.monotonic()
    try:
        work(job)
    except Unsuitable as error:
        return Outcome(job.name, "skipped", str(error), time.monotonic() - start)
    except Exception as error:  # whatever a foreign file provokes is the report's to tell
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        return Outcome(job.name, "failed", f"{type(error).__name__}: {error}", time.monotonic() - start)
    return Outcome(job.name, "prepared", "", time.monotonic() - start)
