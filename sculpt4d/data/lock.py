"""One process at a time where several would do the same work: the others wait, and find it done."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Inside, no other process of this machine is inside for the same `path`, which need not exist.

    The lock is a hidden file beside it. It is free again when its process ends, however that happens.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that makes %s", path)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
