"""Stage vae: surface points through the bottleneck and back to a truncated signed distance."""

from typing import Any

import lightning
import torch
from torch import Tensor

from sculpt4d.model.vae import ShapeVAE
from sculpt4d.training.optimise import Optimisation
from sculpt4d.training.steps import step_generator
from sculpt4d.training.strategies import shard_parts
from sculpt4d.types import Clip


class AutoencoderModule(lightning.LightningModule):
    """Reconstruction (absolute plus squared error of the field) and the Kullback-Leibler term.

    `truncation`: distance in box units at which the field saturates. `kl`: weight of the mean divergence of the
    channels that are not anchors. The losses of the released VAE are not public; these are ours.
    """

    def __init__(
        self, vae: ShapeVAE, optimisation: Optimisation, steps: int, truncation: float, kl: float, seed: int
    ) -> None:
        super().__init__()
        self.vae, self.optimisation, self.steps = vae, optimisation, steps
        self.truncation, self.kl, self.seed = truncation, kl, seed

    def configure_model(self) -> None:
        """Shards the networks where the strategy made a device mesh (FSDP2)."""
        if self.device_mesh is not None:
            for part in self.vae.children():
                shard_parts(part, self.device_mesh["data_parallel"])

    def losses(self, clip: Clip, generator: torch.Generator) -> dict[str, Tensor]:
        """field: L1 + MSE, kl: mean divergence, iou: of the signs at the labelled points."""
        surface, points, distance = (x.flatten(0, 1) for x in (clip.surface, clip.points, clip.distance))
        frames = clip.surface.shape[1]
        posterior = self.vae.encode(surface, clip.queries.repeat_interleave(frames, dim=0))
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
        field = self.vae.field(points, self.vae.prepare(posterior.sample(noise))).float()
        target = (distance / self.truncation).clamp(-1, 1)
        error = field - target
        free = posterior.divergence()[..., 3:] if self.vae.anchors else posterior.divergence()
        both, either = (field > 0) & (target > 0), (field > 0) | (target > 0)
        return {
            "field": error.abs().mean() + error.square().mean(),
            "kl": free.mean(),
            "iou": both.sum() / either.sum().clamp_min(1),
        }

    def training_step(self, batch: Clip, index: int) -> Tensor:
        losses = self.losses(batch, step_generator(self.seed, index, self.global_rank))
        loss = losses["field"] + self.kl * losses["kl"]
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, prog_bar=True)
        return loss

    def validation_step(self, batch: Clip, index: int) -> None:
        losses = self.losses(batch, step_generator(self.seed, index, 0, 1))
        self.log_dict({f"val/{name}": value for name, value in losses.items()}, sync_dist=True)
        self.log("val/loss", losses["field"] + self.kl * losses["kl"], sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        return self.optimisation.build(self.parameters(), self.steps)
