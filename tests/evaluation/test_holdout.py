"""The loop over the holdout: averages, splits, and a second run that computes nothing."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sculpt4d.evaluation.holdout import Case, evaluate_cases, write_json
from sculpt4d.evaluation.protocol import Protocol
from sculpt4d.evaluation.summary import summarize_results
from sculpt4d.types import Clip, MeshSequence

SMALL = Protocol(points=300, resolution=16)


class FakeModel:
    """Answers with a cube whose side depends on the seed, and counts how often it is asked."""

    def __init__(self, shapes: SimpleNamespace, empty_seed: int | None = None) -> None:
        self.shapes, self.empty_seed, self.calls = shapes, empty_seed, 0

    def __call__(self, clip: Clip, seed: int) -> MeshSequence:
        self.calls += 1
        frames = [self.shapes.cube(1.0 + 0.25 * seed)] * clip.images.shape[0]
        return self.shapes.sequence(*frames[:-1], self.shapes.EMPTY if seed == self.empty_seed else frames[-1])


def make_cases(shapes: SimpleNamespace, brightness: float = 0.0) -> list[Case]:
    images = torch.full((3, 3, 4, 4), brightness)
    clip = Clip(images, torch.zeros(3, 5, 7), torch.arange(2), torch.zeros(3, 0, 3), torch.zeros(3, 0))
    truth = shapes.sequence(*[shapes.cube(2.0)] * 3)
    return [
        Case("a", "gear", True, clip, truth),
        Case("b", "bird", True, clip, truth),
        Case("c", "snake", False, clip, truth),
    ]


def test_a_second_run_recomputes_nothing(shapes: SimpleNamespace, tmp_path: Path) -> None:
    model, cases = FakeModel(shapes), make_cases(shapes)
    first = evaluate_cases(cases, model, SMALL, [0, 1], tmp_path, {"guidance": 1})
    assert model.calls == 6
    assert evaluate_cases(cases, model, SMALL, [0, 1], tmp_path, {"guidance": 1}) == first
    assert model.calls == 6


def test_only_what_is_missing_or_changed_is_computed(shapes: SimpleNamespace, tmp_path: Path) -> None:
    model, cases = FakeModel(shapes), make_cases(shapes)
    evaluate_cases(cases[:1], model, SMALL, [0], tmp_path, {"guidance": 1})
    evaluate_cases(cases[:1], model, SMALL, [0, 1], tmp_path, {"guidance": 1})
    assert model.calls == 2  # the second seed
    evaluate_cases(cases[:2], model, SMALL, [0], tmp_path, {"guidance": 1})
    assert model.calls == 3  # the second object
    evaluate_cases(cases[:1], model, SMALL, [0], tmp_path, {"guidance": 2})
    assert model.calls == 4  # other settings
    evaluate_cases(make_cases(shapes, 0.5)[:1], model, SMALL, [0], tmp_path, {"guidance": 1})
    assert model.calls == 5  # other pictures under the same name


def test_an_interrupted_run_keeps_what_it_finished(shapes: SimpleNamespace, tmp_path: Path) -> None:
    model, cases = FakeModel(shapes), make_cases(shapes)

    def dies(clip: Clip, seed: int) -> MeshSequence:
        if model.calls == 3:
            raise KeyboardInterrupt
        return model(clip, seed)

    with pytest.raises(KeyboardInterrupt):
        evaluate_cases(cases, dies, SMALL, [0, 1], tmp_path, {})
    resumed = evaluate_cases(cases, model, SMALL, [0, 1], tmp_path, {})
    assert model.calls == 6
    whole = evaluate_cases(cases, FakeModel(shapes), SMALL, [0, 1], tmp_path / "whole", {})
    assert summarize_results(resumed).mean == summarize_results(whole).mean


def test_averages_errors_and_spread(shapes: SimpleNamespace, tmp_path: Path) -> None:
    results = evaluate_cases(make_cases(shapes), FakeModel(shapes), SMALL, [0, 2], tmp_path, {})
    summary = summarize_results(results)
    sides = np.array([1.0, 1.5])
    assert summary.seed_means["iou"] == pytest.approx(list((sides / 2) ** 3))
    assert summary.mean["iou"] == pytest.approx(np.mean((sides / 2) ** 3))
    assert summary.spread["iou"] == pytest.approx(np.std((sides / 2) ** 3, ddof=1))
    assert summary.error["iou"] == pytest.approx(0)
    assert summary.floor["iou"] == 1
    assert (summary.objects, summary.frames, summary.failures) == (3, 18, 0)
    assert {name: split.objects for name, split in summary.splits.items()} == {"seen": 2, "unseen": 1}
    assert sorted(summary.families) == ["bird", "gear", "snake"]


def test_failed_frames_are_reported(shapes: SimpleNamespace, tmp_path: Path) -> None:
    results = evaluate_cases(make_cases(shapes), FakeModel(shapes, empty_seed=1), SMALL, [0, 1], tmp_path, {})
    summary = summarize_results(results)
    assert (summary.failures, summary.failed_objects) == (3, 3)


def test_one_seed_has_no_spread(shapes: SimpleNamespace, tmp_path: Path) -> None:
    summary = summarize_results(evaluate_cases(make_cases(shapes), FakeModel(shapes), SMALL, [0], tmp_path, {}))
    assert np.isnan(summary.spread["chamfer"])


def test_a_wrong_number_of_frames_names_the_object(shapes: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holdout object a: 1 predicted frames"):
        evaluate_cases(make_cases(shapes), lambda *_: shapes.sequence(shapes.cube()), SMALL, [0], tmp_path, {})


def test_no_seeds_and_no_objects_are_refused(shapes: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seeds"):
        evaluate_cases(make_cases(shapes), FakeModel(shapes), SMALL, [], tmp_path, {})
    with pytest.raises(ValueError, match="empty"):
        evaluate_cases([], FakeModel(shapes), SMALL, [0], tmp_path, {})


def test_json_is_strict_and_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"x": float("nan"), "y": (1, 2.5)})
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"x": None, "y": [1, 2.5]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "deep" / "a.json", {"x": object()})
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "deep" / "a.json").read_text())["y"] == [1, 2.5]
