"""The transformer that predicts velocity: U-shaped skips over blocks, one time token, 3D or 4D (base spec 1.3)."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from sculpt4d.attention.patterns import Pattern
from sculpt4d.model.block import Block
from sculpt4d.model.layers import EPS, TimeEmbedding

TEMPORAL = ("norm_temporal.", "temporal.")  # what a 4D block adds to the base


class FinalLayer(nn.Module):
    """Norm and linear map to the latent channels."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=EPS)
        self.linear = nn.Linear(width, channels)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n c"]:
        return self.linear(self.norm_final(tokens))


class Denoiser(nn.Module):
    """Noisy latents of all frames, flow time and image context to velocity.

    `pattern` None builds the 3D base, which treats frames one by one. `zero_head` starts the velocity at zero
    (the released base does not; it helps a small model trained from scratch).
    """

    def __init__(
        self,
        in_channels: int = 64,
        hidden_size: int = 2048,
        context_dim: int = 1024,
        depth: int = 21,
        num_heads: int = 16,
        qkv_bias: bool = False,
        num_moe_layers: int = 6,
        num_experts: int = 8,
        moe_top_k: int = 2,
        zero_head: bool = False,
        pattern: Pattern | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.depth = depth
        self.x_embedder = nn.Linear(in_channels, hidden_size)
        self.t_embedder = TimeEmbedding(hidden_size)
        self.blocks = nn.ModuleList(
            Block(
                hidden_size,
                num_heads,
                context_dim,
                skip=index > depth // 2,
                experts=num_experts if depth - index <= num_moe_layers else 0,
                top=moe_top_k,
                qkv_bias=qkv_bias,
                pattern=pattern,
                backend=backend,
            )
            for index in range(depth)
        )
        self.final_layer = FinalLayer(hidden_size, in_channels)
        if zero_head:
            nn.init.zeros_(self.final_layer.linear.weight)
            nn.init.zeros_(self.final_layer.linear.bias)

    def forward(
        self, latents: Float[Tensor, "b t p c"], time: Float[Tensor, " b"], context: Float[Tensor, "b t s x"]
    ) -> Float[Tensor, "b t p c"]:
        frames = latents.shape[1]
        tokens = self.x_embedder(rearrange(latents, "b t p c -> (b t) p c"))
        time_token = repeat(self.t_embedder(time), "b 1 d -> (b t) 1 d", t=frames)
        tokens = torch.cat([time_token.to(tokens.dtype), tokens], dim=1)
        context = rearrange(context, "b t s x -> (b t) s x")
        stack: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            skip = stack.pop() if index > self.depth // 2 else None
            tokens = block(tokens, context, frames, skip)
            if index < self.depth // 2:
                stack.append(tokens)
        velocity = self.final_layer(tokens)[:, 1:]
        return rearrange(velocity, "(b t) p c -> b t p c", t=frames)


def is_temporal(name: str) -> bool:
    """Whether a parameter name of a Denoiser belongs to the layers that 4D adds."""
    return any(f".{part}" in f".{name}" for part in TEMPORAL)
