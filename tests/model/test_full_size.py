"""One block and one decoded shape at the released size in bfloat16, with random weights."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from sculpt4d.attention.patterns import StridedPattern
from sculpt4d.generation.surface import Surface
from sculpt4d.model.block import Block

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def bfloat16() -> Iterator[None]:
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


@torch.no_grad()
def test_a_block_runs_at_one_frame_of_4096_tokens():
    torch.manual_seed(0)
    block = Block(2048, 16, 1024, skip=True, pattern=StridedPattern()).eval()
    assert sum(parameter.numel() for parameter in block.parameters()) == 71_336_448 + 4 * 2048**2 + 3 * 2048 + 2 * 128
    tokens, context = torch.randn(1, 4097, 2048), torch.randn(1, 1370, 1024)
    out = block(tokens, context, 1, torch.randn(1, 4097, 2048))
    assert out.shape == tokens.shape and out.isfinite().all() and out.std() > 0.1


@torch.no_grad()
def test_a_latent_set_of_the_full_size_is_decoded(configure: Callable[..., DictConfig]):
    torch.manual_seed(0)
    vae = instantiate(configure("generate", "model=hunyuan3d21", "input=none").model.vae).eval()
    vae.geo_decoder.output_proj.bias.zero_()
    decoded = Surface(resolution=6, coarse=6).decode(vae, torch.randn(1, 4096, 64))
    assert decoded.queries == decoded.dense == 7**3
    (mesh,) = decoded.sequence.frames
    assert len(mesh.faces)
