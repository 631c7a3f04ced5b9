"""What the image tokens tell of a clip's motion, and how much of the mask of motion_adaptive follows from it.

python -m experiments.motion_signal [model=tiny data=folder data.root=DIR]     ten seconds for 14 held-out objects

Motion is the mean way of the surface points from a frame to the next. A clip's variation is the deviation of its steps
over their mean: 0 for a clip that moves evenly, in which there is nothing to adapt to.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig
from scipy.stats import rankdata
from torch import Tensor, nn

from experiments.table import FORMATS, Table
from sculpt4d.attention.adaptive import MotionPattern, PairwisePattern
from sculpt4d.checkpoints.build import build_denoiser, find_weights
from sculpt4d.checkpoints.names import PARTS
from sculpt4d.data.dataset import ClipSettings, holdout_clips
from sculpt4d.evaluation.run import build_data
from sculpt4d.model.motion import token_change
from sculpt4d.types import Clip

ROOT = Path(__file__).resolve().parents[1]


class Told(NamedTuple):
    """Of one clip. changed: share of the pairs of frames whose stride is not that of the schedule."""

    motion_variation: float
    token_variation: float
    token_rank_correlation: float
    pixel_rank_correlation: float
    changed: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints means and medians over the held-out objects."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(
            "evaluate",
            overrides=[f"paths.root={ROOT}", "attention=motion_adaptive", "output=runs/signal", *(arguments or ())],
        )
    found = np.array(list(clips(cfg)))
    rows = [("mean", *_cells(found.mean(0))), ("median", *_cells(np.median(found, 0)))]
    header = ("", *(name.replace("_", " ") for name in Told._fields))
    title = f"{len(found)} held-out objects of data={cfg.data.name}, {cfg.frames} frames, model={cfg.model.name}"
    print(FORMATS["markdown"](Table(title, header, tuple(rows))))


@torch.no_grad()
def clips(cfg: DictConfig) -> Iterator[Told]:
    """Every held-out object, read from its first frame."""
    build_data(cfg)
    conditioner = build_denoiser(cfg, False, find_weights(cfg, PARTS[:-1])).conditioner.eval()
    pattern: MotionPattern = instantiate(cfg.attention)
    settings: ClipSettings = instantiate(cfg.data.settings)
    for _, _, clip, _ in holdout_clips(Path(cfg.data.root), settings, cfg.limit):
        yield told(clip, conditioner, pattern)


def told(clip: Clip, conditioner: nn.Module, pattern: MotionPattern) -> Told:
    """One clip: its surface, its pictures and its mask."""
    motion = clip.surface[..., :3].diff(dim=0).norm(dim=-1).mean(1).numpy()
    tokens = token_change(conditioner(clip.images)[None])
    pixels = clip.images.diff(dim=0).abs().mean((1, 2, 3)).numpy()
    change = tokens[0].numpy()
    return Told(
        _variation(motion),
        _variation(change),
        _ranks(motion, change),
        _ranks(motion, pixels),
        _changed(pattern, tokens),
    )


def _variation(steps: Float[np.ndarray, " steps"]) -> float:
    return float(steps.std() / steps.mean())


def _ranks(one: Float[np.ndarray, " steps"], other: Float[np.ndarray, " steps"]) -> float:
    """Spearman's correlation."""
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _changed(pattern: MotionPattern, tokens: Float[Tensor, "1 steps"]) -> float:
    """Share of the pairs of different frames."""
    (own,) = pattern.for_clips(tokens)
    if not isinstance(own, PairwisePattern):
        return 0.0
    frames = len(own.strides)
    by_time = [[own.schedule.stride(abs(i - j)) for j in range(1, frames)] for i in range(frames)]
    differ = np.array(own.strides)[:, 1:] != np.array(by_time)
    return float(differ.sum() / (frames * (frames - 1)))


def _cells(values: Float[np.ndarray, " n"]) -> tuple[str, ...]:
    return tuple(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
