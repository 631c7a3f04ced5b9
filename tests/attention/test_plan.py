"""The pieces of a plan against the mask they stand for, and the order of blocks that makes classes runs of rows."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.attention.patterns import PackedPattern, StridedPattern
from sculpt4d.attention.plan import plan

STRIDES = st.lists(st.integers(1, 12), min_size=1, max_size=7)


def visits(pattern, frames, blocks, columns):
    """How often the plan brings every query row and key row together."""
    count = torch.zeros(frames * blocks, columns, dtype=torch.int64)
    for order, pieces in plan(pattern, frames, blocks):
        rows = torch.arange(frames * blocks) if order is None else torch.tensor(order)
        keys = torch.arange(columns) if order is None else rows
        for classes, many, queries, seen in pieces:
            for c in range(classes):
                for f in range(many):
                    first = queries.start + c * queries.class_step + f * queries.frame_step
                    second = seen.start + c * seen.class_step + f * seen.frame_step
                    assert first + queries.length <= len(rows) and second + seen.length <= columns
                    run = rows[first : first + queries.length, None], keys[second : second + seen.length]
                    count[run] += 1
    return count


@settings(max_examples=150, deadline=None)
@given(frames=st.integers(1, 9), blocks=st.integers(1, 12), strides=STRIDES, anchor=st.booleans())
def test_every_visible_pair_is_visited_once_and_no_other(frames, blocks, strides, anchor):
    pattern = StridedPattern(strides, anchor, 1)
    assert torch.equal(visits(pattern, frames, blocks, frames * blocks), pattern.mask(frames, blocks).long())


@settings(max_examples=80, deadline=None)
@given(frames=st.integers(1, 9), strides=st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=6), anchor=...)
def test_packed_keys_are_visited_once(frames: int, strides: list[int], anchor: bool):
    pattern = PackedPattern(strides, anchor, 1)
    mask = pattern.mask(frames, 12)
    assert torch.equal(visits(pattern, frames, 12, mask.shape[1]), mask.long())


@pytest.mark.parametrize("frames", [8, 16, 17, 32, 64])
@pytest.mark.parametrize(
    "pattern",
    [StridedPattern(), StridedPattern(anchor=False), StridedPattern((4,)), StridedPattern((1, 1, 2, 2, 4, 4))],
    ids=str,
)
def test_products_of_the_pieces_are_the_density(pattern, frames):
    products = 0
    for _, pieces in plan(pattern, frames, 32):
        products += sum(p.classes * p.frames * p.queries.length * p.keys.length for p in pieces)
    assert products == round(pattern.density(frames, 32) * (frames * 32) ** 2)


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(1, 9), blocks=st.integers(1, 12), strides=STRIDES, anchor=st.booleans())
def test_no_piece_is_empty(frames, blocks, strides, anchor):
    for order, pieces in plan(StridedPattern(strides, anchor, 1), frames, blocks):
        assert order is None or sorted(order) == list(range(frames * blocks))
        for piece in pieces:
            assert min(piece.classes, piece.frames, piece.queries.length, piece.keys.length) >= 1


def test_one_order_of_a_frame_makes_the_classes_of_a_whole_chain_of_strides_runs_of_rows():
    order = plan(StridedPattern((1, 1, 2, 4, 8, 16)), 6, 32)[0].order
    assert order is not None and list(order[:4]) == [0, 16, 8, 24]  # bit reversal for powers of two
    for stride in (2, 4, 8, 16):
        for frame in range(6):
            rows = torch.tensor(order[32 * frame : 32 * (frame + 1)]).view(stride, -1)
            assert (rows % stride == rows[:, :1] % stride).all() and (rows // 32 == frame).all()


def test_a_long_tail_is_cut_into_few_large_rectangles():
    tail = plan(StridedPattern(), 64, 32)[1].pieces
    queries = sum(p.queries.length for p in tail)
    assert queries / (64 * 2) < 10  # partial results of a query: two logarithms of 59 frames, not 59
    assert max(p.queries.length for p in tail) >= 25 * 2


def test_frames_at_stride_one_are_one_dense_call():
    (layout,) = plan(StridedPattern((1,), anchor=True), 7, 5)
    (piece,) = layout.pieces
    assert layout.order is None and piece.queries.length == piece.keys.length == 35


def test_a_known_plan_takes_less_than_a_millisecond():
    pattern = StridedPattern()
    plan(pattern, 64, 32)
    start = time.process_time()
    for _ in range(100):
        plan(StridedPattern(), 64, 32)
    assert (time.process_time() - start) / 100 < 1e-3
