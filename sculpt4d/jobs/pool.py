"""Process pool on one machine with a time limit, a memory limit and retries per job.

A worker that dies only loses its own job. `concurrent.futures` does not provide this: there the whole pool breaks.
`local` chooses between the pool and the calling process.
"""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Pipe, wait
from pathlib import Path

from sculpt4d.config.settings import ExecutorSettings
from sculpt4d.files import remove_stale
from sculpt4d.jobs.executor import Attempt, Executor, Named, Outcome, Serial, Work, refuse_doubles
from sculpt4d.jobs.worker import READY

# read when a worker loads its libraries: more threads than cores slow down every worker
SINGLE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "IGL_NUM_THREADS")
LOADING = 120.0  # seconds for a new worker to import its libraries, in addition to the time limit
STARTS = 3  # consecutive workers that may die before they are ready
GRACE = 5.0  # seconds to wait for a dying worker
GIGABYTE = 1e9


@dataclass
class SlotTask:
    """A job with its attempts and wall time so far."""

    job: Named
    attempts: int = 0
    seconds: float = 0.0

    def ended(self, attempt: Attempt) -> Outcome:
        return Outcome(self.job.name, attempt.status, attempt.reason, self.seconds, self.attempts)


class Slot:
    """Holds at most one worker process, which runs at most one task.

    The worker leads its own process group: Ctrl-C in the terminal reaches only the pool, and programs started by the
    worker (Blender) are killed with it.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.process: subprocess.Popen[bytes] | None = None
        self.task: SlotTask | None = None
        self.since = 0.0  # when the task was assigned, or the worker became ready for it
        self.loading = False
        self.stillborn = 0

    def give(self, task: SlotTask) -> None:
        if self.process is None or self.process.poll() is not None:
            self.kill()
            self._start()
        self.task, self.since = task, time.monotonic()
        with suppress(ConnectionError):  # the worker has just died, which `listen` detects
            self.pipe.send(task.job)

    def listen(self) -> Attempt | OSError | None:
        """Read one message from the worker. Returns None unless it ends the task."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            return self._died()
        if answer != READY:
            return answer
        self.loading, self.stillborn, self.since = False, 0, time.monotonic()
        return None

    def overdue(self, timeout: int | float | None) -> Attempt | None:
        if timeout is None or time.monotonic() - self.since < timeout + self.loading * LOADING:
            return None
        self.kill()
        return Attempt("failed", f"took longer than executor.timeout={timeout:g} seconds and was stopped", again=True)

    def swollen(self, memory: int | float | None, used: Mapping[int, int]) -> Attempt | None:
        """Stop a worker that exceeds the memory limit. memory: gigabytes. used: bytes of each process group."""
        if memory is None or self.process is None or used.get(self.process.pid, 0) <= memory * GIGABYTE:
            return None
        taken = used[self.process.pid] / GIGABYTE
        self.kill()
        reason = f"took {taken:.2f} GB, more than executor.memory={memory:g}, and was stopped"
        return Attempt("failed", reason, again=True)

    def release(self) -> SlotTask:
        """Return the task with this attempt counted and free the slot."""
        task, self.task = self.task, None
        assert task is not None
        task.attempts += 1
        task.seconds += time.monotonic() - self.since
        return task

    def kill(self) -> None:
        """Kill the worker and all its child processes."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.pipe.close()
        self.lifeline.close()

    def _start(self) -> None:
        self.pipe, theirs = Pipe()
        beating, self.lifeline = Pipe(duplex=False)
        ends = (theirs.fileno(), beating.fileno())
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sculpt4d.jobs.worker", *map(str, ends)],
            env=os.environ | dict.fromkeys(SINGLE_THREAD, "1") | {"PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            pass_fds=ends,
            start_new_session=True,
        )
        self.loading = True
        theirs.close()
        beating.close()
        with suppress(ConnectionError):
            self.pipe.send(self.work)

    def _died(self) -> Attempt | None:
        process, task = self.process, self.task
        assert process is not None and task is not None
        with suppress(subprocess.TimeoutExpired):  # the pipe closes shortly before the process ends
            process.wait(GRACE)
        self.kill()
        code = process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        if not self.loading:
            return Attempt("failed", f"its worker process {how}", again=True)
        self.stillborn += 1
        if self.stillborn == STARTS:
            raise ChildProcessError(
                f"{STARTS} worker processes in a row could not start, the last one {how}: see above"
            )
        self.give(task)
        return None


def resident(groups: Iterable[int]) -> dict[int, int]:
    """Return the resident bytes of each process group, summed over its processes, from /proc."""
    wanted, page = set(groups), os.sysconf("SC_PAGE_SIZE")
    used: dict[int, int] = defaultdict(int)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):  # the process has ended in the meantime
            group = int((entry / "stat").read_text().rpartition(")")[2].split()[2])
            if group in wanted:
                used[group] += int((entry / "statm").read_text().split()[1]) * page
    return used


WATCH = 0.25  # seconds between checks of time and memory limits


@dataclass(frozen=True)
class Pool(ExecutorSettings):
    """Executor of single-threaded worker processes that are reused between jobs.

    workers: number of processes; None: one per core. timeout: seconds per attempt; None: no limit. memory: resident
    gigabytes (1e9 bytes) of a worker and its child processes; None: no limit. retries: further attempts after a killed
    worker, an exceeded limit, or any error other than ValueError and OSError.
    """

    def run(self, jobs: Sequence[Named], work: Work, folder: Path) -> Iterator[Outcome]:
        """Run the jobs. Raises ValueError where memory cannot be measured, ChildProcessError when no worker starts."""
        refuse_doubles(jobs)
        if self.memory is not None and not Path("/proc/self/statm").exists():
            raise ValueError("executor.memory needs /proc (Linux): set executor.memory=null here")
        waiting = deque(SlotTask(job) for job in jobs)
        slots = [Slot(work) for _ in range(min(self.workers or os.cpu_count() or 1, len(jobs)))]
        try:
            while waiting or any(slot.task for slot in slots):
                for slot in slots:
                    if slot.task is None and waiting:
                        slot.give(waiting.popleft())
                for slot, attempt in self._ends([slot for slot in slots if slot.task is not None]):
                    task = slot.release()
                    if attempt.again:
                        slot.kill()  # the worker process itself may be in a bad state
                        remove_stale(folder)
                    if attempt.again and task.attempts <= self.retries:
                        waiting.append(task)
                    else:
                        yield task.ended(attempt)
        finally:  # on completion, an error or Ctrl-C, stop all workers
            interrupted = any(slot.task for slot in slots)
            for slot in slots:
                slot.kill()
            if interrupted:
                remove_stale(folder)

    def _ends(self, busy: Sequence[Slot]) -> Iterator[tuple[Slot, Attempt]]:
        """Wait for the first answers, or until the next check of the limits."""
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
    """Return an executor without limits: this process for one worker, else a pool (None: one process per core)."""
    return Serial() if workers == 1 else Pool(workers)
