"""Folders of objects are there whole or not at all, whatever instant their process is killed at."""

import os
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from sculpt4d import files as whole
from sculpt4d.data import store
from sculpt4d.data.store import UNRECORDED
from sculpt4d.geometry.bounds import Box
from sculpt4d.render.cameras import choose_cameras
from sculpt4d.types import Mesh

CAMERAS = choose_cameras(1, True, np.random.default_rng(0))
BOX = Box(np.zeros(3, np.float32), 0.5)
WRITES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree")
KILLED = 9


def write(folder: Path, family: str) -> None:
    shape = trimesh.creation.box((0.5, 0.5, 0.5))
    mesh = Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces))
    rows, nothing = np.zeros((3, 6), np.float32), np.zeros(0, np.float32)
    with store.writing(folder, CAMERAS, BOX) as writer:
        view = np.zeros((4, 4, 4), np.uint8)
        writer.add(store.FrameData([view], mesh, mesh, rows, rows, nothing.reshape(0, 3), nothing))
        writer.finish(UNRECORDED | {"family": family})


def killed_at(step: int, folder: Path, family: str) -> bool:
    """Writes in a process that dies at its `step`-th touch of the file system; False when it ended before."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    left = step

    def count(event: str, arguments: object) -> None:
        nonlocal left
        left -= event in WRITES
        if left < 0:
            os._exit(KILLED)

    sys.addaudithook(count)
    write(folder, family)
    os._exit(0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("again", [False, True], ids=["first time", "other settings"])
def test_a_process_killed_at_any_step_leaves_the_old_object_none_or_the_new(again: bool, tmp_path: Path) -> None:
    write(tmp_path / "whole", "new")
    expected, seen = files(tmp_path / "whole"), set()
    for step in range(1000):
        root = tmp_path / str(step)
        if again:
            write(root / "ball", "old")
        old = files(root / "ball")
        killed = killed_at(step, root / "ball", "new")
        found = files(root / "ball")
        assert found in (old, {}, expected), f"killed at step {step}"
        seen.add(found.get(store.RECORD))
        whole.remove_stale(root)
        assert not root.exists() or {path.name for path in root.iterdir()} <= {"ball"}
        if not killed:
            break
    assert found == expected and step > 15
    assert {None, expected[store.RECORD]} <= seen and len(seen) == 2 + again


def test_drafts_of_the_living_and_of_strangers_are_kept(tmp_path: Path) -> None:
    mine = whole.new_draft(tmp_path / "ball.v2-final")
    elsewhere = tmp_path / f".ball.draft-{socket.gethostname()}x-1-abc"
    others = [tmp_path / name for name in (".git", ".ball.tmp", "ball", ".ball.draft")]
    for path in (elsewhere, *others):
        path.mkdir()
    whole.remove_stale(tmp_path)
    assert {mine, elsewhere, *others} == set(tmp_path.iterdir())


def test_drafts_of_another_machine_go_when_idle_for_a_day(tmp_path: Path) -> None:
    day = time.time() - whole.ABANDONED - 10
    stale, busy = (tmp_path / f".{name}.draft-far.example-7-x_y" for name in ("stale", "busy"))
    for path in (stale, busy):
        (path / "render_cond").mkdir(parents=True)
        os.utime(path, (day, day))
    os.utime(stale / "render_cond", (day, day))
    whole.remove_stale(tmp_path)
    assert set(tmp_path.iterdir()) == {busy}


def test_the_name_of_an_object_may_be_as_long_as_files_may(tmp_path: Path) -> None:
    write(tmp_path / ("a" * 250), "long")
    assert [path.name for path in tmp_path.iterdir()] == ["a" * 250]


def test_a_folder_that_is_not_there_has_nothing_to_sweep(tmp_path: Path) -> None:
    whole.remove_stale(tmp_path / "none")
