"""A worker process: takes jobs from a pipe, one by one, and never outlives the process that started it.

Started as `python -m sculpt4d.jobs.worker PIPE LIFELINE` (file descriptors) in a session of its own.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from sculpt4d.jobs.executor import Attempt, Work, attempt

READY = "ready"  # said once, when the libraries of the worker function are loaded


def serve(pipe: Connection) -> None:
    """Receives the worker function, then jobs until the pipe closes; answers each with an Attempt, or the OSError of
    a full disk."""
    work: Work = pipe.recv()
    pipe.send(READY)
    while True:
        job = pipe.recv()
        answer: Attempt | OSError
        try:
            answer = attempt(job, work)
        except OSError as error:
            answer = OSError(error.errno, error.strerror, error.filename)
        pipe.send(answer)


def follow(lifeline: Connection) -> None:
    """Waits for the end of the parent, which never writes, and takes down this process and all that it started."""
    try:
        lifeline.recv()
    except EOFError:
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    descriptors = [int(number) for number in sys.argv[1:]]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    pipe, lifeline = (Connection(descriptor) for descriptor in descriptors)
    threading.Thread(target=follow, args=(lifeline,), daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the parent has closed the pipe, or is gone
        serve(pipe)


if __name__ == "__main__":
    main()
