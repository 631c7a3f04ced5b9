"""A configuration to networks with their weights."""

import logging
from pathlib import Path
from typing import NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from sculpt4d.model.checkpoint import load_weights
from sculpt4d.model.denoiser import Denoiser, is_temporal
from sculpt4d.model.vae import ShapeVAE

log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """The three networks of a model size."""

    vae: ShapeVAE
    conditioner: nn.Module
    denoiser: Denoiser


class Bundle(nn.Module):
    """Conditioner and denoiser under the names that weight files use."""

    def __init__(self, conditioner: nn.Module, denoiser: Denoiser) -> None:
        super().__init__()
        self.conditioner, self.denoiser = conditioner, denoiser


STAGES = ("vae", "base", "temporal")


def weight_files(cfg: DictConfig) -> dict[str, str | None]:
    """The weights file of every stage: from `cfg.checkpoint` where it has one, else the model's own.

    A checkpoint is a weights file of temporal layers, or a folder with vae, base or temporal.safetensors in it or in
    subfolders of those names (a training run). Raises FileNotFoundError when it holds none of them.
    """
    files = {stage: cfg.model.weights[stage] for stage in STAGES}
    chosen = cfg.get("checkpoint")
    if chosen is None:
        return files
    path = Path(chosen)
    if path.is_file():
        return files | {"temporal": str(path)}
    found = {}
    for stage in STAGES:
        for candidate in (path / f"{stage}.safetensors", path / stage / f"{stage}.safetensors"):
            if candidate.is_file():
                found[stage] = str(candidate)
    if not found:
        raise FileNotFoundError(
            f"checkpoint={path} is no weights file and no folder with vae, base or temporal.safetensors: give the "
            "folder of a finished training run"
        )
    return files | found


def base_names(bundle: nn.Module) -> tuple[str, ...]:
    """Tensor names of the 3D base: everything that is not a temporal layer."""
    return tuple(name for name in bundle.state_dict() if not is_temporal(name))


def temporal_names(bundle: nn.Module) -> tuple[str, ...]:
    """Tensor names of the temporal layers."""
    return tuple(name for name in bundle.state_dict() if is_temporal(name))


def build_vae(cfg: DictConfig, weights: str | None) -> ShapeVAE:
    """The autoencoder; `weights` None leaves it as initialised, and says so."""
    vae: ShapeVAE = instantiate(cfg.model.vae)
    if weights is None:
        log.warning("vae: fresh weights, as none are configured for model=%s", cfg.model.name)
    else:
        load_weights(vae, Path(weights), {"model": cfg.model.name, "stage": "vae"})
        log.info("vae: %s", weights)
    return vae


def build_denoiser(cfg: DictConfig, temporal: bool, base: str | None, layers: str | None) -> Bundle:
    """Conditioner and denoiser. `base`, `layers`: weight files of the 3D base and of the temporal layers, or None."""
    pattern = instantiate(cfg.attention) if temporal else None
    # partial, as Hydra would turn a pattern among its keywords into a config
    denoiser: Denoiser = instantiate(cfg.model.denoiser, _partial_=True)(pattern=pattern, backend=cfg.backend)
    bundle = Bundle(instantiate(cfg.model.conditioner), denoiser)
    if base is None:
        log.warning("base: fresh weights, as none are configured for model=%s", cfg.model.name)
    else:
        load_weights(bundle, Path(base), {"model": cfg.model.name, "stage": "base"}, base_names(bundle))
        log.info("base: %s", base)
    if temporal and layers is not None:
        expected = {"model": cfg.model.name, "stage": "temporal", "attention": repr(pattern)}
        load_weights(bundle, Path(layers), expected, temporal_names(bundle))
        log.info("temporal layers: %s", layers)
    return bundle
