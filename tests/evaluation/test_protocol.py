"""One sequence measured: the floor, the box, determinism and refused settings."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sculpt4d.evaluation.motion import Cloud, Motion
from sculpt4d.evaluation.protocol import Judge, Protocol, clip_box, evaluate_sequence, sampling_floor
from sculpt4d.types import Mesh, MeshSequence

SMALL = Protocol(points=2000, resolution=32)


def moved(sequence: MeshSequence, scale: float, shift: float) -> MeshSequence:
    return MeshSequence(tuple(Mesh((m.vertices * scale + shift).astype(np.float32), m.faces) for m in sequence.frames))


def test_a_perfect_prediction_gets_the_floor(shapes: SimpleNamespace) -> None:
    truth = shapes.sequence(*[shapes.cube(1.0 + 0.1 * step, (0, 0.05 * step**2, 0)) for step in range(3)])
    perfect, floor = evaluate_sequence(truth, truth, SMALL), sampling_floor(truth, SMALL)
    assert perfect == floor
    assert (floor["iou"], floor.failures, floor.frames) == (1, 0, 3)
    assert 0 < floor["chamfer"] < 0.2
    assert floor["volume_jitter_error"] == 0 < floor["volume_jitter"]


def test_equal_seeds_give_equal_numbers_and_others_do_not(shapes: SimpleNamespace) -> None:
    predicted, truth = shapes.sequence(shapes.sphere(0.5)), shapes.sequence(shapes.cube(0.8))
    first, again, other = (evaluate_sequence(predicted, truth, replace(SMALL, seed=seed)) for seed in (1, 1, 2))
    assert first["chamfer"] == again["chamfer"] != other["chamfer"]
    assert first["iou"] == other["iou"]


def test_the_clip_box_makes_scores_independent_of_where_and_how_large(shapes: SimpleNamespace) -> None:
    predicted, truth = shapes.sequence(shapes.sphere(0.9)), shapes.sequence(shapes.cube(2.0))
    here = evaluate_sequence(predicted, truth, SMALL)
    there = evaluate_sequence(moved(predicted, 0.25, 3.0), moved(truth, 0.25, 3.0), SMALL)
    assert dict(there.values) == pytest.approx(dict(here.values), abs=1e-3, nan_ok=True)
    center, half = clip_box(moved(truth, 0.25, 3.0))
    assert (center, half) == (pytest.approx([3, 3, 3]), pytest.approx(0.25))
    raw = replace(SMALL, box="none")
    small = evaluate_sequence(moved(predicted, 0.5, 0.0), moved(truth, 0.5, 0.0), raw)
    assert small["chamfer"] == pytest.approx(here["chamfer"] / 2, rel=1e-3)


def test_one_box_serves_all_frames(shapes: SimpleNamespace) -> None:
    truth = shapes.sequence(shapes.cube(0.5, (-0.5, 0, 0)), shapes.cube(0.5, (0.5, 0, 0)))
    center, half = clip_box(truth)
    assert (center, half) == (pytest.approx([0, 0, 0]), pytest.approx(0.75))


def test_splats_that_cannot_be_drawn_do_not_stretch_the_box() -> None:
    points = np.array([[0, 0, 0], [2, 1, 1], [np.nan, 0, 0], [9, 9, 9]], np.float32)
    center, half = clip_box(Motion((Cloud(points, np.array([1, 1, 1, 0], np.float32)),)))
    assert (center, half) == (pytest.approx([1, 0.5, 0.5]), 1)


def test_failed_frames_are_counted_and_charged(shapes: SimpleNamespace) -> None:
    truth = shapes.sequence(*[shapes.cube(2.0)] * 4)
    predicted = shapes.sequence(*[shapes.cube(2.0)] * 3, shapes.EMPTY)
    scores = evaluate_sequence(predicted, truth, SMALL)
    assert scores.failures == 1
    assert scores["iou"] == pytest.approx(0.75)
    assert scores["chamfer"] == pytest.approx(3**0.5 / 2 + 0.75 * sampling_floor(truth, SMALL)["chamfer"], abs=0.01)


def test_what_is_not_a_number_has_its_reason(shapes: SimpleNamespace) -> None:
    cube, sheet = shapes.cube(1.0), Mesh(shapes.cube(1.0).vertices[:3], np.array([[0, 1, 2]]))
    quick = Protocol(points=100, resolution=8)
    cases = {
        "has too few frames": (shapes.sequence(cube), shapes.sequence(cube), {"volume_jitter", "flicker"}),
        "ground truth encloses nothing": (shapes.sequence(*[cube] * 3), shapes.sequence(*[sheet] * 3), {"iou"}),
        "both have a surface": (shapes.sequence(cube, shapes.EMPTY), shapes.sequence(cube, cube), {"flicker"}),
    }
    for reason, (predicted, truth, names) in cases.items():
        scores = evaluate_sequence(predicted, truth, quick)
        told = {name for name, why in scores.absent.items() if reason in why}
        assert names <= told and scores.absent.keys() == {k for k, v in scores.values.items() if np.isnan(v)}


def test_a_judge_measures_many_predictions_alike(shapes: SimpleNamespace) -> None:
    truth, predicted = shapes.sequence(shapes.cube(1.0)), shapes.sequence(shapes.sphere(0.6))
    judge = Judge(truth, SMALL)
    assert [judge.score(predicted)["iou"] for _ in range(2)] == [evaluate_sequence(predicted, truth, SMALL)["iou"]] * 2


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"points": 0}, "at least one point"),
        ({"resolution": 0}, "at least one cell"),
        ({"radius": 0.0}, "positive"),
        ({"radii": (0.1, -1.0)}, "positive"),
        ({"box": "frame"}, "clip, first_frame or none"),
    ],
)
def test_impossible_constants_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(**setting)  # type: ignore[arg-type]


def test_an_empty_truth_is_refused(shapes: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="empty"):
        evaluate_sequence(shapes.sequence(shapes.EMPTY), shapes.sequence(shapes.EMPTY), SMALL)
