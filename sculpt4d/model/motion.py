"""How much a clip moves, told by its image tokens: what training and sampling know alike, from the first step on.

The noised latents could not tell: before the first step of sampling they are noise, one for all frames.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def token_change(context: Float[Tensor, "b t s x"]) -> Float[Tensor, "b steps"]:
    """Mean distance between the image tokens of a frame and the next, over the mean length of the clip's tokens.

    Zero for a context of zeros, which stands for an unconditional clip.
    """
    tokens = context.detach().float()
    moved = torch.linalg.vector_norm(tokens.diff(dim=1), dim=-1).mean(dim=-1)
    size = torch.linalg.vector_norm(tokens, dim=-1).mean(dim=(1, 2))
    return moved / size.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
