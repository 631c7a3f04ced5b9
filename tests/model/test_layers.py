from collections.abc import Callable

import torch
from torch import Tensor

from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.model.layers import TemporalAttention, TimeEmbedding, time_features


def test_time_features_and_embedding_equal_the_golden_ones(golden: Callable[[str], dict[str, Tensor]]):
    io = golden("timestep_embedding")
    for width in (64, 2048):
        assert torch.allclose(time_features(io[f"sinusoid_{width}.t"], width), io[f"sinusoid_{width}"], atol=1e-5)
    embedding = TimeEmbedding(io["embedder.mlp.2.bias"].numel())
    embedding.load_state_dict({n.removeprefix("embedder."): t for n, t in io.items() if n.startswith("embedder.")})
    assert torch.allclose(embedding(io["t"]), io["embedder_out"], atol=1e-5)


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
