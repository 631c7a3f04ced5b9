"""Attention that prefers what is near."""

import pytest
import torch

from sculpt4d.model.vae import ShapeVAE
from sculpt4d.model.vae_layers import Nearness, attend


def test_it_is_a_penalty_on_the_squared_distance() -> None:
    torch.manual_seed(0)
    near = Nearness(2, 1.0, 30.0)
    queries, keys, values = torch.randn(3, 2, 5, 8), torch.randn(3, 2, 7, 8), torch.randn(3, 2, 7, 8)
    here, there = torch.randn(3, 5, 3), torch.randn(3, 7, 3)
    logits = queries @ keys.mT / 8**0.5
    logits = logits - near.log_sharpness.exp()[:, None, None] * torch.cdist(here, there).square()[:, None]
    expected = (logits.softmax(dim=-1) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(
        attend(near.queries(queries, here), near.keys(keys, there), values), expected, rtol=1e-4, atol=1e-4
    )


def build(**changed: object) -> ShapeVAE:
    settings = {"num_latents": 8, "embed_dim": 8, "width": 32, "heads": 2, "num_encoder_layers": 1}
    settings |= {"num_decoder_layers": 1, "anchors": True, "local": True}
    return ShapeVAE(**(settings | changed))  # type: ignore[arg-type]


def test_it_needs_anchors() -> None:
    with pytest.raises(ValueError, match="local=true needs anchors=true"):
        build(anchors=False)


def test_a_far_latent_hardly_changes_the_field() -> None:
    torch.manual_seed(0)
    vae = build()
    with torch.no_grad():
        for name, value in vae.named_parameters():
            if name.endswith("log_sharpness"):
                value.fill_(6.0)
    latents = torch.randn(1, 8, 8)
    latents[..., :3] = torch.linspace(-1.6, 1.6, 8)[None, :, None]
    changed = latents.clone()
    changed[:, -1, 3:] += 1.0
    points = torch.tensor([[[-0.8, -0.8, -0.8], [0.8, 0.8, 0.8]]])
    far, close = (vae.field(points, vae.prepare(latents)) - vae.field(points, vae.prepare(changed))).abs()[0]
    assert far < 1e-5 < 1e-3 < close


def test_tokens_without_anchors_are_refused() -> None:
    vae = build()
    with pytest.raises(ValueError, match="this decoder needs anchors"):
        vae.field(torch.zeros(1, 2, 3), vae.decode(torch.zeros(1, 8, 8)))


def test_without_it_no_tensor_is_added() -> None:
    plain, local = set(build(local=False).state_dict()), set(build().state_dict())
    assert plain < local and all(name.endswith("near.log_sharpness") for name in local - plain)
