"""Records on disk are strict JSON, and whole."""

import json
from pathlib import Path

import pytest

from sculpt4d.evaluation.records import write_json


def test_json_is_strict_and_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"x": float("nan"), "y": (1, 2.5)})
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"x": None, "y": [1, 2.5]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "deep" / "a.json", {"x": object()})
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "deep" / "a.json").read_text())["y"] == [1, 2.5]
