"""One process at a time where several would do the same work: the others wait, and find it done."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Inside, no other process of this machine is inside for the same `path`, which need not exist.

    The lock is a hidden file beside it, which goes when the work is done. It is free again when its process ends,
    however that happens.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.lock")
    while True:
        with open(place, "w") as lock:
            _wait(lock, path)
            if not _is(place, lock):  # who was inside has removed it: there is another one by now, or none
                continue
            try:
                yield
            finally:
                place.unlink()
            return


def _wait(lock: TextIO, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waiting for another process that makes %s", path)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is(place: Path, lock: TextIO) -> bool:
    """Whether the file at `place` is the one that is open."""
    try:
        return os.path.samestat(os.stat(place), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False
