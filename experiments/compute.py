"""Compute of the full-size model of conf/, built on the meta device: no memory, no weights, a second."""

from functools import cache
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from sculpt4d.compute import Decoding, Evaluation, count_decoding, count_evaluation
from sculpt4d.model.denoiser import Denoiser

CONF = Path(__file__).resolve().parents[1] / "conf"
MODEL, OURS, FULL = "hunyuan3d21", "blockmask_decay", "full"
TERA = 1e12


@cache
def config(attention: str = OURS) -> DictConfig:
    """The configuration of generate.py for the full-size model and a mask."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("generate", [f"model={MODEL}", f"attention={attention}"])


@cache
def denoiser(attention: str = OURS) -> Denoiser:
    """The denoiser under an option of conf/attention, without values."""
    cfg = config(attention)
    with torch.device("meta"):
        model: Denoiser = instantiate(cfg.model.denoiser, _partial_=True)(pattern=instantiate(cfg.attention))
    return model


def context_tokens() -> int:
    """Image tokens of a frame: the class token and the patches."""
    cfg = config().model
    return 1 + (cfg.image_size // cfg.conditioner.patch_size) ** 2


@cache
def evaluation(attention: str, frames: int) -> Evaluation:
    """One evaluation of the denoiser on a clip."""
    return count_evaluation(denoiser(attention), frames, config().model.latents, context_tokens())


@cache
def decoding() -> Decoding:
    """One frame through the decoder of the autoencoder."""
    cfg = config()
    with torch.device("meta"):
        return count_decoding(instantiate(cfg.model.vae), cfg.model.latents)


def kept(attention: str, frames: int) -> float:
    """Share of the pairs of full attention, 0 to 1."""
    return evaluation(attention, frames).temporal_scores / evaluation(FULL, frames).temporal_scores


def tera(number: float, digits: int = 2) -> str:
    """A count in units of 1e12."""
    return f"{number / TERA:.{digits}f}"
