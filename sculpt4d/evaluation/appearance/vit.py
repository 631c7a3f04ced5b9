"""The vision transformer that DreamSim's files hold: DINO's, and both CLIPs rewritten to its names."""

from collections.abc import Mapping

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

HEAD = 64  # channels of an attention head, in all of these networks
DINO_EPSILON, CLIP_EPSILON = 1e-6, 1e-5  # of their layer norms


class Block(nn.Module):
    """A pre-norm transformer layer with exact GELU, or the sigmoid one that OpenAI's CLIP was trained with."""

    def __init__(self, width: int, hidden: int, quick: bool, epsilon: float) -> None:
        super().__init__()
        self.quick = quick
        self.norm1, self.norm2 = (nn.LayerNorm(width, epsilon) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        packed = self.attn["qkv"](self.norm1(tokens))
        query, key, value = rearrange(packed, "b n (three h c) -> three b h n c", three=3, c=HEAD)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.attn["proj"](rearrange(mixed, "b h n c -> b n (h c)"))
        hidden = self.mlp["fc1"](self.norm2(tokens))
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick else functional.gelu(hidden)
        return tokens + self.mlp["fc2"](hidden)


class VisionTransformer(nn.Module):
    """Normalised pictures (b, 3, s, s) to a vector each; sizes are those of the tensors it is built for.

    A tower with `pos_drop` (a CLIP: there its norm before the layers has this name) answers with the normalised class
    token times `proj`; one without (DINO) with the class token as the last layer leaves it.
    """

    def __init__(self, tensors: Mapping[str, Tensor], quick: bool = False) -> None:
        super().__init__()
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        clip = "pos_drop.weight" in tensors
        epsilon = CLIP_EPSILON if clip else DINO_EPSILON
        layers = {int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")}
        hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        self.patch = patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(tensors["pos_embed"].shape))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.pos_drop = nn.LayerNorm(width, epsilon) if clip else nn.Identity()
        self.blocks = nn.ModuleList([Block(width, hidden, quick, epsilon) for _ in layers])
        self.norm = nn.LayerNorm(width, epsilon)
        self.proj = nn.Parameter(torch.zeros(tensors["proj"].shape)) if clip else None

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return round((self.pos_embed.shape[1] - 1) ** 0.5) * self.patch

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        patches = rearrange(self.patch_embed["proj"](pictures), "b d h w -> b (h w) d")
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        tokens = self.pos_drop(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 0] if self.proj is None else self.norm(tokens)[:, 0] @ self.proj
