"""A mask of your own: python examples/own_mask.py

To train with it, write `_target_: examples.own_mask.Window` and its values into a file of conf/attention.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from sculpt4d.attention.backends import attend
from sculpt4d.attention.patterns import Pattern


@dataclass(frozen=True)
class Window(Pattern):
    """Every frame sees the `radius` frames before and after it, and the first frame."""

    radius: int = 1
    block_size: int = 16  # tokens

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        frame = torch.arange(frames).repeat_interleave(blocks)
        return ((frame[:, None] - frame).abs() <= self.radius) | (frame == 0)

    def density(self, frames: int, blocks: int) -> float:
        return self.mask(frames, blocks).float().mean().item()

    def blocks(self, tokens: int) -> int:
        return tokens // self.block_size


def main() -> Tensor:
    tokens = torch.randn(1, 2, 8 * 64, 32)  # one clip, two heads, 8 frames of 64 tokens
    print(f"density {Window().density(8, Window().blocks(64)):.1%}")
    return attend(tokens, tokens, tokens, Window(), frames=8, backend="reference")


if __name__ == "__main__":
    main()
