"""Jobs in processes: order of results, crashes, time and memory bounds."""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from sculpt4d.evaluation.workers import run_jobs


class Job(NamedTuple):
    name: str


def work(job: Job) -> None:
    """What a job's name says."""
    if job.name == "bad":
        raise ValueError("bad.obj is damaged")
    if job.name == "crash":
        os._exit(9)
    if job.name == "slow":
        time.sleep(60)
    if job.name == "large":
        np.ones(2**30)  # 8 GiB
    if job.name == "threads":
        raise ValueError(os.environ["OMP_NUM_THREADS"])


def outcomes(names: Sequence[str], workers: int, timeout: float = 100.0, memory: float | None = None) -> dict[str, str]:
    return dict(run_jobs([Job(name) for name in names], work, workers, timeout, memory))


def test_without_processes_failures_are_told_by_name() -> None:
    assert outcomes(["a", "bad", "b"], workers=0) == {"a": "", "bad": "bad.obj is damaged", "b": ""}


@pytest.mark.slow
def test_a_crash_a_hang_and_too_much_memory_end_one_job_each() -> None:
    found = outcomes(["a", "crash", "b", "large", "slow", "bad", "threads", "c"], workers=2, timeout=25.0, memory=3.0)
    assert {name for name, reason in found.items() if not reason} == {"a", "b", "c"}
    assert "status 9" in found["crash"] and "not done after 25 s" in found["slow"]
    assert "memory" in found["large"] and found["threads"] == "1"
