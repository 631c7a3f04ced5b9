"""Worker processes: what goes wrong in one costs that job alone, and nothing goes on when the run is over."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from sculpt4d.jobs.executor import Executor, Outcome, Serial
from sculpt4d.jobs.pool import Pool, local

HERE = Path(__file__).resolve().parent
LIMITS = Pool(2, timeout=60, memory=0.5, retries=1)


@pytest.fixture(scope="module")
def odd() -> Iterator[ModuleType]:
    """The module odd_jobs, importable by workers too."""
    sys.path.insert(0, str(HERE))
    yield importlib.import_module("odd_jobs")
    sys.path.remove(str(HERE))


Run = Callable[..., dict[str, Outcome]]


@pytest.fixture
def run(odd: ModuleType, tmp_path: Path) -> Run:
    """Outcomes by name of jobs named after their kinds."""

    def outcomes(executor: Executor, *kinds: str, seconds: float = 0.0) -> dict[str, Outcome]:
        jobs = [odd.OddJob(f"{number} {kind}", kind, tmp_path, seconds) for number, kind in enumerate(kinds)]
        ended = list(executor.run(jobs, odd.do, tmp_path))
        assert sorted(outcome.name for outcome in ended) == sorted(job.name for job in jobs), "once each"
        for outcome in ended:
            assert (tmp_path / outcome.name).exists() == (outcome.status == "prepared")
            assert len((tmp_path / f"{outcome.name}.log").read_text().splitlines()) == outcome.attempts
        return {outcome.name.partition(" ")[2]: outcome for outcome in ended}

    return outcomes


def alive(pid: int) -> bool:
    """True while the process runs; a zombie does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "kind, words",
    [
        ("killed", ["killed by SIGKILL"]),
        ("segfault", ["killed by SIGSEGV"]),
        ("exits", ["ended with status 3"]),
        ("hangs", ["executor.timeout=1.5 seconds"]),
        ("swells", ["GB", "executor.memory=0.5"]),
        ("swells outside", ["GB", "executor.memory=0.5"]),
        ("memory", ["MemoryError"]),
    ],
)
def test_a_worker_that_dies_takes_its_own_job_alone_and_is_tried_again(kind: str, words: list[str], run: Run) -> None:
    limits = replace(LIMITS, timeout=1.5) if kind == "hangs" else LIMITS  # others may be slow on a busy machine
    ended = run(limits, "good", kind, *["good"] * 6)
    failed = ended[kind]
    assert (failed.status, failed.attempts) == ("failed", 2)
    assert all(word in failed.reason for word in words), failed.reason
    assert ended["good"].status == "prepared"


@pytest.mark.parametrize("executor", [Serial(), Pool(1)], ids=["serial", "pool"])
@pytest.mark.parametrize(
    "kind, status, reason",
    [
        ("unsuitable", "skipped", "not animated"),
        ("value", "failed", "ValueError: no such clip"),
        ("missing", "failed", "FileNotFoundError: clip.bin is missing"),
    ],
)
def test_what_no_retry_helps_is_tried_once(executor: Executor, kind: str, status: str, reason: str, run: Run) -> None:
    ended = run(executor, kind, "good")
    assert ended[kind][1:3] == (status, reason) and ended[kind].attempts == 1
    assert ended["good"].status == "prepared"


def test_a_second_attempt_may_succeed(run: Run) -> None:
    assert run(Pool(1), "killed once")["killed once"][1:3] == ("prepared", "")


def test_what_a_killed_worker_had_half_made_is_removed(run: Run, tmp_path: Path) -> None:
    assert run(Pool(1), "leaves a draft")["leaves a draft"].attempts == 2
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_run_that_is_broken_off_leaves_no_worker(odd: ModuleType, tmp_path: Path) -> None:
    jobs = [odd.OddJob("a", "good", tmp_path), odd.OddJob("b", "hangs", tmp_path)]
    outcomes = Pool(2).run(jobs, odd.do, tmp_path)
    assert next(outcomes).name == "a"
    wait_for(jobs[1].log.exists)
    pids = {int(job.log.read_text()) for job in jobs}
    assert any(alive(pid) for pid in pids)
    outcomes.close()
    assert not any(alive(pid) for pid in pids)


def test_no_retries_means_one_attempt(run: Run) -> None:
    assert run(Pool(1, retries=0), "killed")["killed"].attempts == 1


@pytest.mark.parametrize("executor", [Serial(), Pool(2)], ids=["serial", "pool"])
def test_a_full_disk_ends_everything(executor: Executor, odd: ModuleType, tmp_path: Path) -> None:
    jobs = [odd.OddJob("full", "full disk", tmp_path), *(odd.OddJob(f"{n}", "hangs", tmp_path) for n in range(3))]
    with pytest.raises(OSError, match="No space left on device"):
        list(executor.run(jobs, odd.do, tmp_path))
    pids = {int(pid) for log in tmp_path.glob("*.log") for pid in log.read_text().split()} - {os.getpid()}
    assert not any(alive(pid) for pid in pids) and not (tmp_path / "0").exists()


def test_workers_run_one_thread_per_library(odd: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    [_] = Pool(1).run([odd.OddJob("env", "environment", tmp_path)], odd.do, tmp_path)
    assert "OMP_NUM_THREADS=1" in (tmp_path / "env.log").read_text()
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_worker_is_kept_from_job_to_job(run: Run, tmp_path: Path) -> None:
    run(Pool(1), *["good"] * 3)
    assert len({log.read_text() for log in tmp_path.glob("*.log")}) == 1


def test_workers_that_cannot_start_end_the_run(odd: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(ChildProcessError, match=r"3 worker processes in a row .* status 1"):
        list(Pool(1).run([odd.OddJob("a", "good", tmp_path)], odd.Unloadable(), tmp_path))
    assert "no such library" in capfd.readouterr().err


def test_one_name_twice_is_refused(odd: ModuleType, tmp_path: Path) -> None:
    for executor in (Serial(), Pool(1)):
        with pytest.raises(ValueError, match="several objects are named a:"):
            list(executor.run([odd.OddJob("a", "good", tmp_path)] * 2, odd.do, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, value", [("workers", 0), ("retries", -1), ("timeout", 0), ("memory", -2.0)])
def test_limits_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"executor\.{name}={value}"):
        Pool(**{name: value})


def test_one_unlimited_worker_needs_no_process() -> None:
    assert local(1) == Serial() and local(3) == Pool(3) and local(None) == Pool()


MAIN = """
import signal
import sys
from pathlib import Path
import odd_jobs
from sculpt4d.jobs.pool import Pool
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
folder = Path(sys.argv[1])
jobs = [odd_jobs.OddJob(str(n), sys.argv[2], folder, float(sys.argv[3])) for n in range(8)]
try:
    for outcome in Pool(2).run(jobs, odd_jobs.do, folder):
        pass
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind, seconds", [("good", 0.5), ("hangs", 0.0), ("starts others", 0.0)])
def test_no_worker_outlives_a_main_process_that_was_stopped(
    number: int, kind: str, seconds: float, odd: ModuleType, tmp_path: Path, environment: dict[str, str]
) -> None:
    paths = os.pathsep.join([environment["PYTHONPATH"], str(HERE)])
    command = [sys.executable, "-c", MAIN, str(tmp_path), kind, str(seconds)]
    main = subprocess.Popen(command, env=environment | {"PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)
    expected = 4 if kind == "starts others" else 2

    def pids() -> list[int]:
        return [int(line) for log in tmp_path.glob("*.log") for line in log.read_text().splitlines()]

    wait_for(lambda: len(pids()) >= expected)
    assert all(alive(pid) for pid in pids())
    main.send_signal(number)
    told = main.communicate(timeout=20)[1]
    assert main.returncode == (130 if number == signal.SIGINT else -number) and not told
    wait_for(lambda: not any(alive(pid) for pid in pids()), 2.0)
    before = sorted(tmp_path.iterdir())
    time.sleep(0.6)
    assert sorted(tmp_path.iterdir()) == before, "nobody goes on writing"
