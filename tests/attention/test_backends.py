"""Every backend against masked attention written out in float64, forward and backward."""

import logging
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.attention import backends
from sculpt4d.attention.backends import attend, choose
from sculpt4d.attention.merged import merged, plan
from sculpt4d.attention.patterns import PackedPattern, RadialPattern, SameTokenPattern, StridedPattern

FULL = StridedPattern((1,), anchor=False, block_size=2)
PATTERNS = [
    StridedPattern(block_size=2),
    StridedPattern(anchor=False, block_size=2),
    StridedPattern((4,), block_size=2),
    StridedPattern((1, 2, 3, 5, 7, 11), block_size=2),
    StridedPattern((3, 1, 99), anchor=False, block_size=1),
    FULL,
    SameTokenPattern(),
    RadialPattern(0.5, block_size=2),
    PackedPattern((1, 2, 7), block_size=2),
    PackedPattern((2, 1), anchor=False, block_size=2),
]


def heads(frames, tokens, dtype=torch.float32, width=8, batch=2, grad=True):
    """Random queries, keys, values of 3 heads."""
    generator = torch.Generator().manual_seed(frames * tokens)
    shape = (batch, 3, frames * tokens, width)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_(grad) for _ in range(3)]


def written_out(q, k, v, pattern, frames):
    """Softmax over the visible keys in float64, the mask expanded row by row."""
    q, k, v = q.double(), k.double(), v.double()
    tokens = q.shape[2] // frames
    if isinstance(pattern, PackedPattern):
        parts = [
            torch.stack([x[:, :, j * tokens + a : j * tokens + a + p].mean(2) for a in range(0, tokens, p)], 2)
            for x in (k, v)
            for j in range(frames)
            for p in pattern.levels
        ]
        k, v = torch.cat(parts[: len(parts) // 2], 2), torch.cat(parts[len(parts) // 2 :], 2)
        mask = pattern.mask(frames, tokens)
    else:
        size = tokens // pattern.blocks(tokens)
        block = torch.arange(frames * tokens) // size
        mask = pattern.mask(frames, tokens // size)[block][:, block]
    weights = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf).softmax(-1)
    return weights @ v


def assert_exact(pattern, frames, tokens, backend, dtype=torch.float32, tolerance=3e-6):
    """Output and gradients equal those of float64."""
    inputs = heads(frames, tokens, dtype)
    out = attend(*inputs, pattern, frames, backend)
    assert out.dtype == dtype and out.shape == inputs[0].shape
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    gradients = torch.autograd.grad(out, inputs, weight)
    doubles = [x.detach().double().requires_grad_() for x in inputs]
    expected = written_out(*doubles, pattern, frames)
    wanted = torch.autograd.grad(expected, doubles, weight.double())
    for found, right in zip((out, *gradients), (expected, *wanted), strict=True):
        assert (found.double() - right).abs().max() < tolerance


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("backend", ["reference", "merged", "auto"])
def test_backends_equal_float64_and_so_do_their_gradients(pattern, frames, backend):
    if backend == "merged" and isinstance(pattern, RadialPattern):
        pytest.skip("has no dense pieces; refused, see below")
    assert_exact(pattern, frames, 14, backend)


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 6),
    blocks=st.integers(1, 9),
    size=st.sampled_from([1, 2]),
    strides=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    anchor=st.booleans(),
)
def test_merged_is_exact_for_any_strides_frames_and_blocks(frames, blocks, size, strides, anchor):
    assert_exact(StridedPattern(strides, anchor, size), frames, blocks * size, "merged")


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 6), strides=st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1), anchor=st.booleans())
def test_merged_is_exact_for_packed_keys(frames, strides, anchor):
    assert_exact(PackedPattern(strides, anchor, 3), frames, 12, "merged")


@pytest.mark.parametrize("pattern", [StridedPattern(block_size=2), PackedPattern((1, 2), block_size=2)], ids=str)
def test_merged_is_close_in_bfloat16(pattern):
    assert_exact(pattern, 5, 14, "merged", torch.bfloat16, tolerance=0.04)


def test_merged_gradients_are_those_of_finite_differences():
    inputs = [x.detach().double().requires_grad_() for x in heads(3, 6, width=2, batch=1)]
    pattern = StridedPattern((1, 2, 5), block_size=1)
    assert torch.autograd.gradcheck(lambda q, k, v: merged(q, k, v, pattern, 3), inputs)


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 6),
    blocks=st.integers(1, 8),
    strides=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    anchor=st.booleans(),
)
def test_the_plan_visits_every_visible_pair_once(frames, blocks, strides, anchor):
    pattern = StridedPattern(strides, anchor, block_size=1)
    visits = torch.zeros(frames, blocks, frames, blocks, dtype=torch.int64)
    for level in plan(pattern, frames, blocks, torch.device("cpu")):
        order = range(blocks) if level.order is None else level.order.tolist()
        for queries, keys in level.pairs:
            asked, seen = range(frames)[queries], range(frames)[keys]
            pairs = zip(asked, seen, strict=True) if len(asked) == len(seen) else ((i, 0) for i in asked)
            for i, j in pairs:
                for group in level.groups:
                    size = len(range(blocks)[group.queries]) // group.classes
                    for c in range(group.classes):
                        rows = order[group.queries.start + c * size : group.queries.start + (c + 1) * size]
                        for u in rows:
                            for v in rows:
                                visits[i, u, j, v] += 1
    assert torch.equal(visits.reshape(frames * blocks, -1), pattern.mask(frames, blocks).long())


def test_a_backend_that_ignored_the_mask_would_be_found():
    dense = attend(*heads(5, 14), FULL, 5, "reference")
    for pattern in PATTERNS:
        if pattern != FULL:
            assert (attend(*heads(5, 14), pattern, 5) - dense).abs().max() > 0.05


def test_inputs_may_be_views_and_only_some_need_gradients():
    pattern, inputs = StridedPattern(block_size=2), heads(4, 6, grad=False)
    views = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs]
    views[1].requires_grad_()
    out = attend(*views, pattern, 4, "merged")
    torch.testing.assert_close(out, attend(*inputs, pattern, 4, "reference"))
    out.sum().backward()
    assert views[1].grad is not None and views[0].grad is None


@pytest.mark.parametrize("backend", ["reference", "merged"])
def test_a_mask_first_met_in_inference_serves_training(backend):
    pattern = StridedPattern((1, 3), block_size=7)
    with torch.inference_mode():
        attend(*heads(2, 21, grad=False), pattern, 2, backend)
    inputs = heads(2, 21)
    attend(*inputs, pattern, 2, backend).sum().backward()
    assert inputs[0].grad is not None


def test_the_mask_is_built_once():
    pattern = StridedPattern((1, 6), block_size=3)
    with patch.object(StridedPattern, "mask", autospec=True, side_effect=StridedPattern.mask) as build:
        for _ in range(3):
            attend(*heads(2, 18), pattern, 2, "reference")
    assert build.call_count <= 2  # the mask, and the question whether one is needed


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("pattern", PATTERNS[:6] + PATTERNS[7:8], ids=str)
def test_flex_equals_float64_forward_on_the_cpu(pattern):
    inputs = heads(5, 14, width=16, grad=False)
    out = attend(*inputs, pattern, 5, "flex")
    assert (out - written_out(*inputs, pattern, 5)).abs().max() < 3e-6


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_tiles_of_whole_blocks_are_the_mask():
    pattern = StridedPattern((1, 2), block_size=128)
    inputs = heads(3, 512, width=16, batch=1, grad=False)
    assert (attend(*inputs, pattern, 3, "flex") - written_out(*inputs, pattern, 3)).abs().max() < 3e-6
    tiles = backends._flex_mask(pattern, 3, 512, torch.device("cpu"))
    assert torch.equal(tiles.to_dense()[0, 0].bool(), pattern.mask(3, 4))


@pytest.mark.parametrize(
    "backend, pattern, hint",
    [
        ("flex", StridedPattern(block_size=2), "gradients on CUDA only: use backend=merged"),
        ("flex", SameTokenPattern(), "use backend=merged"),
        ("flex", PackedPattern((1, 2), block_size=2), "use backend=merged"),
        ("block_sparse", StridedPattern(block_size=2), "blocks of 128 tokens.*use backend=merged"),
        ("block_sparse", SameTokenPattern(), "use backend=merged"),
        ("merged", RadialPattern(block_size=2), "use backend=flex or backend=reference"),
    ],
)
def test_a_backend_says_what_it_cannot_run_and_names_one_that_can(backend, pattern, hint):
    with pytest.raises(ValueError, match=f"(?i){hint}"):
        attend(*heads(2, 4), pattern, 2, backend)


def test_block_sparse_asks_for_cuda_and_half_precision():
    with pytest.raises(ValueError, match=r"float16 or bfloat16 on CUDA.*float32 on cpu.*backend=merged"):
        attend(*heads(2, 128, grad=False), StridedPattern(), 2, "block_sparse")


def test_an_unknown_backend_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="'fast': set backend to auto, reference, merged, flex, block_sparse"):
        attend(*heads(2, 4), FULL, 2, "fast")


@pytest.mark.parametrize("pattern", [StridedPattern(), PackedPattern(), RadialPattern()])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_tokens_that_do_not_divide_into_blocks_are_refused(backend, pattern):
    with pytest.raises(ValueError, match="33 tokens do not split into"):
        attend(*heads(2, 33), pattern, 2, backend)


def test_merged_refuses_tokens_that_do_not_divide_into_blocks():
    with pytest.raises(ValueError, match=r"33 tokens do not split into blocks of 128: set attention\.block_size"):
        attend(*heads(2, 33), StridedPattern(), 2, "merged")


def test_tokens_that_are_no_whole_frames_are_refused():
    with pytest.raises(ValueError, match="10 tokens are not 3 frames"):
        attend(*heads(2, 5), FULL, 3)


def test_auto_takes_the_fastest_that_can_run_the_pattern():
    short, long = torch.zeros(1, 1, 64, 8), torch.zeros(1, 1, 2048, 8)
    sized = StridedPattern(block_size=2)
    picks = {
        ("short", sized): choose("auto", short, sized, 8)[0],
        ("long", sized): choose("auto", long, sized, 8)[0],
        ("long", "full"): choose("auto", long, FULL, 8)[0],
        ("short", "same"): choose("auto", short, SameTokenPattern(), 8)[0],
        ("long", "radial"): choose("auto", long, RadialPattern(block_size=2), 8)[0],
        ("long", "packed"): choose("auto", long, PackedPattern(block_size=2), 8)[0],
    }
    names = [run.__name__ for run in picks.values()]
    assert names == ["reference", "merged", "reference", "merged", "reference", "merged"]


def test_the_choice_and_its_reason_are_logged_once(caplog):
    backends._announce.cache_clear()
    with caplog.at_level(logging.INFO, logger="sculpt4d.attention.backends"):
        for _ in range(3):
            attend(*heads(2, 4), StridedPattern((1, 2), block_size=1), 2)
    assert [record.message for record in caplog.records] == ["attention: reference (clips under 1200 tokens)"]


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["merged", "flex"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-3), (torch.bfloat16, 0.04)])
def test_cuda_backends_equal_float64(backend, dtype, tolerance):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pattern = StridedPattern((1, 2, 4), block_size=128)
    inputs = [x.detach().cuda().requires_grad_() for x in heads(4, 512, dtype, width=64, batch=1)]
    out = attend(*inputs, pattern, 4, backend)
    gradients = torch.autograd.grad(out, inputs, torch.ones_like(out))
    doubles = [x.detach().cpu().double().requires_grad_() for x in inputs]
    expected = written_out(*doubles, pattern, 4)
    wanted = torch.autograd.grad(expected, doubles, torch.ones_like(expected))
    for found, right in zip((out, *gradients), (expected, *wanted), strict=True):
        assert (found.cpu().double() - right).abs().max() < tolerance
