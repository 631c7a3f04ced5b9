"""Worker process: takes jobs from a pipe one at a time and exits when its parent process ends.

Started as `python -m sculpt4d.jobs.worker PIPE LIFELINE` (file descriptors) in its own session.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from sculpt4d.jobs.executor import Attempt, Work, attempt

READY = "ready"  # sent once, when the worker function's libraries are loaded


def serve(pipe: Connection) -> None:
    """Receive the worker function, then jobs until the pipe closes. Answer each with an Attempt, or the OSError of a
    full disk.
    """
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
    """Wait for the parent to end, then kill this process group. The parent never writes to `lifeline`."""
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
    with suppress(EOFError, ConnectionError):  # the parent has closed the pipe or ended
        serve(pipe)


if __name__ == "__main__":
    main()
