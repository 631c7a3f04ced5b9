"""The frozen autoencoder's view of a data set, computed once: training then reads latents instead of encoding."""

import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from sculpt4d.data.dataset import ClipDataset
from sculpt4d.data.lock import alone
from sculpt4d.model.vae import ShapeVAE
from sculpt4d.types import EncodedClip

log = logging.getLogger(__name__)


class LatentDataset(Dataset[EncodedClip]):
    """Encoded clips; item `number` picks object, reading and `frames` consecutive frames as a function of
    (seed, number), or, when `fixed`, object `number` from its first frame.

    mean, logvar (variants, objects, t, p, c) float16; images (views, objects, t, 3, h, w) uint8. Variant v shows view
    v modulo views; every second round of the views is mirrored where `mirror` says so (`ClipDataset` does the same).
    """

    def __init__(self, tensors: dict[str, Tensor], frames: int, seed: int, fixed: bool, mirror: bool = False) -> None:
        self.tensors, self.frames, self.seed, self.fixed, self.mirror = tensors, frames, seed, fixed, mirror
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
        views = len(self.tensors["images"])
        images = self.tensors["images"][variant % views, index, span].float() / 255
        return EncodedClip(mean, logvar, images.flip(-1) if self.mirror and variant // views % 2 else images)


def fingerprint(vae: ShapeVAE, dataset: ClipDataset, variants: int) -> str:
    """Changes with the weights, the objects and the way they are read."""
    digest = hashlib.sha256(repr((dataset.names, dataset.settings, variants)).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def encode_dataset(vae: ShapeVAE, dataset: ClipDataset, variants: int, folder: Path) -> dict[str, Tensor]:
    """All clips encoded `variants` times, each with other points; kept in `folder` under the fingerprint.

    Of several processes that ask for the same, one encodes.
    """
    path = folder / f"latents_{fingerprint(vae, dataset, variants)}.safetensors"
    if not path.is_file():
        with alone(path):
            if not path.is_file():
                _encode(vae, dataset, variants, path)
    return load_file(path)


@torch.no_grad()
def _encode(vae: ShapeVAE, dataset: ClipDataset, variants: int, path: Path) -> None:
    means, logvars, images = [], [], []
    views = min(variants, dataset.settings.views)
    numbers = range(variants * len(dataset))
    for number in track(numbers, description=f"encoding {len(dataset)} clips, {variants} readings"):
        clip = dataset[number]
        frames = clip.surface.shape[0]
        posterior = vae.encode(clip.surface, clip.queries.expand(frames, -1))
        means.append(posterior.mean.half())
        logvars.append(posterior.logvar.half())
        if number < views * len(dataset):
            images.append((255 * clip.images).round().to(torch.uint8))
    shape = (variants, len(dataset), *means[0].shape)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    tensors = {
        "mean": torch.stack(means).view(shape),
        "logvar": torch.stack(logvars).view(shape),
        "images": torch.stack(images).unflatten(0, (views, len(dataset))),
    }
    try:
        save_file(tensors, partial)
        partial.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}): free some space, or set data.root") from error
    finally:
        partial.unlink(missing_ok=True)
    log.info("latents: %d clips encoded into %s", len(dataset), path)
