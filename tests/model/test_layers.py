import math

import pytest
import torch

from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.model.layers import CrossAttention, TemporalAttention, TimeEmbedding, time_features


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_time_token_is_made_of_32_bit_features_in_any_precision(dtype: torch.dtype):
    embedding, time = TimeEmbedding(32), torch.linspace(0, 1, 9)
    wanted = embedding(time)
    found = embedding.to(dtype)(time)
    assert found.dtype == dtype
    assert torch.allclose(found.float(), wanted, atol=0.02)


def test_time_zero_is_sines_of_zero_and_cosines_of_one_and_time_is_not_scaled():
    features = time_features(torch.tensor([0.0, 1.0]), 6)
    assert torch.equal(features[0], torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
    assert features[1, 0] == pytest.approx(math.sin(1.0)) and features[1, 3] == pytest.approx(math.cos(1.0))


@torch.no_grad()
@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_a_blind_token_gets_what_zeros_for_image_tokens_would_give_it(qkv_bias: bool, qk_norm: bool):
    attention = CrossAttention(16, 2, 12, qkv_bias=qkv_bias, qk_norm=qk_norm)
    found = attention(torch.randn(3, 5, 16), attention.project(torch.zeros(3, 7, 12)))
    assert torch.allclose(found, attention.blind().expand_as(found), atol=1e-6)
    if not qkv_bias:
        assert torch.equal(attention.blind()[0, 0], attention.out_proj.bias)


@torch.no_grad()
def test_query_and_key_norms_make_attention_blind_to_the_length_of_tokens():
    tokens = torch.randn(1, 5, 16)
    for qk_norm in (True, False):
        attention = CrossAttention(16, 2, qk_norm=qk_norm)
        same = torch.allclose(
            attention(7 * tokens, attention.project(tokens)), attention(tokens, attention.project(tokens)), atol=1e-5
        )
        assert same == qk_norm


def test_a_new_temporal_layer_says_nothing_and_still_learns():
    layer = TemporalAttention(16, 2, StridedPattern(block_size=2))
    tokens = torch.randn(1, 3, 4, 16)
    out = layer(tokens)
    assert torch.equal(out, torch.zeros_like(out))
    (out - 1).square().sum().backward()
    assert layer.out_proj.weight.grad.abs().max() > 0


def test_temporal_attention_knows_the_order_of_frames():
    layer = TemporalAttention(16, 2, StridedPattern(strides=(1,), anchor=False, block_size=2))
    torch.nn.init.normal_(layer.out_proj.weight)
    tokens = torch.randn(1, 4, 4, 16)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        assert not torch.allclose(layer(tokens)[:, order], layer(tokens[:, order]), atol=1e-3)
