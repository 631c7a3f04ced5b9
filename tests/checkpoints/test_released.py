"""Arguments, row order and names of the released program against the tables of the base specification."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from sculpt4d.checkpoints.released import (
    conditioner_arguments,
    denoiser_arguments,
    dino_name,
    natural_rows,
    old_dino_name,
    reference_rows,
    vae_arguments,
)
from sculpt4d.model.condition import DinoConditioner
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.model.layers import CrossAttention, SelfAttention
from sculpt4d.model.vae import ShapeVAE

DIT = {"use_attention_pooling": False}
VAE = {"num_latents": 8, "embed_dim": 8, "width": 16, "heads": 2, "num_decoder_layers": 1}
DINO = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14, "image_size": 28}

sizes = st.tuples(st.sampled_from([2, 3]), st.integers(1, 6), st.integers(1, 4), st.sampled_from([(), (1,), (5,)]))


@given(sizes)
def test_the_two_row_orders_are_each_other_s_inverse(size: tuple[int, int, int, tuple[int, ...]]):
    """For q, k, v and for k, v, weights and biases."""
    parts, heads, head, columns = size
    given_parts = list(torch.randn(parts, heads * head, *columns))
    for there, back in ((natural_rows, reference_rows), (reference_rows, natural_rows)):
        assert torch.equal(torch.stack(back(there(given_parts, heads), heads)), torch.stack(given_parts))


def sources(parts: int, heads: int = 16, head: int = 128) -> Tensor:
    """(part, head, row): which released matrix, and which of its rows, every row of ours comes from."""
    width = heads * head
    rows = [part * width + torch.arange(width) for part in range(parts)]
    found = torch.stack(natural_rows(rows, heads)).view(parts, heads, head)
    return torch.stack([found // width, found % width])


def test_rows_of_self_attention_are_packed_as_in_the_example_of_the_full_size():
    (q, k, v), rows = sources(3)
    whole = torch.stack([q, k, v])
    assert (whole[:, :5] == 0).all() and (whole[:, 6:10] == 1).all() and (whole[:, 11:] == 2).all()
    assert (q[5] == 0).all() and torch.equal(rows[0, 5], torch.arange(2048 - 128, 2048))
    assert (k[5] == 1).all() and (v[5] == 1).all()
    assert torch.equal(torch.cat([rows[1, 5], rows[2, 5]]), torch.arange(256))
    assert (q[10] == 1).all() and (k[10] == 1).all() and (v[10] == 2).all()
    assert torch.equal(torch.cat([rows[0, 10], rows[1, 10]]), torch.arange(2048 - 256, 2048))
    assert torch.equal(rows[2, 10], torch.arange(128))


def test_rows_of_cross_attention_are_packed_as_in_the_example_of_the_full_size():
    (k, v), _ = sources(2)
    assert (k[:8] == 0).all() and (v[:8] == 0).all()
    assert (k[8:] == 1).all() and (v[8:] == 1).all()


@torch.no_grad()
def test_attention_with_natural_rows_is_the_released_attention_over_packed_projections():
    tokens, source, heads = torch.randn(2, 5, 24), torch.randn(2, 7, 12), 3
    for attention, letters, seen in (
        (SelfAttention(24, heads, qkv_bias=True, qk_norm=False), "qkv", tokens),
        (CrossAttention(24, heads, 12, qkv_bias=True, qk_norm=False), "kv", source),
    ):
        layers = [attention.get_submodule(f"to_{letter}") for letter in letters]
        weights, biases = ([torch.randn_like(getattr(layer, kind)) for layer in layers] for kind in ("weight", "bias"))
        packed = torch.cat([linear(seen, w, b) for w, b in zip(weights, biases, strict=True)], dim=-1)
        split = packed.unflatten(-1, (heads, len(letters), 8)).permute(3, 0, 2, 1, 4)
        q = split[0] if len(letters) == 3 else attention.to_q(tokens).unflatten(-1, (heads, 8)).transpose(1, 2)
        wanted = attention.out_proj(scaled_dot_product_attention(q, *split[-2:]).transpose(1, 2).flatten(2))
        for layer, weight, bias in zip(layers, natural_rows(weights, heads), natural_rows(biases, heads), strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        found = attention(tokens) if len(letters) == 3 else attention(tokens, attention.project(source))
        assert torch.allclose(found, wanted, atol=1e-5)


def test_absent_arguments_have_the_defaults_of_the_released_program():
    found = denoiser_arguments(DIT)
    assert (found["in_channels"], found["hidden_size"], found["depth"], found["qkv_bias"]) == (4, 1024, 24, True)
    assert (found["qk_norm"], found["num_moe_layers"], found["num_experts"], found["moe_top_k"]) == (False, 6, 8, 2)
    found = vae_arguments(VAE)
    assert (found["point_feats"], found["include_pi"], found["qkv_bias"], found["qk_norm"]) == (3, True, True, False)
    assert (found["num_encoder_layers"], found["scale_factor"], found["geo_decoder_ln_post"]) == (8, 1.0, True)


def test_arguments_build_the_networks():
    with torch.device("meta"):
        assert Denoiser(**denoiser_arguments(DIT)).depth == 24
        assert ShapeVAE(**vae_arguments(VAE | {"pc_size": 64, "label_type": "binary", "drop_path_rate": 0.1}))
        built = DinoConditioner(**conditioner_arguments(DINO | {"model_type": "dinov2", "torch_dtype": "float32"}))
        assert (built.size, built.width) == (28, 16)
        assert DinoConditioner(**conditioner_arguments(DINO, size=42)).size == 42


@pytest.mark.parametrize(
    "translate, params, told",
    [
        (denoiser_arguments, DIT | {"hidden_sise": 32, "depths": 4}, "denoiser: unknown argument depths, hidden_sise"),
        (denoiser_arguments, {}, r"use_attention_pooling=True \(its default\)"),
        (denoiser_arguments, DIT | {"use_pos_emb": True}, "use_pos_emb=True"),
        (denoiser_arguments, DIT | {"with_decoupled_ca": True}, "with_decoupled_ca=True"),
        (denoiser_arguments, DIT | {"guidance_cond_proj_dim": 256}, "guidance_cond_proj_dim=256"),
        (denoiser_arguments, DIT | {"norm_type": "rms"}, "norm_type=rms"),
        (denoiser_arguments, DIT | {"qk_norm": True, "qk_norm_type": "layer"}, "qk_norm_type=layer"),
        (vae_arguments, VAE | {"use_ln_post": False}, "use_ln_post=False"),
        (vae_arguments, VAE | {"freqs": 8}, "vae: unknown argument freqs"),
        (vae_arguments, {"width": 16, "heads": 2}, "lacks num_latents, embed_dim, num_decoder_layers"),
        (conditioner_arguments, DINO | {"layers": 2}, "conditioner: unknown argument layers"),
        (conditioner_arguments, DINO | {"model_type": "vit"}, "model_type=vit"),
    ],
)
def test_what_is_not_built_here_is_refused_by_its_name(translate: Any, params: dict[str, Any], told: str):
    with pytest.raises(ValueError, match=told):
        translate(params)


def test_a_kind_of_norm_that_is_switched_off_does_not_matter():
    assert not denoiser_arguments(DIT | {"qk_norm": False, "qk_norm_type": "layer"})["qk_norm"]


def test_dino_names_of_both_generations_are_each_other_s_inverse():
    with torch.device("meta"):
        names = list(DinoConditioner(**conditioner_arguments(DINO)).state_dict())
    old = [old_dino_name(name) for name in names]
    assert [dino_name(name) for name in old] == names
    assert "model.encoder.layer.0.attention.attention.query.bias" in old
    assert "model.encoder.layer.0.attention.output.dense.weight" in old
    assert sum(before != after for before, after in zip(old, names, strict=True)) == 8
