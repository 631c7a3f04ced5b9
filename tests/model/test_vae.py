from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from sculpt4d.flow import clip_noise
from sculpt4d.model.posterior import Posterior
from sculpt4d.model.vae import ANCHOR_SCALE, ShapeVAE, fourier

LEFT_OUT = {
    "pc_size",
    "pc_sharpedge_size",
    "downsample_ratio",
    "geo_decoder_downsample_ratio",
}  # of the data, not the net
SMALL = {"num_latents": 8, "embed_dim": 6, "width": 16, "heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1}


@pytest.fixture(scope="module")
def vae(golden_config: dict[str, Any], golden: Callable[[str], dict[str, Tensor]]) -> ShapeVAE:
    """The golden autoencoder."""
    model = ShapeVAE(**{key: value for key, value in golden_config["vae"].items() if key not in LEFT_OUT})
    model.load_state_dict(golden("vae_tiny"))
    return model.eval()


@pytest.fixture(scope="module")
def io(golden: Callable[[str], dict[str, Tensor]]) -> dict[str, Tensor]:
    return golden("vae_tiny_io")


def encoder_input(io: dict[str, Tensor], split: int) -> tuple[Tensor, Tensor]:
    """Surface rows that were drawn, uniform ones first, and the query rows among them."""
    uniform, sharp = io["surface"][:, :split], io["surface"][:, split:]
    surface = torch.cat([uniform[:, io["perm_random"]], sharp[:, io["perm_sharp"]]], dim=1)
    return surface, torch.cat([io["fps_random"], io["fps_sharp"] + len(io["perm_random"])], dim=1)


@torch.no_grad()
def test_encoder_equals_the_golden_one(vae: ShapeVAE, io: dict[str, Tensor], golden_config: dict[str, Any]):
    surface, queries = encoder_input(io, golden_config["vae"]["pc_size"])
    assert torch.equal(surface[..., :3], io["input_points"])
    assert torch.allclose(vae.encoder(surface, queries), io["encoder_out"], atol=2e-5)
    posterior = vae.encode(surface, queries)
    assert torch.allclose(posterior.mean, io["mean"], atol=2e-5)
    assert torch.allclose(posterior.logvar, io["logvar"], atol=2e-5)
    assert posterior.logvar.min() == -30 and posterior.logvar.max() == 20  # both ends of the clamp are met


@torch.no_grad()
def test_posterior_equals_the_golden_one(io: dict[str, Tensor]):
    posterior = Posterior(io["mean"], io["logvar"])
    sample, wanted = posterior.sample(io["posterior_eps"]), io["posterior_sample"]
    assert (sample - wanted).abs().max() <= 1e-6 * wanted.abs().max()
    assert torch.allclose(posterior.divergence().mean(dim=(1, 2)), io["kl_per_sample"], rtol=1e-5)


@torch.no_grad()
def test_decoder_equals_the_golden_one(vae: ShapeVAE, io: dict[str, Tensor]):
    decoded = vae.decode(io["latents"])
    assert torch.allclose(decoded, io["decoded"], atol=2e-5)
    assert torch.allclose(vae.field(io["queries"], decoded), io["logits"][..., 0], atol=5e-5)


def test_fourier_features_equal_the_golden_ones(golden: Callable[[str], dict[str, Tensor]]):
    io = golden("fourier")
    plain = fourier(io["points"], 8)
    assert torch.allclose(plain, io["embed_f8_nopi"], atol=1e-5)
    assert torch.allclose(fourier(io["points"], 8, include_pi=True), io["embed_f8_pi"], atol=1e-5)
    assert torch.allclose(plain[:, 3:], io["embed_f8_nopi_noinput"], atol=1e-5)


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
    assert "channel_mean" not in small()[0].state_dict()


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
