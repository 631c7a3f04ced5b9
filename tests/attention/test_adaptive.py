"""Strides by the clip's motion: the schedule's products to the pair, denser where it moves, run by every backend."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.attention import backends, block_sparse, flex
from sculpt4d.attention.adaptive import MotionPattern, PairwisePattern, ranked, speeding_up
from sculpt4d.attention.backends import BACKENDS, attend, choose
from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.attention.plan import plan

from .judge import assert_exact, heads, written_out
from .test_backends import stand_in
from .test_plan import visits

CPU = torch.device("cpu")
MOTION = MotionPattern(block_size=2)
CHANGES = st.lists(st.one_of(st.just(0.0), st.floats(0.001, 10)), min_size=0, max_size=11)
SCHEDULES = st.builds(
    StridedPattern, st.lists(st.integers(1, 9), min_size=1, max_size=6), st.booleans(), st.sampled_from([1, 2])
)
CLOCKS = st.lists(st.floats(0.1, 9), min_size=0, max_size=8).map(lambda steps: np.cumsum([0.0, *steps]))


def of_clip(changes: list[float], pattern: MotionPattern = MOTION) -> PairwisePattern | StridedPattern:
    return pattern.by_change(torch.tensor([changes], dtype=torch.float64))[0]


def table(pattern: PairwisePattern | StridedPattern, frames: int) -> np.ndarray:
    """The strides of all pairs of frames; of the schedule where the clip has no table of its own."""
    if isinstance(pattern, PairwisePattern):
        return np.array(pattern.strides)
    found = [[pattern.stride(abs(i - j)) for j in range(frames)] for i in range(frames)]
    return np.array([[1 if pattern.anchor and j == 0 else s for j, s in enumerate(row)] for row in found])


@settings(max_examples=150, deadline=None)
@given(CHANGES, st.booleans(), st.integers(1, 40), st.floats(1, 50))
def test_every_clip_has_the_products_of_the_schedule_to_the_pair(changes, anchor, blocks, limit):
    pattern, frames = MotionPattern(anchor=anchor, limit=limit), len(changes) + 1
    visible = of_clip(changes, pattern).mask(frames, blocks).sum()
    assert visible == StridedPattern(anchor=anchor).mask(frames, blocks).sum()
    assert pattern.density(frames, blocks) == of_clip(changes, pattern).density(frames, blocks)


@settings(max_examples=100, deadline=None)
@given(SCHEDULES, CLOCKS)
def test_any_schedule_on_any_clock_has_as_many_pairs_of_frames_at_every_stride(schedule, clock):
    found, even = table(ranked(schedule, clock), len(clock)), table(schedule, len(clock))
    assert np.array_equal(np.sort(found, axis=None), np.sort(even, axis=None))
    assert np.array_equal(found.diagonal(), even.diagonal())
    inner = found[1:, 1:] if schedule.anchor else found
    assert np.array_equal(inner, inner.T)


@given(st.integers(0, 20), st.floats(0, 10), st.integers(0, 2**32 - 1))
def test_an_even_clip_has_the_very_mask_of_the_schedule_and_so_has_a_nearly_even_one(steps, change, seed):
    wobble = np.random.default_rng(seed).uniform(0.98, 1.02, steps)
    for changes in (np.full(steps, change), change * wobble):
        assert of_clip(changes.tolist()) == StridedPattern(block_size=2)


@given(CHANGES)
def test_a_limit_of_one_is_the_schedule(changes):
    assert of_clip(changes, MotionPattern(limit=1.0)) == StridedPattern()


@settings(deadline=None)
@given(CHANGES, st.floats(1, 20))
def test_from_every_frame_strides_never_shrink_with_distance_along_time(changes, limit):
    found = table(of_clip(changes, MotionPattern(limit=limit)), len(changes) + 1)
    for frame, row in enumerate(found):
        assert (np.diff(row[frame:]) >= 0).all() and (np.diff(row[1 : frame + 1]) <= 0).all()  # column 0: the anchor


@settings(deadline=None)
@given(CHANGES, st.integers(1, 6))
def test_of_two_spans_of_frames_the_one_that_moves_more_is_seen_at_least_as_densely(changes, length):
    """More in every step, between the limits: beyond them steps count alike."""
    frames, paces = len(changes) + 1, np.diff(MOTION.clock(np.array(changes)))
    found = table(of_clip(changes), frames)
    spans = [(i, np.sort(paces[i : i + length])) for i in range(1, frames - length)]
    for i, slow in spans:
        for j, fast in spans:
            if (fast < slow - 1e-6).all():
                assert found[j, j + length] <= found[i, i + length]


def test_the_moving_half_of_a_clip_takes_density_from_the_still_half():
    found, even = table(of_clip([0, 0, 0, 0, 0, 0, 0.0, 1, 1, 1, 1, 1, 1, 1, 1]), 16), table(StridedPattern(), 16)
    assert (found[1:8, 1:8] >= even[1:8, 1:8]).all() and (found[7:, 7:] <= even[7:, 7:]).all()
    assert found[7:, 7:].max() == 8 and even[7:, 7:].max() == 16  # the farthest of nine moving frames


def test_a_clip_that_hardly_moves_is_even_however_its_noise_is_spread():
    noise = 1e-4 * np.random.default_rng(0).random(15)
    assert of_clip(noise.tolist()) == StridedPattern(block_size=2)
    assert of_clip((1000 * noise).tolist()) != StridedPattern(block_size=2)


def test_motion_that_is_twice_as_large_everywhere_is_the_same_but_for_the_floor():
    changes = np.random.default_rng(1).uniform(1, 3, 15)
    assert of_clip(changes.tolist()) == of_clip((2 * changes).tolist(), MotionPattern(block_size=2, floor=0.04))


def test_every_clip_of_a_batch_has_its_own_and_few_frames_have_no_choice():
    batch = torch.stack([torch.ones(7), torch.arange(7.0), torch.arange(7.0).flip(0), torch.zeros(7)])
    even, later, earlier, still = MOTION.by_change(batch)
    assert even == still == StridedPattern(block_size=2) and len({even, later, earlier}) == 3
    for frames in (1, 2, 3):
        assert MOTION.by_change(torch.rand(2, frames - 1)) == (MOTION.schedule,) * 2


@settings(max_examples=100, deadline=None)
@given(SCHEDULES, CLOCKS, st.integers(1, 12))
def test_the_plan_visits_every_visible_pair_once_and_no_other(schedule, clock, blocks):
    pattern, rows = ranked(schedule, clock), len(clock) * blocks
    assert torch.equal(visits(pattern, len(clock), blocks, rows), pattern.mask(len(clock), blocks).long())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 99), st.booleans())
def test_the_plan_visits_any_table_of_strides_once(frames, blocks, seed, symmetric):
    strides = np.random.default_rng(seed).choice([1, 1, 2, 3, 4, 8], (frames, frames))
    strides = np.minimum(strides, strides.T) if symmetric else strides
    pattern = PairwisePattern(tuple(map(tuple, strides.tolist())), StridedPattern())
    assert torch.equal(visits(pattern, frames, blocks, frames * blocks), pattern.mask(frames, blocks).long())


@pytest.mark.parametrize("frames", [16, 32, 64])
def test_a_plan_has_few_pieces_for_its_frames(frames):
    pattern = speeding_up(StridedPattern(), frames)
    pieces = sum(len(layout.pieces) for layout in plan(pattern, frames, 32))
    assert pieces <= 10 * frames  # runs of key frames: both ways, five strides, and the anchor


@settings(max_examples=25, deadline=None)
@given(SCHEDULES, CLOCKS, st.integers(1, 9), st.sampled_from(["reference", "merged", "auto"]), st.booleans())
def test_backends_equal_float64_and_so_do_their_gradients(schedule, clock, blocks, backend, double):
    dtype = torch.float64 if double else torch.float32
    assert_exact(ranked(schedule, clock), len(clock), blocks * schedule.block_size, backend, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_merged_is_exact_for_a_clip_that_speeds_up(dtype):
    assert_exact(speeding_up(StridedPattern(block_size=2), 9), 9, 32, "merged", dtype)


def test_flex_runs_its_tiles():
    pattern, inputs = speeding_up(StridedPattern((1, 2, 4), block_size=48), 6), heads(6, 192, width=16, grad=False)
    assert isinstance(pattern, PairwisePattern)
    assert (attend(*inputs, pattern, 6, "flex") - written_out(*inputs, pattern, 6)).abs().max() < 2e-6
    mask = pattern.mask(6, 4).repeat_interleave(48, 0).repeat_interleave(48, 1)
    rows = torch.arange(6 * 192)
    assert torch.equal(flex.tiles(pattern, 6, 192, CPU).mask_mod(rows, rows, rows[:, None], rows), mask)


def test_block_sparse_calls_its_package_with_its_mask(monkeypatch):
    pattern = speeding_up(StridedPattern((1, 2, 4)), 6)
    assert isinstance(pattern, PairwisePattern)
    with pytest.raises(ValueError, match="block_sparse needs float16 or bfloat16 on CUDA"):  # and nothing else
        attend(*heads(6, 256, grad=False), pattern, 6, "block_sparse")
    package = stand_in()
    monkeypatch.setitem(BACKENDS, "block_sparse", lambda *inputs: block_sparse.run(package, *inputs))
    assert_exact(pattern, 6, 256, "block_sparse", torch.float64)


@pytest.mark.parametrize("backend", ["reference", "merged", "auto"])
def test_a_batch_may_hold_clips_of_different_motion(backend):
    clips = [[1.0] * 6, [0, 0, 1, 2, 3, 3], [0, 0, 1, 2, 3, 3], [5, 4, 3, 2, 1, 0]]
    patterns = tuple(of_clip([float(x) for x in clip]) for clip in clips)
    inputs = heads(7, 16, batch=4)
    out = attend(*inputs, patterns, 7, backend)
    found = torch.autograd.grad(out.square().sum(), inputs)
    for clip, pattern in enumerate(patterns):
        alone = [x[clip : clip + 1].detach().double().requires_grad_() for x in inputs]
        right = written_out(*alone, pattern, 7)
        assert (out[clip] - right[0]).abs().max() < 2e-6
        for all_clips, wanted in zip(found, torch.autograd.grad(right.square().sum(), alone), strict=True):
            assert (all_clips[clip] - wanted[0]).abs().max() < 1e-5


def test_neighbours_in_the_batch_that_share_a_pattern_go_together(monkeypatch):
    sizes, reference = [], BACKENDS["reference"]
    monkeypatch.setitem(BACKENDS, "reference", lambda q, *rest: sizes.append(len(q)) or reference(q, *rest))
    one, other = MOTION.schedule, of_clip([0, 0, 1, 2, 3, 3.0])
    attend(*heads(7, 16, batch=6), (one, one, other, other, other, one), 7, "reference")
    attend(*heads(7, 16, batch=3), (other,) * 3, 7, "reference")
    assert sizes == [2, 3, 1, 3]


def test_as_many_patterns_as_clips_are_asked_for():
    with pytest.raises(ValueError, match="3 patterns for 2 clips"):
        attend(*heads(2, 4), (MOTION.schedule,) * 3, 2)


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
def test_a_pattern_without_its_clip_is_refused_with_the_remedy(backend):
    with pytest.raises(ValueError, match=r"MotionPattern.* depends on the clip: pass .*for_clips"):
        attend(*heads(2, 4, grad=False), MOTION, 2, backend)


def test_another_number_of_frames_than_the_clips_is_refused():
    pattern = of_clip([0, 0, 1, 2, 3, 3.0])
    with pytest.raises(ValueError, match="strides are those of 7 frames, the clip has 8"):
        attend(*heads(8, 4), pattern, 8, "reference")
    with pytest.raises(ValueError, match="strides are those of 7 frames, the clip has 8"):
        attend(*heads(8, 4), pattern, 8, "merged")


def test_a_backend_is_measured_once_for_all_clips():
    choose.cache_clear()
    inputs = heads(8, 128, batch=1)
    with patch.object(backends, "medians", wraps=backends.medians) as measured:
        for clip in np.random.default_rng(0).random((3, 7)):
            pattern = of_clip(clip.tolist())
            assert isinstance(pattern, PairwisePattern)
            attend(*inputs, pattern, 8)
    assert measured.call_count == 1


@given(SCHEDULES, CLOCKS, st.integers(1, 5))
def test_what_hides_nothing_is_told_from_the_strides_as_from_the_mask(schedule, clock, blocks):
    pattern = ranked(schedule, clock)
    seen = bool(pattern.mask(len(clock), blocks).all())
    assert pattern.hides_nothing(len(clock), blocks * schedule.block_size) == seen


@pytest.mark.parametrize(
    "wrong, key", [({"limit": 0.5}, "limit"), ({"floor": 0.0}, "floor"), ({"strides": []}, "strides")]
)
def test_settings_without_a_meaning_are_refused(wrong, key):
    with pytest.raises(ValueError, match=rf"attention\.{key}"):
        MotionPattern(**wrong)
