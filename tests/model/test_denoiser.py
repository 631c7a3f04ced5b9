"""The denoiser's size, the contract between the 3D and the 4D model, and the savings that change no number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.model.denoiser import Denoiser, is_temporal

ATTENTIONS = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "conf" / "attention").glob("*.yaml"))
NANO = {"in_channels": 8, "hidden_size": 32, "context_dim": 16, "depth": 3, "num_heads": 2, "num_moe_layers": 1}


def test_the_full_size_has_exactly_the_published_number_of_parameters(configure: Callable[..., DictConfig]):
    with torch.device("meta"):
        plain = Denoiser()
        configured = instantiate(configure("train", "model=hunyuan3d21").model.denoiser)
    for denoiser in (plain, configured):
        assert sum(parameter.numel() for parameter in denoiser.parameters()) == 3_050_758_720
    assert {n: p.shape for n, p in plain.named_parameters()} == {n: p.shape for n, p in configured.named_parameters()}


def pair(pattern: Any) -> tuple[Denoiser, Denoiser]:
    """A 3D denoiser and a 4D one with the same base weights."""
    torch.manual_seed(0)
    base, grown = Denoiser(**NANO, num_experts=4), Denoiser(**NANO, num_experts=4, pattern=pattern)
    left, unused = grown.load_state_dict(base.state_dict(), strict=False)
    assert left and all(is_temporal(name) for name in left) and not unused
    return base.eval(), grown.eval()


def busy(**options: Any) -> Denoiser:
    """A 4D denoiser whose every parameter matters."""
    torch.manual_seed(1)
    denoiser = Denoiser(**NANO | {"num_experts": 4, "pattern": StridedPattern(block_size=4)} | options)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return denoiser.eval()


def clip(frames: int = 5, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(batch, frames, 32, 8), torch.rand(batch), torch.randn(batch, frames, 3, 16)


@torch.no_grad()
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_zero_init_leaves_the_3d_model_unchanged_until_the_output_projection_moves(
    attention: str, configure: Callable[..., DictConfig]
):
    base, grown = pair(instantiate(configure("train", "model=nano", f"attention={attention}").attention))
    latents, time, context = clip()
    lone = torch.cat([base(latents[:, [k]], time, context[:, [k]]) for k in range(5)], dim=1)
    assert torch.allclose(grown(latents, time, context), lone, atol=1e-6)
    for block in grown.blocks:
        torch.nn.init.normal_(block.temporal.out_proj.weight)
    other = latents.clone()
    other[:, 0] += 1
    before, after = grown(latents, time, context), grown(other, time, context)
    assert not torch.allclose(before, lone, atol=1e-2)
    assert (before - after)[:, 1:].abs().amax(dim=(0, 2, 3)).min() > 1e-3  # the anchor reaches every frame


@torch.no_grad()
def test_frames_of_different_clips_never_meet():
    _, grown = pair(StridedPattern(block_size=4))
    for block in grown.blocks:
        torch.nn.init.normal_(block.temporal.out_proj.weight)
    latents, time, context = clip()
    other = latents.clone()
    other[1] += 1
    before, after = grown(latents, time, context), grown(other, time, context)
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert not torch.allclose(before[1], after[1], atol=1e-2)


@torch.no_grad()
def test_the_time_token_stays_out_of_temporal_attention():
    _, grown = pair(StridedPattern(block_size=4))
    block = grown.blocks[0]
    torch.nn.init.normal_(block.temporal.out_proj.weight)
    tokens = torch.randn(6, 33, 32)
    mixed = block._across_frames(tokens, 3)
    assert torch.equal(mixed[:, 0], tokens[:, 0])
    assert not torch.allclose(mixed[:, 1:], tokens[:, 1:], atol=1e-2)
    other = tokens.clone()
    other[:, 0] += 1
    assert torch.equal(block._across_frames(other, 3)[:, 1:], mixed[:, 1:])


def test_tokens_that_do_not_split_into_blocks_are_refused():
    _, grown = pair(StridedPattern(block_size=5))
    with pytest.raises(ValueError, match="32 tokens do not split into blocks of 5"):
        grown(*clip())


def test_only_the_names_of_the_4d_layers_count_as_temporal():
    grown = Denoiser(**NANO, num_experts=4, pattern=StridedPattern(block_size=4))
    named = {name for name, _ in grown.named_parameters() if is_temporal(name)}
    base = {name for name, _ in Denoiser(**NANO, num_experts=4).named_parameters()}
    assert named == {name for name, _ in grown.named_parameters()} - base
    assert len(named) == 3 * (2 + 3 + 2 + 2)  # a block: norm, to_q/k/v, q/k norm, projection


KINDS = [{}, {"qkv_bias": True}, {"qkv_bias": True, "qk_norm": False}, {"pattern": None, "depth": 4}]


@torch.no_grad()
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_latents_beyond_the_context_are_those_with_zeros_for_images(options: dict[str, Any]):
    denoiser = busy(**options)
    latents, time, context = clip()
    both, times = torch.cat([latents, latents]), torch.cat([time, time])
    plain = denoiser(both, times, torch.cat([context, torch.zeros_like(context)]))
    assert torch.allclose(denoiser(both, times, context), plain, atol=1e-5)
    assert torch.allclose(denoiser(latents, time, None), plain[2:], atol=1e-5)
    assert (plain[:2] - plain[2:]).abs().max() > 0.1


def test_gradients_of_a_batch_with_unconditional_clips_are_those_of_zeros_for_images():
    denoiser, gradients = busy(qkv_bias=True).train(), []
    latents, time, context = clip(batch=3)
    for seen in (context[:1], torch.cat([context[:1], torch.zeros_like(context[1:])])):
        denoiser.zero_grad()
        denoiser(latents, time, seen).square().mean().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in denoiser.named_parameters()})
    for name, wanted in gradients[1].items():
        assert torch.allclose(gradients[0][name], wanted, atol=1e-5 + 1e-4 * wanted.abs().max()), name


@torch.no_grad()
def test_unconditional_clips_cost_no_cross_attention():
    denoiser, rows = busy(), []
    for block in denoiser.blocks:
        block.attn2.register_forward_hook(lambda _, inputs, out: rows.append(len(out)))
    latents, time, context = clip()
    denoiser(torch.cat([latents, latents]), torch.cat([time, time]), context)
    assert rows == [2 * 5] * denoiser.depth
    denoiser(latents, time, None)
    assert len(rows) == denoiser.depth


@torch.no_grad()
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_projected_context_gives_the_same_numbers_without_new_keys_and_values(options: dict[str, Any]):
    denoiser = busy(**options)
    latents, time, context = clip()
    known, made = denoiser.project(context), []
    for block in denoiser.blocks:
        block.attn2.to_k.register_forward_hook(lambda *_: made.append(1))
    assert torch.equal(denoiser(latents, time, known), denoiser(latents, time, context))
    assert len(made) == denoiser.depth  # all of the second call
    guided = torch.cat([latents, latents]), torch.cat([time, time])
    assert torch.equal(denoiser(*guided, known), denoiser(*guided, context))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 3, 9, 100])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_fewer_frames_at_once_give_the_same_numbers(options: dict[str, Any], frames: int):
    denoiser = busy(**options)
    latents, time, context = clip()
    both, times = torch.cat([latents, latents]), torch.cat([time, time])
    wanted = denoiser(both, times, context)
    denoiser.frames_at_once = frames
    passed: list[int] = []
    for block in denoiser.blocks:
        for part in (block.attn1, block.attn2, block.moe if hasattr(block, "moe") else block.mlp):
            part.register_forward_hook(lambda _, inputs, out: passed.append(len(out)))
    for seen in (context, denoiser.project(context)):
        assert torch.allclose(denoiser(both, times, seen), wanted, atol=1e-5)
    assert max(passed) == min(frames, len(both) * 5)


@torch.no_grad()
def test_a_context_of_shorter_clips_is_not_taken_for_an_unconditional_rest():
    denoiser, (latents, time, context) = busy(), clip()
    with pytest.raises(ValueError, match="4 frames a clip, the latents 5"):
        denoiser(latents, time, denoiser.project(context[:, :4]))


def test_no_frames_at_once_are_refused():
    with pytest.raises(ValueError, match="frames_at_once=0"):
        busy(frames_at_once=0)(*clip())


@torch.no_grad()
@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_weights_of_16_bits_take_latents_of_32_and_answer_in_32(dtype: torch.dtype, tolerance: float):
    denoiser = busy(num_moe_layers=0)  # a router may choose otherwise on rounded numbers
    latents, time, context = clip()
    wanted = denoiser(latents, time, context)
    denoiser.to(dtype)
    for seen in (context, context.to(dtype), denoiser.project(context)):
        found = denoiser(latents, time, seen)
        assert found.dtype == torch.float32
        assert (found - wanted).abs().max() < tolerance * wanted.abs().max()
    assert denoiser(latents.to(dtype), time, context).dtype == dtype


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_experts_work_in_16_bits(dtype: torch.dtype):
    denoiser = busy(num_moe_layers=2).to(dtype)
    latents, time, context = clip()
    for frames in (None, 2):
        denoiser.frames_at_once = frames
        assert denoiser(torch.cat([latents, latents]), torch.cat([time, time]), context).isfinite().all()


def test_under_autocast_the_answer_has_the_type_of_the_latents():
    with torch.autocast("cpu", torch.bfloat16):
        assert busy()(*clip()).dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("depth", range(1, 8))
def test_any_depth_pairs_every_late_block_with_an_early_one(depth: int):
    denoiser = busy(depth=depth, num_moe_layers=min(depth, 2))
    assert denoiser(*clip()).isfinite().all()
    taking = [index for index, block in enumerate(denoiser.blocks) if hasattr(block, "skip_linear")]
    assert taking == list(range(depth // 2 + 1, depth))


def test_without_query_and_key_norms_there_are_no_such_parameters_outside_the_temporal_layers():
    names = {name for name, _ in busy(qk_norm=False).named_parameters() if "_norm.weight" in name and "attn" in name}
    assert not names
    assert sum("temporal.q_norm" in name for name, _ in busy(qk_norm=False).named_parameters()) == 3
