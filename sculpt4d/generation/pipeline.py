"""Generation pipeline: noise to latents of all frames, then one mesh per frame.

Also loads the pipeline from a configuration, selects device and precision, and measures peak memory.
"""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig
from torch import Tensor, nn

from sculpt4d.checkpoints.build import Progress, build_denoiser, build_vae, find_weights
from sculpt4d.checkpoints.names import PARTS
from sculpt4d.flow import clip_noise
from sculpt4d.generation.surface import DecodedClip, Surface
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.model.vae import ShapeVAE
from sculpt4d.sampler import Euler
from sculpt4d.types import Clip, MeshSequence

log = logging.getLogger(__name__)

BASELINES = ("per_frame", "per_frame_shared_noise", "reconstruction")
CPU = torch.device("cpu")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Pipeline:
    """Networks, sampler and surface settings of a generation.

    `device`: device of the networks. `offload`: keep a network on the device only while it runs. `project`: keep the
    keys and values of the context for the whole clip (3.8 GB at full size, 16 frames, half precision); otherwise they
    are computed again at every step.
    """

    vae: ShapeVAE
    conditioner: nn.Module
    denoiser: Denoiser
    sampler: Euler
    surface: Surface
    device: torch.device = CPU
    offload: bool = False
    project: bool = True

    @torch.no_grad()
    def generate(self, images: Float[Tensor, "t 3 h w"], seed: int, progress: Progress | None = None) -> MeshSequence:
        """Generate the meshes of all frames. Equal inputs and seeds give equal meshes."""
        return self.decode(self.sample(images, seed, progress), progress).sequence

    @torch.no_grad()
    def sample(
        self, images: Float[Tensor, "t 3 h w"], seed: int, progress: Progress | None = None
    ) -> Float[Tensor, "t p c"]:
        """Sample the autoencoder's latents of all frames together, in float32 between the steps."""
        with self._at_work(self.conditioner):
            context = rearrange(self.conditioner(images.to(self.device)), "t s x -> 1 t s x")
        shape = (1, images.shape[0], self.vae.num_latents, self.vae.embed_dim)
        noise = clip_noise(shape, self.sampler.share, torch.Generator().manual_seed(seed)).to(self.device)
        told = None if progress is None else lambda done, total: progress("denoising", done, total)
        with self._at_work(self.denoiser):
            known = self.denoiser.project(context) if self.project else context
            latents = self.sampler.sample(self.denoiser, noise, known, told)
        with self._at_work(self.vae):
            return self.vae.denormalise(latents)[0]

    @torch.no_grad()
    def reconstruct(self, clip: Clip, seed: int) -> MeshSequence:
        """Autoencode the clip's own surface with one posterior noise: the upper bound for a denoiser."""
        with self._at_work(self.vae):
            surface, queries = clip.surface.to(self.device), clip.queries.to(self.device)
            posterior = self.vae.encode(surface, queries.expand(clip.surface.shape[0], -1))
        noise = clip_noise((1, *posterior.mean.shape), 1.0, torch.Generator().manual_seed(seed))[0]
        return self.decode(posterior.sample(noise.to(posterior.mean))).sequence

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "t p c"], progress: Progress | None = None) -> DecodedClip:
        """Extract a mesh per frame and count field queries. A mesh is empty if the field is nowhere positive."""
        with self._at_work(self.vae):
            return self.surface.decode(self.vae, latents.to(self.device), progress)

    @contextmanager
    def _at_work(self, network: nn.Module) -> Iterator[None]:
        """Move `network` to the device; with offloading, move it back to the CPU afterwards."""
        if next(network.parameters()).device != self.device:
            network.to(self.device)
        yield
        if self.offload:
            network.to(CPU)


def pick_device(name: str) -> torch.device:
    """Device by name: `auto` is CUDA if available, else the CPU. Raises ValueError for an unavailable device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={name} cannot be used ({error}): choose auto, cpu or cuda") from error
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Precision by name: `auto` is bf16 on CUDA and fp32 elsewhere. Raises ValueError for an unknown name."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in PRECISIONS:
        raise ValueError(f"precision={name} is not one of auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def peak_memory(device: torch.device) -> dict[str, int]:
    """Peak memory of this process in bytes: resident on the host, and allocated on a CUDA device."""
    host = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    return host | ({"device": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {})


def load_pipeline(cfg: DictConfig, progress: Progress | None = None) -> Pipeline:
    """Load the pipeline described by cfg.model, cfg.attention, cfg.checkpoint and cfg.baseline.

    `checkpoint`: see `find_weights`; null uses the model's own weights.
    Baselines run the base without temporal layers, with independent or with shared noise.
    """
    baseline = cfg.get("baseline")
    if baseline is not None and baseline not in BASELINES:
        raise ValueError(f"baseline={baseline} is not one of {', '.join(BASELINES)}")
    device = pick_device(cfg.device)
    dtype = pick_precision(cfg.precision, device)
    sampler: Euler = instantiate(cfg.sampler)
    surface: Surface = instantiate(cfg.surface)
    temporal = baseline is None
    sources = find_weights(cfg, PARTS if temporal else PARTS[:-1])
    if temporal and sources["temporal"] is None and sources["denoiser"] is not None:
        log.warning(
            "no temporal layers are given, so they start as zeros and frames do not see each other: "
            "baseline=per_frame_shared_noise gives the same meshes in less time"
        )
    vae = build_vae(cfg, sources, dtype, progress)
    bundle = build_denoiser(cfg, temporal, sources, dtype, progress)
    if baseline in ("per_frame", "per_frame_shared_noise"):
        sampler = replace(sampler, share=0.0 if baseline == "per_frame" else 1.0)
    if cfg.low_memory:
        bundle.denoiser.save_memory()
        sampler = replace(sampler, halves_in_turn=True)
    for network in (vae, bundle):
        network.eval().requires_grad_(False)
    parts = (vae, bundle.conditioner, bundle.denoiser)
    return Pipeline(*parts, sampler, surface, device, cfg.offload, project=not cfg.low_memory)
