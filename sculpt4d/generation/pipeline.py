"""Networks and a sampler to meshes: one noise for the clip, latents of all frames at once, then a surface per frame."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from einops import rearrange
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig
from torch import Tensor, nn

from sculpt4d.flow import clip_noise
from sculpt4d.generation.parts import build_denoiser, build_vae, weight_files
from sculpt4d.geometry.isosurface import extract
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.model.vae import ShapeVAE
from sculpt4d.sampler import Euler
from sculpt4d.types import Clip, Mesh, MeshSequence

BASELINES = ("per_frame", "per_frame_shared_noise", "reconstruction")
Progress = Callable[[str, int, int], None]  # phase, done, total


@dataclass(frozen=True)
class Pipeline:
    """Everything that generation needs. `resolution`: cells per axis of the grid on which surfaces are found."""

    vae: ShapeVAE
    conditioner: nn.Module
    denoiser: Denoiser
    sampler: Euler
    resolution: int = 64

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise ValueError(f"resolution={self.resolution}: the grid of the surface needs at least one cell an axis")

    @torch.no_grad()
    def generate(self, images: Float[Tensor, "t 3 h w"], seed: int, progress: Progress | None = None) -> MeshSequence:
        """Meshes of all frames; equal inputs and seeds give equal meshes."""
        context = rearrange(self.conditioner(images), "t s x -> 1 t s x")
        shape = (1, images.shape[0], self.vae.num_latents, self.vae.embed_dim)
        generator = torch.Generator().manual_seed(seed)
        noise = clip_noise(shape, self.sampler.share, generator).to(context)
        told = None if progress is None else lambda done, total: progress("denoising", done, total)
        latents = self.sampler.sample(self.denoiser, noise, context, told)
        return self.decode(self.vae.denormalise(latents)[0], progress)

    @torch.no_grad()
    def reconstruct(self, clip: Clip, seed: int) -> MeshSequence:
        """The clip's own surface through the autoencoder, with one posterior noise: the best a denoiser could do."""
        posterior = self.vae.encode(clip.surface, clip.queries.expand(clip.surface.shape[0], -1))
        noise = clip_noise((1, *posterior.mean.shape), 1.0, torch.Generator().manual_seed(seed))[0]
        return self.decode(posterior.sample(noise))

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "t p c"], progress: Progress | None = None) -> MeshSequence:
        """A closed mesh per frame, empty where the field is nowhere positive."""
        meshes: list[Mesh] = []
        for frame in latents:
            decoded = self.vae.decode(frame[None])
            meshes.append(extract(partial(self._field, decoded), self.resolution))
            if progress is not None:
                progress("decoding", len(meshes), len(latents))
        return MeshSequence(tuple(meshes))

    def _field(self, decoded: Float[Tensor, "1 p d"], points: Float[Tensor, "m 3"]) -> Float[Tensor, " m"]:
        return self.vae.field(points[None].to(decoded.device), decoded)[0].float()


def load_pipeline(cfg: DictConfig) -> Pipeline:
    """The pipeline that cfg.model, cfg.attention, cfg.checkpoint and cfg.baseline describe, ready to run.

    `checkpoint`: see `weight_files`; null takes the model's own weights.
    Baselines run the base without temporal layers, with independent or with shared noise.
    """
    baseline = cfg.get("baseline")
    if baseline is not None and baseline not in BASELINES:
        raise ValueError(f"baseline={baseline} is not one of {', '.join(BASELINES)}")
    sampler: Euler = instantiate(cfg.sampler)
    files = weight_files(cfg)
    vae = build_vae(cfg, files["vae"])
    bundle = build_denoiser(cfg, baseline is None, files["base"], files["temporal"])
    if baseline in ("per_frame", "per_frame_shared_noise"):
        share = 0.0 if baseline == "per_frame" else 1.0
        sampler = Euler(sampler.steps, sampler.guidance, sampler.shift, share)
    for network in (vae, bundle):
        network.eval().requires_grad_(False)
    return Pipeline(vae, bundle.conditioner, bundle.denoiser, sampler, cfg.resolution)
