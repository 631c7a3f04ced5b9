"""The transformer that predicts velocity: U-shaped skips over blocks, one time token, 3D or 4D (base spec 1.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sculpt4d.attention.adaptive import MotionPattern
from sculpt4d.attention.joint import JointPattern
from sculpt4d.attention.patterns import Pattern
from sculpt4d.model.block import Block
from sculpt4d.model.layers import EPS, KeysValues, TemporalAttention, TimeEmbedding
from sculpt4d.model.motion import token_change
from sculpt4d.model.vae_layers import fourier

TEMPORAL = ("norm_temporal.", "temporal.")  # what a 4D block adds to the base


class FinalLayer(nn.Module):
    """Norm and linear map to the latent channels."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=EPS)
        self.linear = nn.Linear(width, channels)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n c"]:
        return self.linear(self.norm_final(tokens))


@dataclass(frozen=True)
class ProjectedContext:
    """What the cross-attention of every block reads of the image tokens, (b t) frames.

    The full size keeps 11 MB a frame and block in 16 bits: 3.8 GB for a clip of 16 frames. `patterns`: of the temporal
    attention, where they depend on the clip. `images`: the image tokens themselves, where temporal layers see them.
    """

    blocks: tuple[KeysValues, ...]
    frames: int  # of a clip
    patterns: tuple[Pattern, ...] | None = None
    images: Float[Tensor, "b t s x"] | None = None


class Denoiser(nn.Module):
    """Noisy latents of all frames, flow time and image context to velocity.

    `pattern` None builds the 3D base, which treats frames one by one. `zero_head` starts the velocity at zero
    (the released base does not; it helps a small model trained from scratch). `frames_at_once`: frames that pass
    together through all but the temporal attention, None for all; fewer need less memory. It is for generation: in
    training every part would have a balance term of its own (base spec 1.6). `recompute`: of a training step's blocks
    only the inputs are kept, the rest is computed a second time for the gradients. `anchor_bands`: octaves of Fourier
    features of the first three channels, the anchors of a small autoencoder, that the tokens start with (0: none; not
    part of the released model).
    """

    def __init__(
        self,
        in_channels: int = 64,
        hidden_size: int = 2048,
        context_dim: int = 1024,
        depth: int = 21,
        num_heads: int = 16,
        qkv_bias: bool = False,
        qk_norm: bool = True,
        num_moe_layers: int = 6,
        num_experts: int = 8,
        moe_top_k: int = 2,
        zero_head: bool = False,
        pattern: Pattern | None = None,
        backend: str = "auto",
        frames_at_once: int | None = None,
        recompute: bool = False,
        anchor_bands: int = 0,
    ) -> None:
        super().__init__()
        self.depth, self.context_dim, self.pattern = depth, context_dim, pattern
        self.frames_at_once, self.recompute = frames_at_once, recompute
        self.x_embedder = nn.Linear(in_channels, hidden_size)
        self.anchor_bands = anchor_bands
        if anchor_bands:
            self.anchor_embedder = nn.Linear(3 * (2 * anchor_bands + 1), hidden_size, bias=False)
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
                qk_norm=qk_norm,
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
        self,
        latents: Float[Tensor, "b t p c"],
        time: Float[Tensor, " b"],
        context: Float[Tensor, "seen t s x"] | ProjectedContext | None,
    ) -> Float[Tensor, "b t p c"]:
        """Velocity in the type of the latents; inside, all has the type of the weights.

        A context of fewer clips than the latents is that of the first ones. The others, and with None all, are
        unconditional: their image tokens are zeros. So both halves of guidance are
        forward(cat([latents, latents]), time, context).
        """
        frames = latents.shape[1]
        rows = rearrange(latents, "b t p c -> (b t) p c")
        tokens = self.x_embedder(self._as_weights(rows))
        if self.anchor_bands:
            tokens = tokens + self.anchor_embedder(self._as_weights(fourier(rows[..., :3].float(), self.anchor_bands)))
        time_token = repeat(self.t_embedder(time), "b 1 d -> (b t) 1 d", t=frames)
        tokens = torch.cat([time_token.to(tokens.dtype), tokens], dim=1)
        patterns, images = self._patterns(context, len(latents)), self._images(context, len(latents))
        stack: list[Tensor] = []
        for index, (block, seen) in enumerate(zip(self.blocks, self._seen(context, latents), strict=True)):
            skip = stack.pop() if index > self.depth // 2 else None
            inputs = (tokens, seen, frames, skip, self.frames_at_once, patterns, images)
            again = self.recompute and torch.is_grad_enabled()
            tokens = checkpoint(block, *inputs, use_reentrant=False) if again else block(*inputs)
            if index < self.depth // 2:
                stack.append(tokens)
        velocity = self.final_layer(tokens)[:, 1:]
        return rearrange(velocity, "(b t) p c -> b t p c", t=frames).to(latents.dtype)

    def project(self, context: Float[Tensor, "b t s x"]) -> ProjectedContext:
        """Stands for the context in every `forward`: it changes with the clip, not with the flow time."""
        rows = self._as_weights(rearrange(context, "b t s x -> (b t) s x"))
        blocks = (block.attn2.project(rows) for block in self.blocks)  # type: ignore[union-attr, operator]
        clips = len(context)
        known = self._patterns(context, clips), self._images(context, clips)
        return ProjectedContext(tuple(blocks), context.shape[1], *known)

    def save_memory(self) -> None:
        """Generation takes frames, and heads of the temporal attention, one by one; the results are the same."""
        self.frames_at_once = 1
        for module in self.modules():
            if isinstance(module, TemporalAttention):
                module.heads_at_once = 1

    def _seen(self, context: Tensor | ProjectedContext | None, latents: Tensor) -> Sequence[Tensor | KeysValues]:
        """What each block is given of the context. ValueError where it is of clips of another length."""
        if context is None:
            context = latents.new_zeros(0, latents.shape[1], 1, self.context_dim)
        frames = context.frames if isinstance(context, ProjectedContext) else context.shape[1]
        if frames != latents.shape[1]:  # rows of frames beyond the context would pass for unconditional ones
            raise ValueError(
                f"the context has {frames} frames a clip, the latents {latents.shape[1]}: give equal clips"
            )
        if isinstance(context, ProjectedContext):
            return context.blocks
        return [self._as_weights(rearrange(context, "b t s x -> (b t) s x"))] * self.depth

    def _patterns(self, context: Tensor | ProjectedContext | None, clips: int) -> tuple[Pattern, ...] | None:
        """A pattern for each clip where it depends on the clip; clips without a context have that of no knowledge."""
        if not isinstance(self.pattern, MotionPattern | JointPattern):
            return None
        known: tuple[Pattern, ...]
        if isinstance(context, ProjectedContext):
            known = context.patterns or ()
        elif context is None:
            known = ()
        elif isinstance(self.pattern, MotionPattern):
            known = self.pattern.for_clips(token_change(context))
        else:  # training drops the context of a clip by zeros
            told = context.flatten(1).any(dim=1).tolist()
            known = tuple(self.pattern if seeing else self.pattern.blind for seeing in told)
        other = self.pattern.schedule if isinstance(self.pattern, MotionPattern) else self.pattern.blind
        return (*known, *(other for _ in range(clips - len(known))))

    def _images(self, context: Tensor | ProjectedContext | None, clips: int) -> Float[Tensor, "b t s x"] | None:
        """Image tokens for temporal layers that see them, zeros for clips without a context; None for all other."""
        if not isinstance(self.pattern, JointPattern) or context is None:
            return None
        if isinstance(context, ProjectedContext):
            assert context.images is not None
            context = context.images
        images = self._as_weights(context)
        return torch.cat([images, images.new_zeros(clips - len(images), *images.shape[1:])])

    def _as_weights(self, values: Tensor) -> Tensor:
        """In the type of the weights, unless autocast chooses types itself."""
        kind = values.device.type
        chosen = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        return values if chosen else values.to(self.x_embedder.weight.dtype)


def is_temporal(name: str) -> bool:
    """Whether a parameter name of a Denoiser belongs to the layers that 4D adds."""
    return any(f".{part}" in f".{name}" for part in TEMPORAL)


def reset_temporal(denoiser: Denoiser) -> None:
    """Gives the temporal layers their initial values: output projections of zero, the rest as torch draws it."""
    layers = [module for name, module in denoiser.named_modules() if is_temporal(f"{name}.")]
    for module in layers:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for module in layers:
        if isinstance(module, TemporalAttention):
            nn.init.zeros_(module.out_proj.weight)
            nn.init.zeros_(module.out_proj.bias)
