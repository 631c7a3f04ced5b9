"""Jobs on the machines of a Ray cluster, each in the same guarded worker process as on one machine.

Ray places the jobs and runs them again when their machine dies; time limit, memory cap and retries are the pool's.
"""

import logging
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType

from sculpt4d.jobs.executor import Named, Outcome, Work, refuse_doubles
from sculpt4d.jobs.pool import Pool
from sculpt4d.optional import require

log = logging.getLogger(__name__)

WINDOW = 2000  # jobs handed to Ray at once: enough to see how large a cluster could be, no burden for its scheduler
ANSWER = 10.0  # seconds a cluster has to answer


@dataclass(frozen=True)
class Ray:
    """One job per core of the cluster that `address` names (`auto`: the one this machine belongs to).

    Source and output must lie on storage that all machines see under one path, and each must have sculpt4d installed.
    timeout, memory, retries: of every job, as in Pool. A job whose machine dies is run again elsewhere, however often.
    """

    address: str = "auto"
    timeout: int | float | None = None
    memory: int | float | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        self.guard()

    def guard(self) -> Pool:
        """What watches a job on its machine. Raises ValueError on limits that make no sense."""
        return Pool(1, self.timeout, self.memory, self.retries)

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        """Raises ConnectionError when no cluster answers, FileNotFoundError when a machine does not see `folder`."""
        refuse_doubles(jobs)
        ray = require("ray")
        _connect(ray, self.address)
        log.info("executor: ray on %d machines, %g cores", len(ray.nodes()), ray.cluster_resources().get("CPU", 0))
        mark = folder.absolute() / f".seen-{secrets.token_hex(8)}"
        task = ray.remote(num_cpus=1, max_retries=-1, scheduling_strategy="SPREAD")(run_here)
        waiting = iter(jobs)
        running: dict[object, str] = {}
        try:
            mark.touch()
            while True:
                running |= {
                    task.remote(job, work, self.guard(), mark): job.name
                    for job in islice(waiting, WINDOW - len(running))
                }
                if not running:
                    return
                [ended], _ = ray.wait(list(running))
                yield _outcome(ray, ended, running.pop(ended))
        finally:
            mark.unlink(missing_ok=True)
            ray.shutdown()  # ends the jobs that are still running


def _connect(ray: ModuleType, address: str) -> None:
    try:
        if ":" in address:  # Ray itself waits for minutes where nobody listens
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=ANSWER).close()
        ray.init(address, logging_level=logging.WARNING)
    except (OSError, ValueError, ray.exceptions.RayError) as error:
        remedy = "start one (ray start --head) and name its HOST:PORT, or use executor=pool"
        raise ConnectionError(f"no Ray cluster at address={address} ({error}): {remedy}") from error


def run_here(job: Named, work: Work, guard: Pool, mark: Path) -> Outcome:
    """One job on whatever machine this is. `mark`: a file of the driver in the folder that must be shared."""
    if not mark.exists():
        raise FileNotFoundError(f"{mark.parent} of the main machine is not seen here: output must be shared storage")
    [outcome] = guard.run([job], work, mark.parent)
    return outcome


def _outcome(ray: ModuleType, ended: object, name: str) -> Outcome:
    try:
        return ray.get(ended)
    except ray.exceptions.RayTaskError as error:  # a full disk, or a machine that does not see the folder
        raise error.cause from None
    except ray.exceptions.RayError as error:  # what Ray itself gave up on
        return Outcome(name, "failed", f"{type(error).__name__}: {error}")
