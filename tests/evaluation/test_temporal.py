"""Drift and flicker: true motion costs nothing, a frozen or a fading prediction does."""

from types import SimpleNamespace

import numpy as np
import pytest

from sculpt4d.evaluation.metrics.geometry import FAILED_CHAMFER, draw_points
from sculpt4d.evaluation.metrics.stability import constancy


def test_equal_motion_costs_nothing_and_a_frozen_prediction_what_the_truth_moves(shapes: SimpleNamespace) -> None:
    radii = (0.5, 0.6, 0.7, 0.8)
    truth = draw_points(shapes.sequence(*[shapes.sphere(radius) for radius in radii]), 3000, (0, 0))
    frozen = draw_points(shapes.sequence(*[shapes.sphere(0.5)] * 4), 3000, (0, 0))
    assert constancy(truth, truth)["identity_drift"] == 0 == constancy(truth, truth)["flicker_error"]
    still, moving = constancy(frozen, frozen), constancy(truth, truth)
    # concentric spheres lie twice their gap apart; points drawn anew lie `still` apart even where nothing moves
    assert moving["flicker"] == pytest.approx(2 * 0.1, abs=0.02)
    assert constancy(frozen, truth)["flicker_error"] == pytest.approx(0.2 - still["flicker"], abs=0.02)
    assert constancy(frozen, truth)["identity_drift"] == pytest.approx(
        np.mean([0.2, 0.4, 0.6]) - still["flicker"], abs=0.02
    )


def test_an_oscillation_flickers_more_than_it_drifts(shapes: SimpleNamespace) -> None:
    truth = draw_points(shapes.sequence(*[shapes.sphere(0.5)] * 5), 3000, (0, 0))
    radii = (0.5, 0.6, 0.5, 0.6, 0.5)
    shaking = draw_points(shapes.sequence(*[shapes.sphere(radius) for radius in radii]), 3000, (0, 1))
    values = constancy(shaking, truth)
    assert values["flicker_error"] == pytest.approx(2 * values["identity_drift"], rel=0.1)


def test_a_pair_with_a_frame_without_surface_costs_what_such_a_frame_costs(shapes: SimpleNamespace) -> None:
    ball, empty = shapes.sphere(0.5), shapes.EMPTY
    truth = draw_points(shapes.sequence(*[ball] * 3), 500, (0, 0))
    holed = draw_points(shapes.sequence(ball, empty, ball), 500, (0, 0))
    values = constancy(holed, truth)
    assert values["flicker"] == values["flicker_error"] == FAILED_CHAMFER  # each pair of neighbours has an empty one
    assert values["identity_drift"] == FAILED_CHAMFER / 2  # the last frame is the true one, point for point
    headless = draw_points(shapes.sequence(empty, ball, ball), 500, (0, 0))
    assert constancy(headless, truth)["identity_drift"] == FAILED_CHAMFER
    assert np.isnan(constancy(truth[:1], truth[:1])["identity_drift"])


def test_failing_where_the_surface_flickers_does_not_pay(shapes: SimpleNamespace) -> None:
    radii = (0.5, 0.6, 0.5, 0.6, 0.5)
    truth = draw_points(shapes.sequence(*[shapes.sphere(0.5)] * 5), 500, (0, 0))
    shaking = [shapes.sphere(radius) for radius in radii]
    holed = [shapes.EMPTY if radius > 0.5 else ball for radius, ball in zip(radii, shaking, strict=True)]
    seen, gone = (constancy(draw_points(shapes.sequence(*side), 500, (0, 1)), truth) for side in (shaking, holed))
    assert all(gone[name] > seen[name] for name in ("identity_drift", "flicker", "flicker_error"))
