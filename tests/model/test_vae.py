"""The autoencoder: sizes, scales, anchors, what is done once for many points, half precision."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from sculpt4d.flow import clip_noise
from sculpt4d.model.field import DecodedShape
from sculpt4d.model.vae import ANCHOR_SCALE, ShapeVAE

SMALL = {"num_latents": 8, "embed_dim": 6, "width": 16, "heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1}


def test_the_full_size_has_exactly_the_published_number_of_parameters(configure: Callable[..., DictConfig]):
    with torch.device("meta"):
        plain = ShapeVAE(num_latents=4096, embed_dim=64, width=1024, heads=16)
        configured = instantiate(configure("train", "model=hunyuan3d21").model.vae)
    for model in (plain, configured):
        assert sum(parameter.numel() for parameter in model.parameters()) == 327_746_177


def small(**options: Any) -> tuple[ShapeVAE, Tensor, Tensor]:
    """A small autoencoder, surface points of three frames and query rows."""
    torch.manual_seed(0)
    surface = torch.cat([torch.rand(3, 40, 3) - 0.5, torch.randn(3, 40, 4)], dim=-1)
    return ShapeVAE(**SMALL, **options).eval(), surface, torch.randperm(40)[:8].expand(3, -1)


@torch.no_grad()
def test_anchors_lie_in_the_first_three_channels_and_move_the_decoder():
    vae, surface, queries = small(anchors=True)
    posterior = vae.encode(surface, queries)
    places = torch.stack([frame[rows, :3] for frame, rows in zip(surface, queries, strict=True)])
    assert torch.equal(posterior.mean[..., :3], ANCHOR_SCALE * places)
    assert posterior.logvar[..., :3].exp().sqrt().max() < 0.05  # nearly noiseless
    moved = posterior.mean.clone()
    moved[..., :3] += 0.5
    vae.post_kl.weight[:, :3] = 0  # what is left of the anchors goes through their Fourier features
    assert not torch.allclose(vae.decode(posterior.mean), vae.decode(moved), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("scale_factor, per_channel", [(1.7, False), (1.0, True)])
def test_denormalise_undoes_normalise(scale_factor: float, per_channel: bool):
    vae, _, _ = small(scale_factor=scale_factor, channel_scale=per_channel)
    latents = 3 + 5 * torch.randn(100, 6) * torch.arange(1, 7)
    if per_channel:
        vae.fit_scale(latents)
        seen = vae.normalise(latents)
        assert torch.allclose(seen.mean(0), torch.zeros(6), atol=1e-4)
        assert torch.allclose(seen.std(0), torch.ones(6), atol=1e-4)
    else:
        assert torch.allclose(vae.normalise(latents), scale_factor * latents)
    assert torch.allclose(vae.denormalise(vae.normalise(latents)), latents, atol=1e-4)


def test_the_channel_scale_is_part_of_the_weights_only_where_it_is_used():
    assert "channel_mean" in small(channel_scale=True)[0].state_dict()
    vae, _, _ = small()
    assert not list(vae.buffers())  # none that a model made on the meta device would lose
    with pytest.raises(ValueError, match="channel_scale=true"):
        vae.fit_scale(torch.randn(10, 6))


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"geo_decoder_downsample_ratio": 2}, {"qk_norm": False, "qkv_bias": True}])
def test_a_prepared_shape_gives_the_field_of_its_tokens(options: dict[str, Any]):
    vae, _, _ = small(**options)
    latents, points = torch.randn(3, 8, 6), torch.rand(3, 20, 3)
    shape, tokens = vae.prepare(latents), vae.decode(latents)
    assert isinstance(shape, DecodedShape)
    assert torch.equal(vae.field(points, shape), vae.field(points, tokens))
    # as one block that sees both sides at once
    decoder = vae.geo_decoder
    data = decoder.latents_proj(tokens) if options.get("geo_decoder_downsample_ratio") else tokens
    plain = decoder.cross_attn_decoder(decoder.embed(points).tokens, data)
    assert torch.allclose(decoder.output_proj(decoder.ln_post(plain))[..., 0], vae.field(points, shape), atol=1e-6)


@torch.no_grad()
def test_points_given_once_are_asked_of_every_shape_and_embedded_once(monkeypatch: pytest.MonkeyPatch):
    vae, _, _ = small()
    latents, points = torch.randn(3, 8, 6), torch.rand(1, 20, 3)
    alone = torch.cat([vae.field(points, vae.prepare(one[None])) for one in latents])
    embedded: list[int] = []
    vae.geo_decoder.query_proj.register_forward_hook(lambda _, inputs, out: embedded.append(len(out)))
    together = vae.field(points, vae.prepare(latents))
    assert embedded == [1]
    assert together.shape == (3, 20)
    assert torch.allclose(together, alone, atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_a_narrower_geometry_decoder_projects_the_latents():
    vae, _, _ = small(geo_decoder_downsample_ratio=2)
    shapes = {name: tuple(tensor.shape) for name, tensor in vae.geo_decoder.state_dict().items()}
    assert shapes["latents_proj.weight"] == (8, 16) and shapes["latents_proj.bias"] == (8,)
    assert shapes["cross_attn_decoder.attn.c_kv.weight"] == (16, 8)
    assert shapes["cross_attn_decoder.attn.attention.q_norm.weight"] == (8,)  # one head of the same width
    assert "geo_decoder.latents_proj.weight" not in small()[0].state_dict()
    with pytest.raises(ValueError, match="geo_decoder_downsample_ratio=3"):
        small(geo_decoder_downsample_ratio=3)


@torch.no_grad()
@pytest.mark.parametrize("dtype, near", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
@pytest.mark.parametrize("options", [{}, {"anchors": True, "channel_scale": True}])
def test_half_precision_weights_take_and_give_float32(dtype: torch.dtype, near: float, options: dict[str, bool]):
    vae, surface, queries = small(**options)
    points = torch.rand(3, 20, 3)

    def run() -> tuple[Tensor, Tensor, Tensor]:
        posterior = vae.encode(surface, queries)
        latents = vae.denormalise(vae.normalise(posterior.mean))
        return posterior.mean, latents, vae.field(points, vae.prepare(latents))

    exact = run()
    vae.to(dtype)
    for found, wanted in zip(run(), exact, strict=True):
        assert found.dtype == torch.float32
        assert torch.allclose(found, wanted, atol=near * float(wanted.abs().max()))


@torch.no_grad()
def test_equal_frames_with_shared_noise_give_equal_latents_and_with_own_noise_do_not():
    vae, surface, queries = small()
    still = surface[:1].expand(3, -1, -1)
    posterior = vae.encode(still, queries)
    shared, own = (clip_noise((1, 3, 8, 6), share, torch.Generator().manual_seed(1))[0] for share in (1.0, 0.0))
    latents = posterior.sample(shared)
    assert torch.allclose(latents, latents[:1].expand_as(latents), atol=1e-6)
    apart = posterior.sample(own)
    assert not torch.allclose(apart, apart[:1].expand_as(apart), atol=1e-2)


@torch.no_grad()
def test_the_order_of_surface_points_does_not_matter():
    vae, surface, queries = small()
    order = torch.randperm(40)
    place = order.argsort()
    assert torch.allclose(
        vae.encode(surface, queries).mean, vae.encode(surface[:, order], place[queries]).mean, atol=1e-5
    )
