"""Jobs side by side in worker processes of this machine, each with a time limit, a memory cap and further attempts.

A worker that dies takes its own job alone with it, which `concurrent.futures` cannot promise: there the pool breaks.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from sculpt4d.config.settings import ExecutorSettings
from sculpt4d.data.drafts import sweep_drafts
from sculpt4d.jobs.executor import Attempt, Executor, Named, Outcome, Serial, Work, refuse_doubles
from sculpt4d.jobs.slot import Slot, Task, resident

WATCH = 0.25  # seconds between two looks at clock and memory


@dataclass(frozen=True)
class Pool(ExecutorSettings):
    """Single-threaded processes, kept from job to job.

    workers: processes; None is one per core. timeout: seconds of one attempt, memory: resident gigabytes (1e9 bytes)
    of a worker and all that it starts; None is no limit. retries: further attempts after a worker was killed, a limit
    was passed or an error came that another try may spare (anything but ValueError and OSError).
    """

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        """Raises ValueError where memory cannot be watched, ChildProcessError when no worker starts."""
        refuse_doubles(jobs)
        if self.memory is not None and not Path("/proc/self/statm").exists():
            raise ValueError("executor.memory needs /proc (Linux): set executor.memory=null here")
        waiting = deque(Task(job) for job in jobs)
        slots = [Slot(work) for _ in range(min(self.workers or os.cpu_count() or 1, len(jobs)))]
        try:
            while waiting or any(slot.task for slot in slots):
                for slot in slots:
                    if slot.task is None and waiting:
                        slot.give(waiting.popleft())
                for slot, attempt in self._ends([slot for slot in slots if slot.task is not None]):
                    task = slot.release()
                    if attempt.again:
                        slot.kill()  # what went wrong may be the process itself
                        sweep_drafts(folder)
                    if attempt.again and task.attempts <= self.retries:
                        waiting.append(task)
                    else:
                        yield task.ended(attempt)
        finally:  # the end, an error or Ctrl-C: nobody goes on working
            interrupted = any(slot.task for slot in slots)
            for slot in slots:
                slot.kill()
            if interrupted:
                sweep_drafts(folder)

    def _ends(self, busy: Sequence[Slot]) -> Iterator[tuple[Slot, Attempt]]:
        """Waits for the first answers, or until the next look at the limits."""
        ready = wait([slot.pipe for slot in busy], WATCH)
        for slot in [slot for slot in busy if slot.pipe in ready]:
            answer = slot.listen()
            if isinstance(answer, OSError):
                raise answer
            if answer is not None:
                yield slot, answer
        working = [slot for slot in busy if slot.task is not None and not slot.pipe.poll()]
        used = resident(slot.process.pid for slot in working if slot.process) if self.memory is not None else {}
        for slot in working:
            stopped = slot.overdue(self.timeout) or slot.swollen(self.memory, used)
            if stopped:
                yield slot, stopped


def local(workers: int | None) -> Executor:
    """For jobs that need no limits: this process for one worker, else a pool (None: one process per core)."""
    return Serial() if workers == 1 else Pool(workers)
