"""Latent cache: encode a data set once with the frozen autoencoder, then train on the stored latents."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from sculpt4d import identity
from sculpt4d.data.dataset import ClipDataset
from sculpt4d.files import file_lock, replacing_file
from sculpt4d.model.vae import ShapeVAE
from sculpt4d.types import EncodedClip

log = logging.getLogger(__name__)


class LatentDataset(Dataset[EncodedClip]):
    """Data set of encoded clips.

    Item `number` selects object, encoding and `frames` consecutive frames as a function of (seed, number). When
    `fixed`, it is object `number` from its first frame.

    mean, logvar (variants, objects, t, p, c) float16; images (objects, t, 3, h, w) uint8.
    """

    def __init__(self, tensors: dict[str, Tensor], frames: int, seed: int, fixed: bool) -> None:
        self.tensors, self.frames, self.seed, self.fixed = tensors, frames, seed, fixed
        stored = tensors["mean"].shape[2]
        if frames > stored:
            raise ValueError(f"frames={frames}, but the encoded clips hold {stored}")

    def __len__(self) -> int:
        return self.tensors["mean"].shape[1]

    def __getitem__(self, number: int) -> EncodedClip:
        variant, index, first = 0, number % len(self), 0
        if not self.fixed:
            rng = np.random.default_rng((self.seed, number))
            variants, objects, stored = self.tensors["mean"].shape[:3]
            variant, index = int(rng.integers(variants)), int(rng.integers(objects))
            first = int(rng.integers(stored - self.frames + 1))
        span = slice(first, first + self.frames)
        mean, logvar = (self.tensors[name][variant, index, span].float() for name in ("mean", "logvar"))
        return EncodedClip(mean, logvar, self.tensors["images"][index, span].float() / 255)


def fingerprint(vae: ShapeVAE, dataset: ClipDataset, variants: int) -> str:
    """Hash of the weights, the objects and the way they are read."""
    reading = identity.unlisted(dataset.settings, identity.READING)
    digest = hashlib.sha256(identity.digest([dataset.names, reading, variants]).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def encode_dataset(vae: ShapeVAE, dataset: ClipDataset, variants: int, folder: Path) -> dict[str, Tensor]:
    """Encode all clips `variants` times, each with other points, and store them in `folder` under the fingerprint.

    If several processes request the same encoding, only one computes it.
    """
    path = folder / f"latents_{fingerprint(vae, dataset, variants)}.safetensors"
    if not path.is_file():
        with file_lock(path):
            if not path.is_file():
                _encode(vae, dataset, variants, path)
    return load_file(path)


@torch.no_grad()
def _encode(vae: ShapeVAE, dataset: ClipDataset, variants: int, path: Path) -> None:
    means, logvars, images = [], [], []
    numbers = range(variants * len(dataset))
    for number in track(numbers, description=f"encoding {len(dataset)} clips, {variants} readings"):
        clip = dataset[number]
        frames = clip.surface.shape[0]
        posterior = vae.encode(clip.surface, clip.queries.expand(frames, -1))
        means.append(posterior.mean.half())
        logvars.append(posterior.logvar.half())
        if number < len(dataset):
            images.append((255 * clip.images).round().to(torch.uint8))
    shape = (variants, len(dataset), *means[0].shape)
    tensors = {
        "mean": torch.stack(means).view(shape),
        "logvar": torch.stack(logvars).view(shape),
        "images": torch.stack(images),
    }
    try:
        with replacing_file(path) as draft:
            save_file(tensors, draft)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}): free some space, or set data.root") from error
    log.info("latents: %d clips encoded into %s", len(dataset), path)
