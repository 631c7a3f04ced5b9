"""The schedule of strides that keeps the most attention of a dense model, at no more products than blockmask_decay.

python train.py attention=full model=tiny stage.coupling=clip output=runs/train/full
python -m benchmarks.studies.fit_strides runs/train/full/temporal.safetensors model=tiny stage.coupling=clip

A model that sees everything says what it looks at: the softmax mass that queries give to the blocks u = v (mod s) of
frames at a distance, averaged over layers, heads, clips of the training set and flow times. Every schedule of as many
strides as the paper's is tried; those with more products than `blockmask_decay` at the model's own length, or at one of
`--frames`, are left out. What comes out belongs into conf/attention/learned.yaml.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from jaxtyping import Float
from omegaconf import DictConfig
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from experiments.report import FORMATS, Table
from sculpt4d.attention.backends import BACKENDS
from sculpt4d.attention.patterns import Pattern, StridedPattern
from sculpt4d.attention.reference import reference
from sculpt4d.training.module import FlowModule
from sculpt4d.training.optim import step_generator
from sculpt4d.training.run import build_module

ROOT = Path(__file__).resolve().parents[2]
LADDER = (1, 2, 4, 8, 16, 32)
TIMES = 4  # flow times of a clip, evenly spread


class Fit(NamedTuple):
    """strides: the best schedule. kept: its share of the attention outside the anchor. paper: that of the paper's."""

    strides: tuple[int, ...]
    kept: float
    paper: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, searches and prints."""
    parser = argparse.ArgumentParser("python -m benchmarks.studies.fit_strides", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("weights", help="temporal layers trained with attention=full")
    parser.add_argument("overrides", nargs="*", help="of conf/train.yaml")
    parser.add_argument(
        "--frames", type=int, nargs="+", help="lengths at which products count; the model's without any"
    )
    parser.add_argument("--batches", type=int, default=8, help="of training clips that are looked at")
    given = parser.parse_args(arguments)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        chosen = [f"paths.root={ROOT}", *given.overrides, "stage=temporal", "attention=full", f"start={given.weights}"]
        cfg = compose("train", overrides=[*chosen, "output=runs/fit_strides"])
    paper = StridedPattern(block_size=cfg.model.block_size)
    mass = watch(cfg, given.batches)
    found = fit(mass, paper, given.frames or [cfg.frames], cfg.model.latents // cfg.model.block_size)
    rows = tuple((str(d), f"{row[0]:.3f}", *(f"{x / row[0]:.3f}" for x in row[1:])) for d, row in enumerate(mass))
    header = ("distance", "attention", *(f"kept at stride {stride}" for stride in LADDER[1:]))
    notes = (
        f"strides: {list(found.strides)} keep {found.kept:.4f} of the attention outside the first frame, "
        f"{list(paper.strides)} {found.paper:.4f}",
    )
    print(FORMATS["markdown"](Table("Attention of a dense model to frames at a distance", header, rows, notes)))


@torch.no_grad()
def watch(cfg: DictConfig, batches: int) -> Float[np.ndarray, "distances strides"]:
    """Mean softmax mass of a query on what every stride of the ladder keeps at every distance, the anchor left out."""
    sums: list[Float[Tensor, "distances strides"]] = []
    BACKENDS["watched"] = partial(_watched, sums, cfg.model.block_size)  # type: ignore[assignment]
    cfg.backend = "watched"
    module, encode = build_module(cfg)
    assert isinstance(module, FlowModule)
    module.eval()
    data = instantiate(cfg.data.module, encode=encode)
    data.prepare_data()
    data.setup("fit")
    clips = DataLoader(data.train, cfg.stage.batch_size)
    for index, batch in zip(track(range(batches), "looking at clips"), clips, strict=False):
        for part in range(TIMES):
            time = torch.full((len(batch[0]),), (part + 0.5) / TIMES)
            module.clip_losses(batch, time, step_generator(cfg.seed, index, part))
    return torch.stack(sums).mean(0).numpy()


def _watched(
    sums: list[Tensor], size: int, q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, frames: int
) -> Float[Tensor, "b h n d"]:
    """A backend: dense attention, and what it looks at is noted."""
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1).mean((0, 1))
    blocks = q.shape[2] // frames // size
    sums.append(by_distance(weights.unflatten(0, (-1, size)).sum(1).unflatten(1, (-1, size)).sum(2), frames, blocks))
    return reference(q, k, v, pattern, frames)


def by_distance(weights: Float[Tensor, "q k"], frames: int, blocks: int) -> Float[Tensor, "distances strides"]:
    """Mass of a mean query on the pairs of blocks of every distance and stride, the first frame's keys left out."""
    frame, block = torch.arange(frames).repeat_interleave(blocks), torch.arange(blocks).repeat(frames)
    distance = (frame[:, None] - frame).abs()
    share = weights / weights.sum() * (frame > 0)
    rows = []
    for far in range(frames):
        seen = share * (distance == far)
        rows.append(torch.stack([(seen * (block[:, None] % s == block % s)).sum() for s in LADDER]))
    return torch.stack(rows)


def fit(
    mass: Float[np.ndarray, "distances strides"], paper: StridedPattern, lengths: Sequence[int], blocks: int
) -> Fit:
    """The schedule of the most mass among those with no more products than the paper's at any of the lengths."""
    length = len(paper.strides)
    near = np.concatenate([mass[: length - 1], mass[length - 1 :].sum(0, keepdims=True)])  # the last stride goes on
    candidates = np.array(list(product(range(len(LADDER)), repeat=len(near))))
    strides = np.array(LADDER)[candidates]
    affordable = np.ones(len(candidates), dtype=bool)
    for frames in lengths:
        pairs = np.array([_pairs(frames, distance, len(near)) for distance in range(len(near))])
        most = np.minimum(paper.strides[: len(near)], blocks)
        affordable &= (pairs / np.minimum(strides, blocks)).sum(1) <= (pairs / most).sum() + 1e-9
    kept = near[np.arange(len(near)), candidates].sum(1)
    best = np.flatnonzero(affordable)[kept[affordable].argmax()]
    mine = [near[row, LADDER.index(stride)] for row, stride in enumerate(paper.strides[: len(near)])]
    return Fit(
        tuple(int(stride) for stride in strides[best]),
        float(kept[best] / near[:, 0].sum()),
        float(sum(mine) / near[:, 0].sum()),
    )


def _pairs(frames: int, distance: int, length: int) -> int:
    """Pairs (i, j) of frames with j > 0 at this distance; at the last of a schedule, at all from there on."""
    end = frames if distance == length - 1 else distance + 1
    return sum(1 for i in range(frames) for j in range(1, frames) if distance <= abs(i - j) < end)


if __name__ == "__main__":
    main()
