"""python -m sculpt4d.gltf.read: what it lists, what it measures, and what it says when it cannot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sculpt4d.gltf.__main__ import describe, main


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(arguments)
    return capsys.readouterr().out


def test_bounds_and_area_are_measured_on_the_clips_own_axis(
    tmp_path: Path, sliding_square: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(sliding_square(tmp_path / "a.gltf"))
    described = json.loads(shown(capsys, path, "--times", "-1,0.25,1,9", "--json"))
    np.testing.assert_allclose([frame["lo"] for frame in described["frames"]], [[x, 0, 0] for x in (0, 0.5, 2, 2)])
    np.testing.assert_allclose([frame["hi"] for frame in described["frames"]], [[x, 1, 0] for x in (1, 1.5, 3, 3)])
    np.testing.assert_allclose([frame["area"] for frame in described["frames"]], 1)
    assert [frame["time"] for frame in described["frames"]] == [-1, 0.25, 1, 9]
    (clip,) = described["clips"]
    assert (clip["duration"], clip["interpolations"], clip["moves"]) == (1, ["LINEAR"], ["translation"])
    assert described["clip"] == 0 and described["skins"] == described["morphs"] == []


def test_without_json_a_list_is_followed_by_the_frames(
    tmp_path: Path, sliding_square: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(sliding_square(tmp_path / "a.gltf"))
    *lines, last = shown(capsys, path, "--clip", "0", "--times", "0").splitlines()
    assert "4 vertices, 2 triangles" in lines[0] and "0.000 to 1.000 s" in lines[1]
    assert json.loads(last)["frames"][0]["hi"] == [1, 1, 0]
    assert "frames" not in shown(capsys, path)


def test_a_static_file_has_no_clips_and_is_measured_at_rest(tmp_path: Path, sliding_square: Any) -> None:
    path = sliding_square(tmp_path / "a.gltf", animations=[])
    described = describe(path, times=[0.0, 3.0])
    assert described["clips"] == [] and described["clip"] is None
    assert described["frames"][0]["hi"] == described["frames"][1]["hi"] == [1, 1, 0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--clip", "walk"], "a.gltf has no clip 'walk': choose one of 0, or a number below 1"),
        (["--times", "now"], "'now' is not a list of seconds such as 0,0.5,1"),
        (["--times", "nan"], "'nan' is not a list of finite seconds"),
    ],
)
def test_an_error_is_one_line_that_names_file_and_remedy(
    tmp_path: Path, sliding_square: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    path = str(sliding_square(tmp_path / "a.gltf"))
    with pytest.raises(SystemExit) as stopped:
        main([path, *arguments])
    assert message in f"{stopped.value} {capsys.readouterr().err}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: .*away\.glb"):
        main([str(tmp_path / "away.glb")])


def test_the_command_runs_as_a_module(tmp_path: Path, sliding_square: Any, environment: dict[str, str]) -> None:
    path = str(sliding_square(tmp_path / "a.gltf"))
    command = [sys.executable, "-m", "sculpt4d.gltf.read", path, "--times", "0", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["frames"][0]["area"] == 1
