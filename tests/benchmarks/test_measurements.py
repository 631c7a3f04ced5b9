"""Commands that measure: their rows are there, backends agree, and what fails is told and stops nothing."""

import json
from pathlib import Path

import pytest
import torch.nn.functional as F
from torch import Tensor

from benchmarks import device, training_step
from sculpt4d.attention.backends import BACKENDS
from sculpt4d.attention.patterns import Pattern


def gaps(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    sizes = ["--frames", "5", "--batch", "1", "--steps", "4", "--backends", "reference,merged,auto"]
    training_step.main([*sizes, "model=nano", "stage.optimisation.rate=1e-2", "stage.optimisation.warmup=1"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| 5 ")]
    return {row[1].strip(): float(row[4]) for row in rows}


def test_training_steps_give_the_same_loss_with_every_backend(capsys: pytest.CaptureFixture[str]):
    found = gaps(capsys)
    assert found.keys() == {"reference", "merged", "auto"} and max(found.values()) < 1e-5


def test_a_backend_that_gives_another_loss_is_seen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def unmasked(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, frames: int) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    monkeypatch.setitem(BACKENDS, "merged", unmasked)
    assert gaps(capsys)["merged"] > 1e-5


def test_a_part_that_fails_is_told_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    listed = [
        ("wrong", ["benchmarks.attention", "--frames", "0"]),
        ("right", ["benchmarks.long_clips", "--row", '[2, "generate"]', "--width", "8", "--latents", "8"]),
    ]
    monkeypatch.setattr(device, "parts", lambda device, small: iter(listed))
    device.main([str(tmp_path / "results" / "cpu.json"), "--small", "--device", "cpu"])
    found = json.loads((tmp_path / "results" / "cpu.json").read_text())["parts"]
    assert "whole numbers from 1 up" in " ".join(found["wrong"]["failed"])
    assert found["right"]["seconds"] > 0 and found["right"]["peak_bytes"] > 0
    assert "failed: wrong" in capsys.readouterr().out


def test_the_papers_sizes_are_not_begun_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        device.main([str(tmp_path / "report.json"), "--device", "cpu"])
    assert "--small" in capsys.readouterr().err


def test_every_part_of_the_report_is_a_command_of_its_own():
    listed = [arguments for _, arguments in device.parts("cuda", small=False)]
    assert len({tuple(arguments) for arguments in listed}) == len(listed)
