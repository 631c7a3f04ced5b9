"""How rendered sequences look beside the true ones: the constants, and one pair of sequences measured by them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sculpt4d.evaluation.appearance import clip as appearance_clip
from sculpt4d.evaluation.appearance import dreamsim as appearance_dreamsim
from sculpt4d.evaluation.appearance import i3d as appearance_i3d
from sculpt4d.evaluation.appearance import lpips as appearance_lpips
from sculpt4d.evaluation.appearance.images import cropped, on_white, resized, resized_exactly
from sculpt4d.evaluation.appearance.networks import find_file
from sculpt4d.render.cameras import Camera, read_transforms, ring_cameras

PERFECT = MappingProxyType({"lpips": 0.0, "clip": 1.0, "fvd": 0.0, "dreamsim": 0.0})  # of a sequence against itself
DEFINITIONS = MappingProxyType(
    {
        "lpips": "VGG16, version 0.1, at the full size; mean over pixels and layers",
        "clip": "cosine of the image embeddings of pictures resized to the network's size (bicubic, antialiased)",
        "dreamsim": "one minus the cosine of the ensemble's embeddings at 224 pixels, each with its own mean taken off",
        "fvd": "Fréchet distance between Gaussians fitted to I3D's logits (224 pixels, mean over time) of all clips of "
        "all objects and views: one number for the set",
        "average": "lpips, clip, dreamsim: mean over frames, then views, then objects",
        "error": "standard error over objects",
        "failed_frame": "a predicted mesh without a surface is drawn as an empty, white picture",
        "colour": "meshes of both sides are drawn in the same clay, whatever colours their files have",
    }
)
Rgb = UInt8[np.ndarray, "t s s 3"]


@dataclass(frozen=True)
class Appearance:
    """measures: names of `PERFECT`. networks: by measure, `weights` (and `heads` of lpips) as locations, `epsilon` of
    fvd. download: whether hf:// locations may be fetched. size: of the pictures; azimuths, elevation, field: of the
    cameras, in degrees; cameras: a transforms.json in their place. crop: see `appearance_pictures.cropped`. window:
    frames of a clip of FVD, None for whole sequences. batch: pictures a network is given at a time.
    """

    measures: Sequence[str] = tuple(PERFECT)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    download: bool = False
    size: int = 512
    azimuths: Sequence[int | float] = (-75, 15, 105, 195)
    elevation: int | float = 0
    field: int | float = 35
    cameras: str | None = None
    crop: bool = False
    window: int | None = None
    batch: int = 4

    def __post_init__(self) -> None:
        unknown = [name for name in self.measures if name not in PERFECT]
        if unknown or not self.measures:
            raise ValueError(f"metrics.measures={list(self.measures)}: choose among {', '.join(PERFECT)}")
        if min(self.size, self.batch) < 1 or not 0 < self.field < 180 or (not self.azimuths and not self.cameras):
            raise ValueError(
                f"metrics.size={self.size}, batch={self.batch}, field={self.field}, azimuths={list(self.azimuths)}: "
                "sizes are at least 1, the field is an angle below 180, and there is at least one azimuth"
            )
        if self.window is not None and self.window < appearance_i3d.SHORTEST:
            raise ValueError(f"metrics.window={self.window}: I3D needs {appearance_i3d.SHORTEST} frames or more")

    @property
    def epsilon(self) -> float:
        """Of I3D's batch norms."""
        return float(self.networks.get("fvd", {}).get("epsilon", appearance_i3d.EPSILON))

    def views(self) -> tuple[Camera, ...]:
        """The cameras. Raises FileNotFoundError or ValueError for the file that was to name them."""
        if self.cameras is None:
            return ring_cameras(tuple(self.azimuths), self.elevation, self.field)
        try:
            return read_transforms(json.loads(Path(self.cameras).read_text()))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.cameras} holds no cameras ({error!r}): give a transforms.json of prepare.py"
            ) from error

    def find_networks(self) -> dict[str, tuple[Path, ...]]:
        """The files of every measure. Raises ValueError that names all missing ones, and how to get them, at once."""
        found, refused = dict[str, tuple[Path, ...]](), list[str]()
        for name in self.measures:
            try:
                found[name] = self._files(name)
            except (OSError, ValueError) as error:
                refused.append(f"{name}: {error}")
        if refused:
            left = [name for name in self.measures if name in found]
            without = f", or leave them out: metrics.measures=[{','.join(left)}]" if left else ""
            raise ValueError("\n  ".join([f"networks are missing{without}", *refused]))
        return found

    def _files(self, name: str) -> tuple[Path, ...]:
        given = self.networks.get(name, {})
        weights = given.get("weights")
        if name == "lpips":
            heads, remedy = given.get("heads"), appearance_lpips.REMEDY
            network = find_file(weights, appearance_lpips.NAMES, remedy, self.download)
            learned = appearance_lpips.shipped_heads() if heads is None else Path(heads)
            return network, find_file(str(learned), (), "metrics.networks.lpips.heads takes LPIPS's own vgg.pth")
        if name == "clip":
            tower = find_file(weights, appearance_clip.NAMES, appearance_clip.REMEDY, self.download)
            settings = tower.with_name("config.json")
            return tower, find_file(str(settings), (), appearance_clip.REMEDY)
        if name == "fvd":
            return (
                find_file(weights, ("i3d_pretrained_400.pt", "rgb_imagenet.pt"), appearance_i3d.REMEDY, self.download),
            )
        if weights is None:
            raise ValueError(f"no weights are given: {appearance_dreamsim.REMEDY}")
        return tuple(appearance_dreamsim.dreamsim_files(Path(weights)))


LOADERS: Mapping[str, Callable[[tuple[Path, ...], Appearance], nn.Module]] = MappingProxyType(
    {
        "lpips": lambda files, settings: appearance_lpips.load_lpips(*files),
        "clip": lambda files, settings: appearance_clip.load_clip(files[0]),
        "fvd": lambda files, settings: appearance_i3d.load_i3d(files[0], settings.epsilon),
        "dreamsim": lambda files, settings: appearance_dreamsim.load_dreamsim(files),
    }
)


class Judge:
    """The networks, loaded once. Raises ValueError for files that are not theirs."""

    def __init__(self, settings: Appearance, files: Mapping[str, tuple[Path, ...]], device: str) -> None:
        self.settings, self.device = settings, device
        self.networks = {name: LOADERS[name](files[name], settings).to(device) for name in settings.measures}

    def pictures(self, frames: Sequence[UInt8[np.ndarray, "_h _w 4"]], where: str) -> Rgb:
        """Frames as they are stored, on white in the size that is compared."""
        return (cropped if self.settings.crop else on_white)(frames, self.settings.size, where)

    def compare(self, predicted: Rgb, truth: Rgb) -> dict[str, float]:
        """What is measured frame by frame, as the mean over the frames of a view."""
        values = {}
        for name in self.settings.measures:
            if name == "lpips":
                values[name] = self._lpips(predicted, truth)
            elif name != "fvd":
                mine, theirs = self._embed(name, predicted), self._embed(name, truth)
                alike = appearance_clip.similarity if name == "clip" else appearance_dreamsim.distance
                values[name] = float(alike(mine, theirs).mean())
        return values

    def features(self, pictures: Rgb) -> Float[np.ndarray, "k c"]:
        """What I3D says of every clip of a view; no row when the view is shorter than a clip or than nine frames."""
        window = self.settings.window or len(pictures)
        count = len(pictures) // window if window >= appearance_i3d.SHORTEST else 0
        small = resized_exactly(pictures[: count * window], appearance_i3d.SIDE) / 127.5 - 1
        network, rows = self.networks["fvd"], []
        for start in range(0, count * window, window):
            clip = torch.from_numpy(small[start : start + window]).permute(3, 0, 1, 2)[None]
            rows.append(self._run(network, clip))
        return torch.cat(rows).numpy() if rows else np.zeros((0, 0), np.float32)

    def _lpips(self, predicted: Rgb, truth: Rgb) -> float:
        pairs = zip(self._batches(predicted), self._batches(truth), strict=True)
        return float(torch.cat([self._run(self.networks["lpips"], *pair) for pair in pairs]).mean())

    def _embed(self, name: str, pictures: Rgb) -> Float[Tensor, "t c"]:
        network: Any = self.networks[name]
        return torch.cat([self._run(network, batch) for batch in self._batches(resized(list(pictures), network.size))])

    def _batches(self, pictures: Rgb) -> list[Float[Tensor, "b 3 s s"]]:
        """Pictures in [0, 1], a batch at a time."""
        every = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        return [batch.float() / 255 for batch in every.split(self.settings.batch)]

    @torch.inference_mode()
    def _run(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        return network(*(entry.to(self.device) for entry in inputs)).float().cpu()
