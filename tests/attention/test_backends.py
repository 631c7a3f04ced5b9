"""Every backend against attention written out in float64, the choice among them, and what they refuse."""

import logging
from itertools import pairwise
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.attention import backends, block_sparse, flex
from sculpt4d.attention.backends import BACKENDS, AttentionCase, attend, choose
from sculpt4d.attention.patterns import PackedPattern, Pattern, RadialPattern, SameTokenPattern, StridedPattern
from sculpt4d.attention.reference import token_mask

from .judge import assert_exact, heads, written_out

CPU = torch.device("cpu")
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
    PackedPattern((7,), anchor=False, block_size=2),
]
MASKS = [pattern for pattern in PATTERNS if isinstance(pattern, StridedPattern | RadialPattern)]


class Blind(Pattern):
    """A pattern of a user's own in which the last block of every frame sees nothing."""

    def mask(self, frames, blocks):
        return (torch.arange(frames * blocks) % blocks < blocks - 1)[:, None].expand(-1, frames * blocks)

    def density(self, frames, blocks):
        return 1 - 1 / blocks

    def blocks(self, tokens):
        return tokens


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("backend", ["reference", "merged", "auto"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backends_equal_float64_and_so_do_their_gradients(pattern, frames, backend, dtype):
    if backend == "merged" and isinstance(pattern, RadialPattern):
        pytest.skip("has no dense pieces; refused, see below")
    assert_exact(pattern, frames, 14, backend, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_ignored_its_mask_would_be_found(backend, monkeypatch):
    """The judge itself: dense attention in place of any backend fails for every pattern that hides something."""
    dense = backends.BACKENDS["reference"]
    monkeypatch.setitem(backends.BACKENDS, backend, lambda q, k, v, pattern, frames: dense(q, k, v, FULL, frames))
    for pattern in PATTERNS:
        if pattern != FULL:
            with pytest.raises(AssertionError):
                assert_exact(pattern, 5, 14, backend)


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 5),
    size=st.sampled_from([1, 3, 32, 48, 128, 256]),
    strides=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    anchor=st.booleans(),
)
def test_flex_tiles_are_those_of_the_mask_token_by_token(frames, size, strides, anchor):
    tokens = size * (-(-150 // size))
    pattern = StridedPattern(strides, anchor, size)
    tiles = flex.tiles(pattern, frames, tokens, CPU)
    mask = pattern.mask(frames, tokens // size).repeat_interleave(size, 0).repeat_interleave(size, 1)
    missing = -len(mask) % flex.TILE
    sides = (len(mask) + missing) // flex.TILE
    padded = torch.nn.functional.pad(mask, (0, missing, 0, missing)).view(sides, flex.TILE, sides, flex.TILE)
    assert torch.equal(tiles.to_dense()[0, 0].bool(), padded.any(3).any(1))
    whole = torch.zeros(sides, sides, dtype=torch.bool)
    for row, count in enumerate(tiles.full_kv_num_blocks[0, 0]):
        whole[row, tiles.full_kv_indices[0, 0, row, :count].long()] = True
    assert torch.equal(whole, padded.all(3).all(1))
    rows, columns = torch.arange(len(mask))[:, None], torch.arange(len(mask))
    assert torch.equal(tiles.mask_mod(rows, rows, rows, columns), mask)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("pattern", [*MASKS, StridedPattern((1, 2), block_size=64)], ids=str)
def test_flex_equals_float64_forward_on_the_cpu(pattern):
    inputs = heads(3, 128 if pattern.block_size == 64 else 14, width=16, grad=False)
    assert (attend(*inputs, pattern, 3, "flex") - written_out(*inputs, pattern, 3)).abs().max() < 2e-6


def stand_in() -> SimpleNamespace:
    """The inner operators of Block-Sparse-Attention, as its interface describes them, by plain attention."""

    def visible(lists, flip):
        assert lists.dtype == torch.int32 and lists.is_contiguous() and (lists.diff(dim=-1) <= 0).all()
        found = torch.zeros(*lists.shape[:3], lists.shape[3] + 1, dtype=torch.bool)
        found.scatter_(3, lists.long() % (lists.shape[3] + 1), True)  # -1 falls into a column of its own
        found = found[..., :-1].mT if flip else found[..., :-1]
        return found.repeat_interleave(128, 2).repeat_interleave(128, 3)

    def unpack(x, bounds):
        return torch.stack([x[a:b] for a, b in pairwise(bounds)]).transpose(1, 2)

    def forward(q, k, v, bounds, key_bounds, m, n, kinds, streaming, rows, most, most_keys, p, scale, *flags):
        assert (m, n, p, flags) == (128, 128, 0.0, (False, False, False, -1, -1)) and streaming is None
        assert kinds.tolist() == [1] * q.shape[1] and most == most_keys == bounds[1]
        a, b, c = (unpack(x, bounds) for x in (q, k, v))
        logits = (a @ b.mT * scale).masked_fill(~visible(rows, False), -torch.inf)
        out = (logits.softmax(-1) @ c).transpose(1, 2).flatten(0, 1).contiguous()
        return out, logits.logsumexp(-1), torch.empty(0), torch.empty(2, dtype=torch.int64)

    def backward(grad, q, k, v, out, mass, dq, dk, dv, bounds, *rest, rng_state):
        columns, scale = rest[5], rest[9]
        assert rest[8] == 0.0 and rest[10:] == (True, False, -1, -1, False) and rng_state is not None
        g, a, b, c, o = (unpack(x, bounds) for x in (grad, q, k, v, out))
        weights = (a @ b.mT * scale - mass[..., None]).exp() * visible(columns, True)
        inner = weights * (g @ c.mT - (g * o).sum(-1, keepdim=True)) * scale
        for empty, right in ((dq, inner @ b), (dk, inner.mT @ a), (dv, weights.mT @ g)):
            empty.copy_(right.transpose(1, 2).flatten(0, 1))

    return SimpleNamespace(_block_sparse_attn_forward=forward, _block_sparse_attn_backward=backward)


@pytest.mark.parametrize("pattern", [StridedPattern((1, 2, 3)), RadialPattern(0.5)], ids=str)
def test_block_sparse_calls_its_package_with_the_mask_forward_and_backward(pattern, monkeypatch):
    package = stand_in()
    monkeypatch.setitem(BACKENDS, "block_sparse", lambda *inputs: block_sparse.run(package, *inputs))
    assert_exact(pattern, 3, 512, "block_sparse", torch.float64)


def test_block_sparse_sorts_its_lists_once(monkeypatch):
    pattern, inputs = StridedPattern((2, 1)), heads(2, 256, grad=False)
    first = block_sparse._tiles(pattern, 2, 256, 2, 3, CPU)
    block_sparse.run(stand_in(), *inputs, pattern, 2)
    assert block_sparse._tiles(pattern, 2, 256, 2, 3, CPU) is first
    assert first.rows.shape == (2, 1, 4, 4)  # one mask for all heads


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


def test_block_sparse_that_is_not_installed_says_how_to_get_it():
    with pytest.raises(ImportError, match=r"block_sparse_attn is not usable here: build it .*backend=merged"):
        block_sparse.kernels()


def test_sizes_beyond_the_offsets_of_a_kernel_are_refused():
    q = torch.zeros(1).expand(4, 16, 2**18, 128)  # 2^31 numbers, one in memory
    with pytest.raises(ValueError, match=r"flex addresses fewer than 2\^31 numbers.*backend=merged"):
        flex.flex(q, q, q, StridedPattern(), 64)
    q = torch.zeros(1).expand(2**13, 1, 2**18, 32)
    with pytest.raises(ValueError, match="block_sparse counts tokens by 32 bits"):
        block_sparse.run(stand_in(), q, q, q, StridedPattern(), 64)


@pytest.mark.parametrize("backend", ["reference", "flex"])
def test_queries_without_keys_are_refused(backend):
    with pytest.raises(
        ValueError, match="leaves 3 blocks of queries without keys, block 3 of frame 0 first: let every"
    ):
        attend(*heads(3, 4, grad=False), Blind(), 3, backend)


def test_an_unknown_backend_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="'fast': set backend to auto, reference, merged, flex, block_sparse"):
        attend(*heads(2, 4), FULL, 2, "fast")


@pytest.mark.parametrize("pattern", [StridedPattern(), PackedPattern(), RadialPattern()])
@pytest.mark.parametrize("backend", ["auto", "reference", "merged"])
def test_tokens_that_do_not_divide_into_blocks_are_refused(backend, pattern):
    if backend == "merged" and isinstance(pattern, RadialPattern):
        pytest.skip("refused for another reason")
    with pytest.raises(ValueError, match=r"33 tokens do not split into .* set attention\."):
        attend(*heads(2, 33), pattern, 2, backend)


@pytest.mark.parametrize("frames", [0, -1, 3])
def test_tokens_that_are_no_whole_frames_are_refused(frames):
    with pytest.raises(ValueError, match=f"10 tokens are not {frames} frames"):
        attend(*heads(2, 5), FULL, frames)


def test_inputs_of_different_dtype_or_shape_are_refused():
    q, k, v = heads(2, 4, grad=False)
    with pytest.raises(ValueError, match=r"share one shape and floating dtype.*torch\.float64"):
        backends._check(q, k.double(), v, FULL, 2)
    with pytest.raises(ValueError, match=r"share one shape and floating dtype.*\(2, 3, 4, 8\)"):
        backends._check(q, k[:, :, :4], v, FULL, 2)
    with pytest.raises(ValueError, match=r"floating dtype.*int64"):
        backends._check(q.long(), k.long(), v.long(), FULL, 2)


def case(pattern, tokens, frames=8, dtype=torch.float32, device=CPU):
    return AttentionCase(pattern, frames, tokens, 1, 8, dtype, device, True)


def test_auto_takes_the_fastest_that_can_run_the_pattern():
    sized, cuda = StridedPattern(block_size=2), torch.device("cuda")
    picks = {
        "short": choose("auto", case(sized, 64)),
        "long": choose("auto", case(sized, 256)),
        "full": choose("auto", case(FULL, 256)),
        "same": choose("auto", case(SameTokenPattern(), 8)),
        "radial": choose("auto", case(RadialPattern(block_size=2), 256)),
        "packed": choose("auto", case(PackedPattern(block_size=2), 256)),
        "cuda": choose("auto", case(sized, 256, device=cuda)),
        "radial on cuda": choose("auto", case(RadialPattern(block_size=2), 256, device=cuda)),
    }
    names = [name for name, _ in picks.values()]
    assert names == ["reference", "merged", "reference", "merged", "reference", "merged", "merged", "flex"]


def test_auto_measures_close_candidates_once_and_leaves_the_run_its_random_numbers():
    choose.cache_clear()
    state = torch.get_rng_state()
    with patch.object(backends, "medians", wraps=backends.medians) as measured:
        for _ in range(3):
            name, reason = choose("auto", case(StridedPattern(block_size=2), 128))
    assert measured.call_count == 1 and name in ("reference", "merged")
    assert reason.startswith("measured ") and torch.equal(torch.get_rng_state(), state)


def test_before_hopper_flex_may_win_and_after_it_is_not_asked(monkeypatch):
    choose.cache_clear()
    strided = case(StridedPattern(), 1024, dtype=torch.bfloat16, device=torch.device("cuda"))
    monkeypatch.setattr(backends, "medians", lambda _: {"merged": 2.0, "flex": 1.0})
    monkeypatch.setattr(torch, "randn", lambda *_, **__: torch.zeros(1))
    monkeypatch.setattr(torch, "Generator", lambda _: SimpleNamespace(manual_seed=lambda _: None))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert choose("auto", strided) == ("flex", "measured 1000.0 ms, merged 2000.0 ms")
    choose.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert choose("auto", strided)[0] == "merged"
    choose.cache_clear()


def test_the_choice_and_its_reason_are_logged_once(caplog):
    backends._announce.cache_clear()
    with caplog.at_level(logging.INFO, logger="sculpt4d.attention.backends"):
        for _ in range(3):
            attend(*heads(2, 4), StridedPattern((1, 2), block_size=1), 2)
    assert [record.message for record in caplog.records] == ["attention: reference (clips of up to 512 tokens)"]


def test_the_mask_is_built_once():
    pattern = StridedPattern((1, 6), block_size=3)
    with patch.object(StridedPattern, "mask", autospec=True, side_effect=StridedPattern.mask) as build:
        for _ in range(3):
            attend(*heads(2, 18), pattern, 2, "reference")
    assert build.call_count <= 2  # the mask, and the question whether one is needed


def test_a_mask_first_met_in_inference_serves_training():
    pattern = StridedPattern((1, 3), block_size=7)
    token_mask(pattern, 2, 21, CPU)
    with torch.inference_mode():
        attend(*heads(2, 21, grad=False), pattern, 2, "reference")
    assert_exact(pattern, 2, 21, "reference")


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


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans(), st.integers(1, 6), st.integers(1, 5))
def test_what_hides_nothing_is_told_from_the_strides_as_from_the_mask(
    strides: list[int], anchor: bool, frames: int, blocks: int
):
    pattern = StridedPattern(strides, anchor, 2)
    assert pattern.hides_nothing(frames, 2 * blocks) == bool(pattern.mask(frames, blocks).all())
