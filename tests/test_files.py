"""Files and folders are there whole or not at all, JSON is valid, and one process makes what several would make."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sculpt4d import files
from sculpt4d.files import file_lock

HOLD = """
import sys, time
from pathlib import Path
from sculpt4d.files import file_lock
with file_lock(Path(sys.argv[1])):
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
    with held(path, "time.sleep(0.3); Path(sys.argv[1]).write_text('whole')"), caplog.at_level("INFO"), file_lock(path):
        assert path.read_text() == "whole"
    assert f"waiting for another process that makes {path}" in caplog.text


def test_a_killed_process_leaves_no_lock(tmp_path: Path):
    with held(tmp_path / "made", "time.sleep(60)") as process:
        process.kill()
        started = time.monotonic()
        with file_lock(tmp_path / "made"):
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
    with file_lock(tmp_path / "one"), file_lock(tmp_path / "two"):
        assert {path.name for path in tmp_path.iterdir()} == {".one.lock", ".two.lock"}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_and_folders_have_the_mode_of_the_umask(mask: int, tmp_path: Path):
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "text", "a")
        with files.replacing_file(tmp_path / "other") as draft:
            draft.unlink()
            draft.touch(0o600)  # as a library that makes a file of its own
        with files.replacing_folder(tmp_path / "folder") as draft:
            (draft / "inside").touch()
    finally:
        os.umask(before)
    assert mode(tmp_path / "text") == mode(tmp_path / "other") == 0o666 & ~mask
    assert mode(tmp_path / "folder") == 0o777 & ~mask


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path):
    path = tmp_path / "deep" / "file"
    files.write_text(path, "old\r\n")
    with pytest.raises(RuntimeError), files.replacing_file(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == b"old\r\n" and list(path.parent.iterdir()) == [path]


def test_a_failed_folder_keeps_the_old_one_and_leaves_nothing(tmp_path: Path):
    with files.replacing_folder(tmp_path / "made") as draft:
        (draft / "old").touch()
    with pytest.raises(RuntimeError), files.replacing_folder(tmp_path / "made") as draft:
        (draft / "new").touch()
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "old"]


def test_a_folder_that_cannot_be_moved_brings_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("place", "draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    real, place = os.replace, tmp_path / "place"

    def replace(source: Path, target: Path) -> None:
        if Path(source).name == "draft" and not place.exists():
            raise OSError("the disk is gone")
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(OSError, match="disk is gone"):
        files.move_into_place(tmp_path / "draft", place)
    assert {path.name for path in tmp_path.iterdir()} == {"place", "draft"} and (place / "place").exists()


def test_of_two_processes_that_finish_one_folder_the_one_that_comes_between_the_renames_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The other one comes between the two renames."""
    place, draft, other = (tmp_path / name for name in ("place", "draft", "other"))
    for folder in (place, draft, other):
        folder.mkdir()
        (folder / folder.name).touch()
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        real(source, target)
        if source == place and other.exists():
            real(other, place)

    monkeypatch.setattr(files.os, "replace", replace)
    files.move_into_place(draft, place)
    assert (place / "other").exists() and {path.name for path in tmp_path.iterdir()} == {"place", "draft"}


def test_a_folder_whose_replacement_was_cut_off_comes_back(tmp_path: Path):
    code = """
import os, sys
from pathlib import Path
from sculpt4d import files
real, place = os.replace, Path(sys.argv[1])
def replace(source, target):
    real(source, target)
    if source == place:
        os._exit(9)
files.os.replace = replace
with files.replacing_folder(place) as draft:
    (draft / "new").touch()
"""
    place = tmp_path / "made"
    place.mkdir()
    (place / "old").touch()
    assert subprocess.run([sys.executable, "-c", code, str(place)]).returncode == 9
    assert not place.exists()
    files.remove_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["made", "old"]


def test_json_is_valid_whatever_the_numbers(tmp_path: Path):
    content = {"x": math.nan, "y": (1, math.inf), 3: {"z": -math.inf}}
    files.write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word)) == {
        "x": None,
        "y": [1, None],
        "3": {"z": None},
    }
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"x": object()})
    assert (tmp_path / "a.json").read_text() == text
    assert json.loads(files.to_json({"x": Path("a")}, default=str)) == {"x": "a"}
