"""Networks of the golden folder: built from its config.json, filled from its files, strictly."""

import re

from torch import Tensor

from sculpt4d.checkpoints.released import denoiser_arguments, natural_rows, reference_rows, vae_arguments
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.model.vae import ShapeVAE

from .folder import config, entry, tensors

PACKED = re.compile(r"(blocks\.\d+\.(attn[12])\.to_)k\.(weight|bias)")


def packed(names: dict[str, Tensor]) -> list[list[str]]:
    """Names whose rows the reference packs together: q, k, v of self-attention, k, v of cross-attention."""
    found = [match for match in map(PACKED.fullmatch, names) if match]
    return [
        [f"{head}{letter}.{kind}" for letter in ("qkv" if part == "attn1" else "kv")]
        for head, part, kind in (match.groups() for match in found)
    ]


def natural(reference: dict[str, Tensor], heads: int) -> dict[str, Tensor]:
    """Tensors of a denoiser under our row order."""
    ours = dict(reference)
    for names in packed(reference):
        ours |= zip(names, natural_rows([reference[name] for name in names], heads), strict=True)
    return ours


def released(ours: dict[str, Tensor], heads: int) -> dict[str, Tensor]:
    """Tensors of a denoiser under the reference's row order; for gradients too."""
    reference = dict(ours)
    for names in packed(ours):
        reference |= zip(names, reference_rows([ours[name] for name in names], heads), strict=True)
    return reference


def denoiser(name: str) -> Denoiser:
    """The denoiser of NAME.safetensors, in eval mode."""
    settings = config()[entry("dit", name)]
    model = Denoiser(**denoiser_arguments(settings))
    model.load_state_dict(natural(tensors(name), settings["num_heads"]))
    return model.eval()


def autoencoder(name: str) -> ShapeVAE:
    """The autoencoder of NAME.safetensors, in eval mode."""
    model = ShapeVAE(**vae_arguments(config()[entry("vae", name)]))
    model.load_state_dict(tensors(name))
    return model.eval()
