"""Farthest point sampling follows its definition, repeats itself, and covers; sections get their share of queries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.geometry.fps import (
    Section,
    encoder_sections,
    farthest_points,
    input_rows,
    query_rows,
    split_queries,
)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 60), start=st.integers(0, 10**6))
def test_every_row_is_the_farthest_from_those_before_it(seed, n, start):
    points = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    rows = farthest_points(points, n // 2 + 1, start % n)
    assert rows[0] == start % n and rows.dtype == np.int64
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    for k in range(1, len(rows)):
        nearest = distance[:, rows[:k]].min(axis=1)
        assert nearest[rows[k]] == pytest.approx(nearest.max(), rel=1e-4)


def test_it_is_deterministic_and_takes_each_row_once():
    points = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    rows = farthest_points(points, 200)
    assert np.array_equal(rows, farthest_points(points.copy(), 200))
    assert len(set(rows.tolist())) == 200
    assert sorted(farthest_points(points[:50], 50).tolist()) == list(range(50))


def test_it_covers_a_sphere_far_better_than_chance():
    points = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)

    def cover(rows: np.ndarray) -> float:
        return float(np.linalg.norm(points[:, None] - points[rows], axis=2).min(axis=1).max())

    assert cover(farthest_points(points, 100)) < 0.6 * cover(np.arange(100))


@pytest.mark.parametrize("count, start", [(6, 0), (0, 0), (3, 5), (3, -1)])
def test_impossible_requests_are_refused(count, start):
    with pytest.raises(ValueError):
        farthest_points(np.eye(5, 3, dtype=np.float32), count, start)


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        farthest_points(np.array([[0, 0, 0], [np.nan, 0, 0]], np.float32), 1)


def test_the_released_encoder_sees_all_its_points_and_the_tiny_one_a_quarter_of_sharp_ones():
    assert encoder_sections(4096, 81920, 0, 20.0) == (Section(4096, 81920), Section(0, 0))
    assert split_queries(64, 384, 128) == (48, 16)


@given(latents=st.integers(1, 5000), uniform=st.integers(0, 10**5), sharp=st.integers(0, 10**5))
def test_sections_share_all_queries_in_proportion(latents, uniform, sharp):
    if uniform + sharp == 0:
        with pytest.raises(ValueError, match="must be given"):
            split_queries(latents, uniform, sharp)
        return
    first, second = split_queries(latents, uniform, sharp)
    assert first + second == latents
    assert 0 <= first - latents * uniform / (uniform + sharp) < 1


def test_rows_and_queries_of_a_section_stay_in_it():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(90, 3)).astype(np.float32)
    sections = (Section(6, 30), Section(3, 12))
    rows = input_rows(sections, [rng.permutation(60), rng.permutation(30)], (60, 30))
    assert len(set(rows.tolist())) == 42 and (rows[:30] < 60).all() and (rows[30:] >= 60).all()
    queries = query_rows(cloud[rows], sections)
    assert (queries[:6] < 30).all() and (queries[6:] >= 30).all() and queries[0] == 0 and queries[6] == 30
    with pytest.raises(ValueError, match="hold 42 points, 41"):
        query_rows(cloud[:41], sections)
