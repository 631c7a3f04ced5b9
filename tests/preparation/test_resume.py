"""A run that was killed goes on where it was: the same objects, and nothing half made."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sculpt4d.data import store
from sculpt4d.preparation import run as prepare
from sculpt4d.preparation.run import PrepareSettings

SETTINGS = PrepareSettings(frames=3, points=200, sharp_points=64, views=1, image_size=64, grid_res=48, front=True)
MAIN = """
import json, sys
from sculpt4d.preparation.run import PrepareSettings, prepare_synthetic
prepare_synthetic(sys.argv[1], 4, 0, PrepareSettings(**json.loads(sys.argv[2])), workers=2)
"""


def files(root: Path) -> dict[str, bytes]:
    """Everything below `root` but the report, hidden files included; without the times that the records tell."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found.pop("report.json", None)
    for name, content in found.items():
        if name.endswith(store.RECORD):
            found[name] = json.dumps(json.loads(content) | {"seconds": {}}).encode()
    return found


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_objects(tmp_path: Path, environment: dict[str, str]) -> None:
    expected = tmp_path / "expected"
    assert not prepare.prepare_synthetic(expected, 4, 0, SETTINGS, workers=1).failed
    root = tmp_path / "killed"
    command = [sys.executable, "-c", MAIN, str(root), json.dumps(vars(SETTINGS))]
    main = subprocess.Popen(command, env=environment)
    while not (root.is_dir() and any((path / store.RECORD).is_file() for path in root.iterdir())):
        assert main.poll() is None
        time.sleep(0.01)
    main.send_signal(signal.SIGKILL)
    main.wait()
    time.sleep(2)  # the workers end too
    done = {name: os.stat(root / name).st_mtime_ns for name in store.object_names(root)}
    assert 0 < len(done) < 4
    assert all(files(root / name) == files(expected / name) for name in done)
    report = prepare.prepare_synthetic(root, 4, 0, SETTINGS, workers=2)
    assert set(report.present) == set(done) and not report.failed
    assert {name: os.stat(root / name).st_mtime_ns for name in done} == done, "what was there stays as it is"
    assert files(root) == files(expected)
