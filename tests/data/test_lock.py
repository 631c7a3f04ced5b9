"""Of several processes that would make the same thing, one makes it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sculpt4d.data.lock import alone

HOLD = """
import sys, time
from pathlib import Path
from sculpt4d.data.lock import alone
with alone(Path(sys.argv[1])):
    print("inside", flush=True)
    {then}
"""


def held(path: Path, then: str) -> subprocess.Popen[str]:
    """Another process that is inside."""
    process = subprocess.Popen([sys.executable, "-c", HOLD.format(then=then), str(path)], stdout=-1, text=True)
    assert process.stdout is not None and process.stdout.readline() == "inside\n"
    return process


def test_who_comes_second_waits_until_the_first_is_done_and_finds_its_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "set" / "made"
    with held(path, "time.sleep(0.3); Path(sys.argv[1]).write_text('whole')"), caplog.at_level("INFO"), alone(path):
        assert path.read_text() == "whole"
    assert f"waiting for another process that makes {path}" in caplog.text


def test_a_killed_process_leaves_no_lock(tmp_path: Path):
    with held(tmp_path / "made", "time.sleep(60)") as process:
        process.kill()
        started = time.monotonic()
        with alone(tmp_path / "made"):
            assert time.monotonic() - started < 30


def test_of_many_each_is_alone_and_nothing_is_left(tmp_path: Path):
    add = "number = int(Path(sys.argv[1]).read_text()); time.sleep(0.02); Path(sys.argv[1]).write_text(str(number + 1))"
    code = HOLD.format(then=add).replace('print("inside", flush=True)', "pass")
    path = tmp_path / "count"
    path.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert path.read_text() == "8" and [entry.name for entry in tmp_path.iterdir()] == ["count"]


def test_different_things_are_made_at_the_same_time(tmp_path: Path):
    with alone(tmp_path / "one"), alone(tmp_path / "two"):
        assert {path.name for path in tmp_path.iterdir()} == {".one.lock", ".two.lock"}
