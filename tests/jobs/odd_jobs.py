"""Worker functions that misbehave, in a module of their own: worker processes import them by name."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sculpt4d.data.drafts import new_draft
from sculpt4d.jobs.executor import Unsuitable


class OddJob(NamedTuple):
    """`kind` says what goes wrong; each run leaves a line in `log`, and a good end the file `folder`/`name`."""

    name: str
    kind: str
    folder: Path
    seconds: float = 0.0

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"


def do(job: OddJob) -> None:
    first = not job.log.exists()
    with job.log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(job.seconds)
    KINDS[job.kind](job, first)
    (job.folder / job.name).write_text("done")


def runs(job: OddJob) -> int:
    return len(job.log.read_text().splitlines())


def hang(job: OddJob, first: bool) -> None:
    time.sleep(3600)


def swell(job: OddJob, first: bool) -> None:
    held = [bytearray(os.urandom(1 << 20) * 50)]
    while True:
        held.append(bytearray(held[0]))
        time.sleep(0.01)


def swell_outside(job: OddJob, first: bool) -> None:
    """A renderer of its own process that grows."""
    subprocess.run(
        [sys.executable, "-c", "b = bytearray(b'x' * 1_500_000_000); import time; time.sleep(3600)"], check=True
    )


def start_others(job: OddJob, first: bool) -> None:
    other = subprocess.Popen(["sleep", "3600"])
    with job.log.open("a") as file:
        file.write(f"{other.pid}\n")
    time.sleep(3600)


def tell_environment(job: OddJob, first: bool) -> None:
    job.log.write_text("".join(f"{name}={value}\n" for name, value in os.environ.items()))


def leave_draft(job: OddJob, first: bool) -> None:
    new_draft(job.folder / job.name).joinpath("half").touch()
    stop(signal.SIGKILL)


def stop(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def once(job: OddJob, first: bool) -> None:
    if first:
        stop(signal.SIGKILL)


def fail(error: BaseException) -> None:
    raise error


class Unloadable:
    """A worker function whose module cannot be imported."""

    def __call__(self, job: OddJob) -> None: ...

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return refuse, ("no such library",)


def refuse(words: str) -> None:
    raise ImportError(words)


KINDS = {
    "good": lambda job, first: None,
    "hangs": hang,
    "swells": swell,
    "swells outside": swell_outside,
    "killed": lambda job, first: stop(signal.SIGKILL),
    "killed once": once,
    "segfault": lambda job, first: stop(signal.SIGSEGV),
    "exits": lambda job, first: os._exit(3),
    "leaves a draft": leave_draft,
    "starts others": start_others,
    "environment": tell_environment,
    "unsuitable": lambda job, first: fail(Unsuitable("not animated")),
    "value": lambda job, first: fail(ValueError("no such clip")),
    "missing": lambda job, first: fail(FileNotFoundError("clip.bin is missing")),
    "memory": lambda job, first: fail(MemoryError("cannot allocate")),
    "full disk": lambda job, first: fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), job.name)),
}
