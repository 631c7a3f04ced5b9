"""The time of a clip is that of its phases without loading, and none where nothing says it."""

import json
from pathlib import Path

import pytest

from sculpt4d.evaluation.provenance import seconds_per_clip


def leave(folder: Path, **phases: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "generation.json").write_text(json.dumps({"seconds": phases}))
    return folder


def test_the_mean_over_clips_leaves_out_loading(tmp_path: Path):
    leave(tmp_path / "fox", **{"reading": 1.0, "loading vae": 99.0, "loading": 1.0, "denoising": 10.0})
    leave(tmp_path / "horse", loading=50.0, denoising=20.0, decoding=1.0)
    assert seconds_per_clip(tmp_path) == 16.0
    assert seconds_per_clip(tmp_path / "fox") == 11.0


def test_no_time_is_made_up(tmp_path: Path):
    assert seconds_per_clip(tmp_path) is None
    leave(tmp_path / "fox", sampling=1.0)
    (tmp_path / "other_method").mkdir()
    assert seconds_per_clip(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "{}", '{"seconds": 3}', '{"seconds": {"sampling": "x"}}', "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str):
    (leave(tmp_path / "fox") / "generation.json").write_text(text)
    with pytest.raises(ValueError, match=r"fox/generation\.json does not say its seconds"):
        seconds_per_clip(tmp_path)
