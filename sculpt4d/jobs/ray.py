"""Executor for a Ray cluster. Each job runs in the same guarded worker process as in the local pool.

Ray places the jobs and reruns them when their machine dies. The pool enforces time limit, memory limit and retries.
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

WINDOW = 2000  # jobs submitted to Ray at once: enough to scale up a cluster, few enough for its scheduler
ANSWER = 10.0  # seconds to wait for a cluster to answer


@dataclass(frozen=True)
class Ray:
    """Runs one job per core of the cluster at `address` (`auto`: the cluster this machine belongs to).

    Source and output must be on storage that all machines mount under the same path. Every machine needs sculpt4d
    installed. timeout, memory and retries apply to each job, as in Pool. A job whose machine dies is rerun on another
    one without limit.
    """

    address: str = "auto"
    timeout: int | float | None = None
    memory: int | float | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        self.guard()

    def guard(self) -> Pool:
        """Return the pool that limits a job on its machine. Raises ValueError for invalid limits."""
        return Pool(1, self.timeout, self.memory, self.retries)

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        """Run the jobs. Raises ConnectionError when no cluster answers, FileNotFoundError when a machine cannot see
        `folder`.
        """
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
            ray.shutdown()  # stops the jobs that are still running


def _connect(ray: ModuleType, address: str) -> None:
    try:
        if ":" in address:  # without a listener, Ray itself waits for minutes
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=ANSWER).close()
        ray.init(address, logging_level=logging.WARNING)
    except (OSError, ValueError, ray.exceptions.RayError) as error:
        remedy = "start one (ray start --head) and name its HOST:PORT, or use executor=pool"
        raise ConnectionError(f"no Ray cluster at address={address} ({error}): {remedy}") from error


def run_here(job: Named, work: Work, guard: Pool, mark: Path) -> Outcome:
    """Run one job on the current machine. `mark`: a file that the driver created in the shared folder."""
    if not mark.exists():
        raise FileNotFoundError(f"{mark.parent} of the main machine is not seen here: output must be shared storage")
    [outcome] = guard.run([job], work, mark.parent)
    return outcome


def _outcome(ray: ModuleType, ended: object, name: str) -> Outcome:
    try:
        return ray.get(ended)
    except ray.exceptions.RayTaskError as error:  # a full disk, or a machine that cannot see the folder
        raise error.cause from None
    except ray.exceptions.RayError as error:  # an error from which Ray did not recover
        return Outcome(name, "failed", f"{type(error).__name__}: {error}")
