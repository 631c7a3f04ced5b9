"""The merged backend against float64: any schedule, layout and dtype, compiled and checkpointed."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from sculpt4d.attention import merged as module
from sculpt4d.attention.backends import attend
from sculpt4d.attention.merged import merged
from sculpt4d.attention.operators import OPERATORS
from sculpt4d.attention.patterns import PackedPattern, SameTokenPattern, StridedPattern

from .judge import assert_exact, deviations, heads

LAYOUTS = {
    "contiguous": lambda x: x,
    "tokens first": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "width first": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "part of more": lambda x: torch.cat([x, x], 3)[..., : x.shape[3]],
    "one clip for all": lambda x: x[:1].expand_as(x),
    "the end of more": lambda x: torch.cat([x, x])[len(x) :],
}


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 9),
    blocks=st.integers(1, 9),
    size=st.sampled_from([1, 2]),
    strides=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    anchor=st.booleans(),
    layout=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from([torch.float32, torch.float32, torch.float64, torch.bfloat16]),
)
def test_exact_for_any_schedule_layout_and_dtype(frames, blocks, size, strides, anchor, layout, dtype):
    inputs = [LAYOUTS[layout](x) for x in heads(frames, blocks * size, dtype, grad=False)]
    assert_exact(StridedPattern(strides, anchor, size), frames, blocks * size, "merged", dtype, inputs)


@settings(max_examples=30, deadline=None)
@given(
    frames=st.integers(1, 7),
    strides=st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1),
    anchor=st.booleans(),
    layout=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_exact_for_packed_keys(frames, strides, anchor, layout, dtype):
    inputs = [LAYOUTS[layout](x) for x in heads(frames, 12, dtype, grad=False)]
    if dtype == torch.bfloat16:  # averages round once more
        found, right = deviations(PackedPattern(strides, anchor, 3), frames, inputs, "merged")[0]
        assert (found - right).norm() < 1e-2 * right.norm()
    else:
        assert_exact(PackedPattern(strides, anchor, 3), frames, 12, "merged", dtype, inputs)


@pytest.mark.parametrize("frames", [17, 33])
def test_exact_where_the_tail_is_a_staircase_of_rectangles(frames):
    assert_exact(StridedPattern((1, 2, 4), block_size=1), frames, 8, "merged")


@pytest.mark.parametrize("strides", [(1,), (4,), (1, 2)])
def test_heads_of_one_clip_may_come_one_by_one(strides):
    """As generation with low_memory=true gives them: contiguous, and not from the start of their storage."""
    pattern, (q, k, v) = StridedPattern(strides, block_size=2), heads(5, 16, batch=1, grad=False)
    alone = [merged(q[:, n : n + 1], k[:, n : n + 1], v[:, n : n + 1], pattern, 5) for n in range(3)]
    torch.testing.assert_close(torch.cat(alone, 1), merged(q, k, v, pattern, 5), atol=1e-6, rtol=0)


def test_exact_where_logits_are_large():
    inputs = [6 * x.detach() for x in heads(6, 16)]
    for found, right in deviations(StridedPattern(block_size=1), 6, inputs, "merged"):
        assert (found - right).abs().max() < 2e-5 * right.abs().max()


def test_gradients_are_those_of_finite_differences():
    inputs = [x.detach().double().requires_grad_() for x in heads(3, 6, width=2, batch=1)]
    for pattern in (StridedPattern((1, 2, 5), block_size=1), PackedPattern((1, 2), block_size=1), SameTokenPattern()):
        assert torch.autograd.gradcheck(lambda q, k, v, p=pattern: merged(q, k, v, p, 3), inputs)


@pytest.mark.parametrize("wanted", range(3))
def test_only_some_inputs_may_need_gradients(wanted):
    pattern, inputs = StridedPattern((1, 2), block_size=2), heads(4, 6, grad=False)
    inputs[wanted].requires_grad_()
    attend(*inputs, pattern, 4, "merged").square().sum().backward()
    found = inputs[wanted].grad
    all_of_them = [x.detach().requires_grad_() for x in inputs]
    attend(*all_of_them, pattern, 4, "reference").square().sum().backward()
    torch.testing.assert_close(found, all_of_them[wanted].grad, atol=1e-5, rtol=1e-5)
    assert [x.grad is None for x in inputs] == [index != wanted for index in range(3)]


def test_the_order_of_blocks_is_neutral():
    """Digit reversal moves rows for the pieces alone: what goes in and comes out keeps its place."""
    pattern, generator = StridedPattern((1, 2, 4), block_size=2), torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5 * 16, 4, generator=generator)
    (common, _), size = module._planned(pattern.strides, True, 2, "strided", 5, 80)[0][:2], 2
    ordered = module._ordered(x, None, common.order, size)
    assert not torch.equal(ordered, x.flatten(0, 1))
    torch.testing.assert_close(module._ordered(ordered, common.order, None, size).view(x.shape), x, atol=0, rtol=0)
    seen = pattern.mask(5, 8).repeat_interleave(2, 0).repeat_interleave(2, 1)
    one_hot = torch.eye(80).expand(1, 1, 80, 80)
    weights = merged(torch.zeros(1, 1, 80, 80), torch.zeros(1, 1, 80, 80), one_hot, pattern, 5)[0, 0]
    torch.testing.assert_close(weights, seen / seen.sum(1, keepdim=True))


def test_frames_may_be_relabelled_without_the_anchor():
    """Without an anchor time has no direction: a reversed clip gives the reversed result."""
    pattern, (q, k, v) = StridedPattern((1, 2, 3), anchor=False, block_size=1), heads(7, 6, grad=False)
    back = [x.unflatten(2, (7, 6)).flip(2).flatten(2, 3) for x in (q, k, v)]
    out = merged(*back, pattern, 7).unflatten(2, (7, 6)).flip(2).flatten(2, 3)
    torch.testing.assert_close(out, merged(q, k, v, pattern, 7), atol=2e-6, rtol=0)


@pytest.mark.parametrize("frames, blocks", [(1, 4), (6, 8), (9, 7)])
def test_the_mass_is_the_logsumexp_of_the_visible_logits(frames, blocks):
    pattern, (q, k, v) = StridedPattern((1, 2, 4), block_size=1), heads(frames, blocks, grad=False)
    _, mass = module._attention(q, k, v, [1, 2, 4], True, 1, "strided", frames)
    logits = (q.double() @ k.double().mT * 8**-0.5).masked_fill(~pattern.mask(frames, blocks), -torch.inf)
    torch.testing.assert_close(mass.double(), logits.logsumexp(-1), atol=2e-6, rtol=0)


def test_the_operator_keeps_the_rules_of_the_compiler():
    q, k, v = heads(3, 8)
    torch.library.opcheck(torch.ops.sculpt4d.merged_attention.default, (q, k, v, [1, 2, 3], True, 2, "strided", 3))
    table = [1, 2, 1, 1, 4, 1, 1, 2, 2]
    torch.library.opcheck(torch.ops.sculpt4d.merged_attention.default, (q, k, v, table, False, 2, "pairwise", 3))
    k, v = (PackedPattern((1, 2), block_size=2).keys(x, 24).detach().requires_grad_() for x in (k, v))
    torch.library.opcheck(torch.ops.sculpt4d.merged_attention.default, (q, k, v, [1, 2], True, 2, "packed", 3))


COMPILED = """
import torch
from sculpt4d.attention.backends import attend
from sculpt4d.attention.patterns import PackedPattern, RadialPattern, SameTokenPattern, StridedPattern

class Layer(torch.nn.Module):
    def __init__(self, pattern, backend):
        super().__init__()
        self.pattern, self.backend, self.map = pattern, backend, torch.nn.Linear(8, 24)
    def forward(self, x, frames):
        q, k, v = self.map(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return attend(q, k, v, self.pattern, frames, self.backend)

strided, packed, radial = StridedPattern(block_size=2), PackedPattern((1, 2), block_size=2), RadialPattern(block_size=2)
for pattern in (strided, packed, SameTokenPattern(), radial):
    torch._dynamo.reset()
    layer = Layer(pattern, "reference" if isinstance(pattern, RadialPattern) else "merged")
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for clips, frames in ((2, 4), (1, 4), (3, 6)):
        x = torch.randn(clips, frames * 8, 8)
        found = compiled(x, frames)
        gradient, = torch.autograd.grad(found.square().sum(), layer.map.weight)
        right = layer(x, frames)
        torch.testing.assert_close(found, right)
        torch.testing.assert_close(gradient, torch.autograd.grad(right.square().sum(), layer.map.weight)[0])
"""


@pytest.mark.slow
def test_a_compiled_layer_is_one_graph_with_the_same_gradients():
    """In a process of its own: run-time type checks of the test run are nothing a compiler can read."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_leaves_gradients_unchanged(reentrant):
    pattern, inputs = StridedPattern((1, 2), block_size=2), heads(4, 8)
    merged(*inputs, pattern, 4).square().sum().backward()
    plain = [x.grad.clone() for x in inputs]
    again = [x.detach().requires_grad_() for x in inputs]
    checkpoint(merged, *again, pattern, 4, use_reentrant=reentrant).square().sum().backward()
    for x, gradient in zip(again, plain, strict=True):
        assert torch.equal(x.grad, gradient)


def test_a_plan_first_met_in_inference_serves_training():
    pattern = StridedPattern((1, 3), block_size=7)
    with torch.inference_mode():
        merged(*heads(2, 21, grad=False), pattern, 2)
    assert_exact(pattern, 2, 21, "merged")


def test_the_plain_form_is_the_operator_of_the_cpu(monkeypatch):
    monkeypatch.setattr("sculpt4d.attention.operators.LOGITS", 500)  # several slices of queries
    flash, plain = OPERATORS[0], OPERATORS[-1]
    q, grad = (torch.randn(2, 3, 40, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    k, v = (torch.randn(2, 3, 25, 8, generator=torch.Generator().manual_seed(seed)) for seed in (2, 3))
    for found, right in zip(plain.forward(q, k, v), flash.forward(q, k, v), strict=True):
        torch.testing.assert_close(found, right, atol=2e-6, rtol=0)
    out, mass = flash.forward(q, k, v)
    mass = mass.contiguous() + 0.5  # as of a row with more keys
    found, right = (run.backward(grad, q, k, v, out, mass) for run in (plain, flash))
    torch.testing.assert_close(found, right, atol=5e-6, rtol=0)


def test_devices_without_an_operator_of_their_own_run_the_plain_form(monkeypatch):
    monkeypatch.setattr(module, "operator", lambda *_: OPERATORS[-1])
    for pattern in (StridedPattern(block_size=2), PackedPattern((1, 2), block_size=2)):
        assert_exact(pattern, 5, 16, "merged")


@pytest.mark.parametrize("run", OPERATORS[1:], ids=lambda run: run.name)
def test_calls_of_operators_bind_and_have_the_right_shapes(run):
    """No device is at hand for most of them: their declared shapes, on queries and overlapping windows of keys."""
    whole = torch.empty(2, 160, 64, dtype=torch.bfloat16, device="meta")
    q = whole.as_strided((2, 3, 40, 64), (160 * 64, 40 * 64, 64, 1))
    k = v = whole.as_strided((2, 3, 80, 64), (160 * 64, 40 * 64, 64, 1))
    out, mass = run.forward(q, k, v)
    assert out.shape == q.shape and mass.shape == q.shape[:3] and mass.dtype == torch.float32
    shares = run.backward(out, q, k, v, out, mass.contiguous())
    assert [x.shape for x in shares] == [q.shape, k.shape, v.shape]
