"""Training stages `base` and `temporal`: frozen autoencoder, denoiser, flow loss."""

from collections.abc import Callable
from typing import Any

import lightning
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sculpt4d.flow import clip_noise, couple, flow_loss
from sculpt4d.model.condition import drop_context
from sculpt4d.model.denoiser import Denoiser, is_temporal
from sculpt4d.model.vae import Posterior, ShapeVAE
from sculpt4d.training.optim import Optimisation, step_generator
from sculpt4d.training.strategies import shard_parts
from sculpt4d.types import Clip, EncodedClip

BINS = 4  # bins of flow time for which the loss is reported separately


class FlowModule(lightning.LightningModule):
    """Flow matching: train the denoiser to predict velocity.

    `train_base`: train everything but the autoencoder; otherwise only the temporal layers.
    `shared`: all frames of a clip share diffusion and posterior noise.
    `share`: common fraction of the shared diffusion noise; 1 as in the paper. At 1, the difference of two noised frames
    gives the difference of their data exactly, and temporal layers may read it instead of the images. Below 1 it does
    not.
    `dropout`: fraction of clips whose context is zeroed. `coupling`: see `flow.couple`.
    """

    def __init__(
        self,
        vae: ShapeVAE,
        conditioner: nn.Module,
        denoiser: Denoiser,
        optimisation: Optimisation,
        time: Callable[..., Tensor],
        steps: int,
        train_base: bool,
        shared: bool,
        share: float,
        dropout: float,
        coupling: str,
        seed: int,
    ) -> None:
        super().__init__()
        self.vae, self.conditioner, self.denoiser = vae, conditioner, denoiser
        self.optimisation, self.time, self.steps, self.train_base = optimisation, time, steps, train_base
        self.shared, self.share, self.dropout = shared, share, dropout
        self.coupling, self.seed = coupling, seed
        self.vae.requires_grad_(False)
        if not train_base:
            self.conditioner.requires_grad_(False)
            for name, parameter in self.denoiser.named_parameters():
                parameter.requires_grad_(is_temporal(name))
        self.train()

    def configure_model(self) -> None:
        """Shard the networks if the strategy has a device mesh (FSDP2)."""
        if self.device_mesh is not None:
            shard_parts(self.denoiser, self.device_mesh["data_parallel"])
            shard_parts(self.conditioner, self.device_mesh["data_parallel"])

    @property
    def sharded(self) -> bool:
        """Whether the networks are sharded, so that all processes must run them together."""
        return self.device_mesh is not None

    def train(self, mode: bool = True) -> "FlowModule":
        """Set the training mode, but keep frozen parts in eval mode."""
        super().train(mode)
        self.vae.eval()
        if not self.train_base:
            self.conditioner.eval()
            self.denoiser.eval()
            for name, part in self.denoiser.named_modules():
                if is_temporal(f"{name}."):
                    part.train(mode)
        return self

    @torch.no_grad()
    def encode(self, batch: Clip | EncodedClip) -> EncodedClip:
        """Posterior of every frame. An encoded batch is returned unchanged."""
        if isinstance(batch, EncodedClip):
            return batch
        frames = batch.surface.shape[1]
        posterior = self.vae.encode(batch.surface.flatten(0, 1), batch.queries.repeat_interleave(frames, dim=0))
        mean, logvar = (rearrange(x, "(b t) p c -> b t p c", t=frames) for x in posterior)
        return EncodedClip(mean, logvar, batch.images)

    def context(self, images: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t s x"]:
        """Image tokens of every frame."""
        tokens = self.conditioner(images.flatten(0, 1))
        return rearrange(tokens, "(b t) s x -> b t s x", b=images.shape[0])

    def clip_losses(
        self, batch: Clip | EncodedClip, time: Float[Tensor, " b"], generator: torch.Generator
    ) -> Float[Tensor, " b"]:
        """Flow loss of every clip at the given flow times."""
        clip = self.encode(batch)
        shape = tuple(clip.mean.shape)
        posterior_noise = clip_noise(shape, 1.0 if self.shared else 0.0, generator).to(clip.mean)  # type: ignore[arg-type]
        data = self.vae.normalise(Posterior(clip.mean, clip.logvar).sample(posterior_noise))
        noise = clip_noise(shape, self.share if self.shared else 0.0, generator).to(data)  # type: ignore[arg-type]
        data = couple(data, noise, self.coupling)
        with torch.set_grad_enabled(self.train_base and torch.is_grad_enabled()):
            context = self.context(clip.images)
        if self.training:
            context = drop_context(context, self.dropout, generator)
        return flow_loss(lambda noised, now: self.denoiser(noised, now, context), data, noise, time.to(data))

    def training_step(self, batch: Clip | EncodedClip, index: int) -> Tensor:
        generator = step_generator(self.seed, index, self.global_rank)
        time = self.time(len(batch[0]), generator)
        losses = self.clip_losses(batch, time, generator)
        self._log_bins("train", losses.detach(), time)
        self.log("train/loss", losses.detach().mean(), prog_bar=True)
        return losses.mean()

    def validation_step(self, batch: Clip | EncodedClip, index: int) -> None:
        """Loss at evenly spaced flow times with fixed noise, so that steps are comparable."""
        count = len(batch[0])
        losses = []
        for part in range(BINS):
            time = torch.full((count,), (part + 0.5) / BINS)
            losses.append(self.clip_losses(batch, time, step_generator(self.seed, index, part, 1)))
            self._log_bins("val", losses[-1], time)
        self.log("val/loss", torch.stack(losses).mean(), prog_bar=True, sync_dist=True, batch_size=count)

    def _log_bins(self, split: str, losses: Float[Tensor, " b"], time: Float[Tensor, " b"]) -> None:
        for part in range(BINS):
            inside = (time * BINS).long().clamp_max(BINS - 1) == part
            if inside.any():
                value = losses[inside.to(losses.device)].mean()
                self.log(
                    f"{split}/loss_time_{part / BINS:.2f}",
                    value,
                    sync_dist=split == "val",
                    batch_size=int(inside.sum()),
                )

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        return self.optimisation.build(self.parameters(), self.steps)
