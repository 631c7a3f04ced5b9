"""A cluster of two nodes on this machine, of which one is killed in the middle of a run."""

import importlib
import os
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sculpt4d import optional
from sculpt4d.jobs.ray import Ray, run_here

HERE = Path(__file__).resolve().parent
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
JOBS = 12


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module odd_jobs, importable by Ray's processes too."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    return importlib.import_module("odd_jobs")


@pytest.fixture
def cluster(odd: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head node of one core that notices a dead node within some seconds."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else one is written to the home folder
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
    head = NODE | {"include_dashboard": False, "_system_config": quick}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


def processes_of(raylet: int) -> set[int]:
    """A node's Ray processes: those whose environment names its raylet and which are no workers of ours."""
    found = {raylet}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            of_node = f"RAY_RAYLET_PID={raylet}\0" in (process / "environ").read_text()
            if of_node and "executors_worker" not in (process / "cmdline").read_text():
                found.add(int(process.name))
        except OSError:  # it ended, or belongs to somebody else
            continue
    return found


def on_node(raylet: int, pid: int) -> bool:
    try:
        return f"RAY_RAYLET_PID={raylet}\0" in Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return False


@pytest.mark.slow
def test_a_node_that_dies_costs_no_object_and_doubles_none(cluster: Any, odd: ModuleType, tmp_path: Path) -> None:
    node = cluster.add_node(**NODE)
    raylet = node.all_processes["raylet"][0].process.pid
    jobs = [odd.OddJob(f"object_{number}", "good", tmp_path, 1.0) for number in range(JOBS)]
    ended, orphans = [], []
    for outcome in Ray(cluster.address, timeout=30, memory=1).run(jobs, odd.do, tmp_path):
        ended.append(outcome)
        pids = [int(line) for log in tmp_path.glob("*.log") for line in log.read_text().split()]
        if len(ended) >= 3 and not orphans:
            orphans = [pid for pid in pids if on_node(raylet, pid)]
            for process in processes_of(raylet) if orphans else ():
                os.kill(process, signal.SIGKILL)
    assert orphans, "no job was running on the second node"
    assert Counter(outcome.name for outcome in ended) == Counter(job.name for job in jobs)
    assert {outcome.status for outcome in ended} == {"prepared"}
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".log"} == {job.name for job in jobs}
    assert sorted(odd.runs(job) for job in jobs) == [1] * (JOBS - 1) + [2], (
        "the interrupted job, and it alone, ran twice"
    )
    assert not any(on_node(raylet, pid) for pid in orphans), "workers end with their node"


@pytest.mark.slow
def test_the_limits_of_the_pool_hold_on_a_cluster(cluster: Any, odd: ModuleType, tmp_path: Path) -> None:
    kinds = ["good", "killed", "hangs", "swells", "unsuitable", "value", "killed once"]
    jobs = [odd.OddJob(kind, kind, tmp_path) for kind in kinds]
    ended = {outcome.name: outcome for outcome in Ray(cluster.address, 1.5, 0.5).run(jobs, odd.do, tmp_path)}
    assert [ended[kind].attempts for kind in kinds] == [1, 2, 2, 2, 1, 1, 2]
    assert {kind for kind in kinds if ended[kind].status == "prepared"} == {"good", "killed once"}
    assert "executor.timeout=1.5" in ended["hangs"].reason and "executor.memory=0.5" in ended["swells"].reason
    assert ended["unsuitable"].status == "skipped"
    with pytest.raises(OSError, match="No space left"):
        list(Ray(cluster.address).run([odd.OddJob("full", "full disk", tmp_path)], odd.do, tmp_path))
    assert not list(tmp_path.glob(".seen*"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "head-node:port", "auto"])
def test_an_address_without_a_cluster_is_named(
    address: str, odd: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConnectionError, match=rf"no Ray cluster at address={address} .*executor=pool"):
        list(Ray(address).run([odd.OddJob("a", "good", tmp_path)], odd.do, tmp_path))


def test_a_machine_that_does_not_see_the_folder_is_told_apart(odd: ModuleType, tmp_path: Path) -> None:
    job = odd.OddJob("a", "good", tmp_path)
    with pytest.raises(FileNotFoundError, match="must be shared storage"):
        run_here(job, odd.do, Ray().guard(), tmp_path / ".seen-nowhere")
    assert not job.log.exists()
    (tmp_path / ".seen-here").touch()
    assert run_here(job, odd.do, Ray().guard(), tmp_path / ".seen-here").status == "prepared"


def test_without_ray_the_extra_is_named(odd: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "probe", lambda name: None)
    with pytest.raises(ImportError, match=r"\.\[ray\].*executor=pool"):
        list(Ray().run([odd.OddJob("a", "good", tmp_path)], odd.do, tmp_path))


@pytest.mark.parametrize("name, value", [("retries", -1), ("timeout", 0), ("memory", -2.0)])
def test_limits_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"executor\.{name}={value}"):
        Ray(**{name: value})
