"""Compute of the full-size model, counted from its layers, beside Tables A1 and A2 of the paper.

Masks, sizes and steps are those of conf/. The model is built on the meta device: seconds, no GPU, no weights.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments import papers
from experiments.report import Table
from sculpt4d.compute import Decoding, Evaluation, Sampling, count_decoding, count_evaluation, count_sampling
from sculpt4d.model.denoiser import Denoiser

CONF = Path(__file__).resolve().parents[1] / "conf"
MODEL, OURS, FULL = "hunyuan3d21", "blockmask_decay", "full"
TERA = 1e12
FRAMES = (8, 16, 32, 64)
SAVINGS = Sampling._fields[1:]
RELEASE_CELLS, RELEASE_CHUNK = 384, 8000  # the release's grid, and the positions it decodes at a time
MASKS = papers.COMPARISONS["a1_masks"]
PUBLISHED_MASKS = {  # option of conf/attention to "PFLOPs" at 16 frames
    entry.variant: MASKS.published.rows[entry.label]["compute"]
    for entry in MASKS.entries
    if entry.label in MASKS.published.rows and entry.variant is not None
} | {"temporal_only": papers.COMPONENTS.rows["Temporal attention"]["compute"]}


class PublishedLength(NamedTuple):
    """A row of Table A2: "PFLOPs" with the mask and without, their ratio and the kept pairs in percent."""

    sparse: float
    full: float
    ratio: float
    kept: float


PUBLISHED = {int(frames): PublishedLength(**row) for frames, row in papers.A2.rows.items()}  # by frames


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
def decoded_frame() -> Decoding:
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


def masks() -> Table:
    """A row for every mask, the paper's first."""
    frames = config().model.frames
    names = [*PUBLISHED_MASKS, *sorted({path.stem for path in CONF.glob("attention/*.yaml")} - set(PUBLISHED_MASKS))]
    full, rows = evaluation(FULL, frames), []
    for name in names:
        one, paper = evaluation(name, frames), PUBLISHED_MASKS.get(name)
        rows.append(
            (
                name,
                f"{100 * kept(name, frames):.2f}",
                tera(one.temporal_scores),
                tera(one.total),
                f"{100 * one.total / full.total:.1f}",
                *((f"{paper:.1f}", f"{paper - one.temporal_scores / TERA:.1f}") if paper else ("", "")),
            )
        )
    return Table(
        f"Table A1, compute: one evaluation of the denoiser on {frames} frames, without guidance, in TMAC (1e12 "
        "multiply-accumulates; 1 MAC = 2 FLOP). Columns headed paper are published, in the paper's unit",
        (
            *("mask", "kept pairs (%)", "temporal scores (TMAC)", "sum (TMAC)", "of full (%)"),
            *('paper: "PFLOPs"', "paper: less temporal scores"),
        ),
        tuple(rows),
        (
            "The paper's unit is TMAC too (see a2_compute), but less is left beside the temporal scores than the "
            "architecture has, and not the same in every row.",
        ),
    )


def components() -> Table:
    """What one evaluation spends where."""
    ones, full = ([evaluation(name, frames) for frames in FRAMES] for name in (OURS, FULL))
    shown = FRAMES.index(16)
    rows = [(name, [getattr(one, name) for one in ones]) for name in (*Evaluation._fields, "total")]
    shares = [f"{100 * numbers[shown] / ones[shown].total:.1f}" for _, numbers in rows]
    rows += [(f"{name} if {FULL}", [getattr(one, name) for one in full]) for name in ("temporal_scores", "total")]
    return Table(
        f"One evaluation of the denoiser on one clip under {OURS}, without guidance, in TMAC (1e12 "
        "multiply-accumulates; 1 MAC = 2 FLOP)",
        ("component", *(f"{frames} frames (TMAC)" for frames in FRAMES), f"share at {FRAMES[shown]} frames (%)"),
        tuple(
            (name.replace("_", " "), *(tera(number, 3) for number in numbers), share)
            for (name, numbers), share in zip(rows, [*shares, "", ""], strict=True)
        ),
    )


def scaling() -> Table:
    """Table A2, counted."""
    rows = []
    for frames in FRAMES:
        sparse, full, paper = evaluation(OURS, frames), evaluation(FULL, frames), PUBLISHED.get(frames)
        rows.append(
            (
                str(frames),
                f"{100 * kept(OURS, frames):.2f}",
                tera(sparse.temporal_scores),
                tera(full.temporal_scores),
                tera(_rest(full)),
                tera(sparse.total),
                tera(full.total),
                f"{100 * sparse.total / full.total:.1f}",
                *((f"{paper.kept:.2f}", *(f"{value:.1f}" for value in paper[:3])) if paper else ("",) * 4),
            )
        )
    return Table(
        f"Table A2: one evaluation under {OURS} (sparse) and under {FULL}, without guidance, in TMAC (1e12 "
        "multiply-accumulates; 1 MAC = 2 FLOP). Columns headed paper are published, in the paper's unit",
        (
            *("frames", "kept pairs (%)", "temporal scores, sparse (TMAC)", "temporal scores, full (TMAC)"),
            *("all else (TMAC)", "sum, sparse (TMAC)", "sum, full (TMAC)", "sparse / full (%)"),
            *(
                "paper: kept pairs (%)",
                'paper: sparse ("PFLOPs")',
                'paper: full ("PFLOPs")',
                "paper: sparse / full (%)",
            ),
        ),
        tuple(rows),
    )


def published() -> Table:
    """What the published numbers count."""
    rows, left = [], []
    for frames, paper in PUBLISHED.items():
        full, share = evaluation(FULL, frames), kept(OURS, frames)
        left.append(paper.full - full.temporal_scores / TERA)
        rows.append(
            (
                str(frames),
                f"{(paper.full - paper.sparse) / (1 - share):.1f}",
                tera(full.temporal_scores),
                f"{left[-1]:.1f}",
                f"{paper.sparse - share * full.temporal_scores / TERA:.1f}",
                tera(_rest(full)),
            )
        )
    slope, start = np.polyfit(list(PUBLISHED), left, 1)
    model = denoiser()
    sizes = f"N = {config().model.latents} tokens x frames, D = {model.x_embedder.out_features}, L = {model.depth}"
    return Table(
        'What the "PFLOPs" of the paper\'s Table A2 count, beside TMAC (1e12 multiply-accumulates) of one evaluation',
        (
            *("frames", "paper: (full - sparse) / (1 - kept)", "full temporal scores, 2 N^2 D L (TMAC)"),
            *("paper: full less these scores", "paper: sparse less kept scores", "all else (TMAC)"),
        ),
        tuple(rows),
        (
            "The published numbers are TMAC of one evaluation on one clip, without guidance and steps: what the mask "
            f"saves is its hidden share of 2 N^2 D L, {sizes}, to 0.05 %.",
            f"Beside the scores they hold {slope:.2f} frames + {start:.1f}; projections, spatial and cross-attention, "
            f"MLP and experts make {_rest(evaluation(FULL, 16)) / 16 / TERA:.2f} frames. So of the whole network the "
            "mask saves less than the published ratio says.",
        ),
    )


def sampling() -> Table:
    """Guided clips, as the release makes them and without what changes no result."""
    steps, rows = config().sampler.steps, []
    for name in (OURS, FULL):
        for frames in FRAMES:
            one = evaluation(name, frames)
            clip = count_sampling(one, steps)
            numbers = (clip.release, *(getattr(clip, saving) for saving in SAVINGS), clip.less(*SAVINGS))
            petas = [f"{2 * number / 1e15:.2f}" for number in numbers]
            rows.append((name, str(frames), tera(one.total), *petas))
    points = steps + 1
    return Table(
        f"A guided clip of {points} points on the path, in PFLOP (1e15 FLOP = 5e14 multiply-accumulates), without "
        "image encoder and decoder. The savings change no result",
        (
            *("mask", "frames", "one evaluation (TMAC)", f"as the release does it: 2 x {points} (PFLOP)"),
            "saving: last step, which is empty (PFLOP)",
            *("saving: cross-attention without context is a bias (PFLOP)", "saving: context keys, values once (PFLOP)"),
            "as we do it, with all three (PFLOP)",
        ),
        tuple(rows),
    )


def decoding() -> Table:
    """Latents of a frame to values of its field."""
    parts, places = decoded_frame(), (RELEASE_CELLS + 1) ** 3
    again = -(-places // RELEASE_CHUNK) - 1
    entries = {
        "transformer": parts.transformer,
        "keys and values that places attend to": parts.memory,
        "a million places": 10**6 * parts.place,
        f"{places:,} places, the whole grid of {RELEASE_CELLS} cells an axis": places * parts.place,
        f"keys and values again for every {RELEASE_CHUNK} places, as the release does it": again * parts.memory,
    }
    return Table(
        "Decoding the frames of a clip, in TMAC (1e12 multiply-accumulates; 1 MAC = 2 FLOP)",
        ("part", "1 frame (TMAC)", *(f"{frames} frames (TMAC)" for frames in FRAMES)),
        tuple((name, *(tera(frames * number, 3) for frames in (1, *FRAMES))) for name, number in entries.items()),
        ("A surface found coarse to fine asks for a part of the grid that depends on the shape.",),
    )


def _rest(one: Evaluation) -> int:
    """All but the temporal scores."""
    return one.total - one.temporal_scores


COUNTED: Mapping[str, Mapping[str, Callable[[], Table]]] = {  # table to its parts
    "a1_compute": {"masks": masks},
    "a2_compute": {make.__name__: make for make in (components, scaling, published, sampling, decoding)},
}
TITLES = {
    "a1_compute": "Table A1, compute: every mask of conf/attention, counted, beside the published column",
    "a2_compute": "Table A2: compute of the full-size model by layer, length and mask, counted",
}
