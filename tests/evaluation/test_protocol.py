"""One sequence measured: the floor, the box, determinism and refused settings."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sculpt4d.evaluation.metrics.motion import Cloud, Motion
from sculpt4d.evaluation.protocols.alignment import Rigid
from sculpt4d.evaluation.protocols.protocol import LENGTHS, Judge, Protocol, clip_box, evaluate_sequence, sampling_floor
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
    quick, holed = Protocol(points=100, resolution=8), Mesh(cube.vertices, cube.faces[1:])
    cases = {
        "has too few frames": (shapes.sequence(cube), shapes.sequence(cube), {"volume_jitter", "flicker"}),
        "ground truth encloses nothing": (shapes.sequence(*[cube] * 3), shapes.sequence(*[sheet] * 3), {"iou"}),
        "frame of the prediction is not closed": (
            shapes.sequence(cube, holed, cube),
            shapes.sequence(*[cube] * 3),
            {"volume_jitter", "centroid_jitter_error"},
        ),
        "frame of the ground truth is not closed": (
            shapes.sequence(*[cube] * 3),
            shapes.sequence(cube, holed, cube),
            {"volume_jitter_error", "centroid_jitter"},
        ),
    }
    for reason, (predicted, truth, names) in cases.items():
        scores = evaluate_sequence(predicted, truth, quick)
        told = {name for name, why in scores.absent.items() if reason in why}
        assert names <= told and scores.absent.keys() == {k for k, v in scores.values.items() if np.isnan(v)}


def test_without_a_box_lengths_are_in_the_units_of_the_files_and_constants_in_halves_of_the_truth(
    shapes: SimpleNamespace,
) -> None:
    frames = [(0.5, 0.0), (0.5, 0.1), (0.6, 0.3), (0.5, 0.3)]
    truth = shapes.sequence(*[shapes.sphere(radius, (x, 0, 0)) for radius, x in frames])
    predicted = shapes.sequence(*[shapes.sphere(0.5, (x + 0.2, 0, 0)) for _, x in frames])
    gone = shapes.sequence(predicted.frames[0], *[shapes.EMPTY] * 2, predicted.frames[3])
    raw, (_, half) = replace(SMALL, box="none"), clip_box(truth)
    for side in (predicted, gone):
        boxed = evaluate_sequence(side, truth, SMALL)
        for scale, shift in ((1.0, 0.0), (100.0, 7.0), (0.01, -3.0)):
            scores = evaluate_sequence(moved(side, scale, shift), moved(truth, scale, shift), raw)
            found = {name: value / (scale * half if name in LENGTHS else 1) for name, value in scores.values.items()}
            assert found == pytest.approx(dict(boxed.values), abs=1e-3)
    assert evaluate_sequence(gone, truth, raw)["chamfer"] > evaluate_sequence(predicted, truth, raw)["chamfer"]


@pytest.mark.parametrize("where", [9.0, np.nan])
@pytest.mark.parametrize("alignment", [None, Rigid(points=100, steps=20)])
def test_a_vertex_that_no_face_uses_changes_nothing(
    shapes: SimpleNamespace, where: float, alignment: Rigid | None
) -> None:
    ball, other = shapes.sphere(0.5, detail=2), shapes.sphere(0.45, (0.05, 0, 0), detail=2)
    protocol = replace(SMALL, alignment=alignment)

    def stained(mesh: Mesh) -> Mesh:
        return Mesh(np.concatenate([np.full((1, 3), where, np.float32), mesh.vertices]), mesh.faces + 1)

    plain = evaluate_sequence(shapes.sequence(*[other] * 3), shapes.sequence(*[ball] * 3), protocol)
    spoilt = evaluate_sequence(shapes.sequence(*[stained(other)] * 3), shapes.sequence(*[stained(ball)] * 3), protocol)
    assert spoilt == plain and plain.failures == 0


def test_a_judge_measures_many_predictions_alike(shapes: SimpleNamespace) -> None:
    truth, predicted = shapes.sequence(shapes.cube(1.0)), shapes.sequence(shapes.sphere(0.6))
    judge = Judge(truth, SMALL)
    assert [judge.score(predicted)["iou"] for _ in range(2)] == [evaluate_sequence(predicted, truth, SMALL)["iou"]] * 2


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"points": 0}, "protocol.points=0: must be a whole number of at least 1"),
        ({"resolution": 0}, "protocol.resolution=0: must be a whole number of at least 1, or null"),
        ({"radius": 0.0}, "protocol.radius=0.0: must be a number above 0"),
        ({"radii": (0.1, -1.0)}, r"protocol.radii=\[0.1, -1.0\]: .* each element a number above 0"),
        ({"box": "frame"}, "protocol.box=frame: must be one of clip, first_frame, none"),
    ],
)
def test_impossible_constants_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(**setting)  # type: ignore[arg-type]


def test_an_empty_truth_is_refused(shapes: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="empty"):
        evaluate_sequence(shapes.sequence(shapes.EMPTY), shapes.sequence(shapes.EMPTY), SMALL)
