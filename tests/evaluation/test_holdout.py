"""The loop over the holdout: averages, splits, and a second run that computes nothing."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sculpt4d.evaluation.holdout import Case, evaluate_cases, write_json
from sculpt4d.evaluation.protocols.alignment import Similarity
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.evaluation.summary import summarize_results
from sculpt4d.types import Clip, Mesh, MeshSequence

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


@pytest.mark.parametrize("damage", ["", '{"digest": "', '{"digest": 0}', "[]"])
def test_a_damaged_result_is_computed_again(damage: str, shapes: SimpleNamespace, tmp_path: Path) -> None:
    model, cases = FakeModel(shapes), make_cases(shapes)[:1]
    first = evaluate_cases(cases, model, SMALL, [0], tmp_path, {})
    (kept,) = tmp_path.glob("objects/*/a.json")
    kept.write_text(damage)
    assert evaluate_cases(cases, model, SMALL, [0], tmp_path, {}).measured[0].samples[0].values == (
        first.measured[0].samples[0].values
    )
    assert model.calls == 2


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
    assert summarize_results(resumed.measured).mean == summarize_results(whole.measured).mean


def test_averages_errors_and_spread(shapes: SimpleNamespace, tmp_path: Path) -> None:
    results, _ = evaluate_cases(make_cases(shapes), FakeModel(shapes), SMALL, [0, 2], tmp_path, {})
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
    results, failed = evaluate_cases(make_cases(shapes), FakeModel(shapes, empty_seed=1), SMALL, [0, 1], tmp_path, {})
    summary = summarize_results(results)
    assert (summary.failures, summary.objects_with_failures, failed) == (3, 3, {})


def test_an_object_that_cannot_be_aligned_is_named_and_the_run_goes_on(shapes: SimpleNamespace, tmp_path: Path) -> None:
    """And tried again by the next run, while what was measured is not."""
    aligning = Protocol("sculpt4d", points=300, resolution=16, alignment=Similarity(points=100, coarse_points=50))
    model, headless = FakeModel(shapes), {2}

    def predict(clip: Clip, seed: int) -> MeshSequence:
        frames = model(clip, seed).frames
        return shapes.sequence(shapes.EMPTY, *frames[1:]) if model.calls in headless else shapes.sequence(*frames)

    measured, failed = evaluate_cases(make_cases(shapes), predict, aligning, [0], tmp_path, {})
    assert [result.name for result in measured] == ["a", "c"]
    assert list(failed) == ["b"] and "frame 0 of the prediction has no surface" in failed["b"]
    measured, failed = evaluate_cases(make_cases(shapes), predict, aligning, [0], tmp_path, {})
    assert len(measured) == 3 and not failed and model.calls == 4


def test_a_prediction_that_raises_ends_the_run(shapes: SimpleNamespace, tmp_path: Path) -> None:
    def refuses(clip: Clip, seed: int) -> MeshSequence:
        raise ValueError("no steps")

    with pytest.raises(ValueError, match="holdout object a: no steps"):
        evaluate_cases(make_cases(shapes), refuses, SMALL, [0], tmp_path, {})


def test_a_quantity_that_some_objects_lack_says_of_how_many_it_is(shapes: SimpleNamespace, tmp_path: Path) -> None:
    model = FakeModel(shapes)

    def predict(clip: Clip, seed: int) -> MeshSequence:
        frames = model(clip, seed).frames
        holed = [Mesh(mesh.vertices, mesh.faces[1:]) for mesh in frames]
        return shapes.sequence(*holed if model.calls == 2 else frames)  # the first object, with its second seed

    for _ in range(2):  # as measured, and as kept
        measured, _ = evaluate_cases(make_cases(shapes), predict, SMALL, [0, 1], tmp_path, {})
        summary = summarize_results(measured)
        assert (summary.measured["volume_jitter"], summary.measured["area_jitter"]) == (2, 3)
        assert list(summary.absent) == ["a"] and "not closed" in summary.absent["a"]["centroid_jitter_error"]
        assert summary.mean["volume_jitter"] == pytest.approx(0) and len(summary.seed_means["volume_jitter"]) == 2


def test_one_seed_has_no_spread(shapes: SimpleNamespace, tmp_path: Path) -> None:
    summary = summarize_results(evaluate_cases(make_cases(shapes), FakeModel(shapes), SMALL, [0], tmp_path, {})[0])
    assert np.isnan(summary.spread["chamfer"])


def test_nothing_measured_names_the_objects_and_reasons(shapes: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the 3 held-out objects could be measured: a: 1 predicted frames"):
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
