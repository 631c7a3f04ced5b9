"""Compute of the full-size model, counted from its layers, beside Table A2 of the paper's supplement.

python -m experiments.table_a2_compute [components scaling published sampling decoding] [--csv | --latex]

Seconds, no GPU, no weights. Masks, sizes and steps are those of conf/.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments import compute as full_size
from experiments.compute import FULL, OURS, TERA, config, evaluation, kept, tera
from experiments.report import Table, show
from sculpt4d.compute import Evaluation, Sampling, count_sampling
from sculpt4d.evaluation.published import COMPUTE

FRAMES = (8, 16, 32, 64)
SAVINGS = Sampling._fields[1:]
RELEASE_CELLS, RELEASE_CHUNK = 384, 8000  # the release's grid, and the places it decodes at a time (base spec 2.7)


class Published(NamedTuple):
    """A row of Table A2, by frames."""

    sparse: float  # "PFLOPs"
    full: float  # "PFLOPs"
    ratio: float  # percent
    kept: float  # percent


PUBLISHED = {int(frames): Published(**row) for frames, row in COMPUTE.rows.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    makers = {make.__name__: make for make in (components, scaling, published, sampling, decoding)}
    show(__doc__, makers, arguments)


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
    model = full_size.denoiser()
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
    parts, places = full_size.decoding(), (RELEASE_CELLS + 1) ** 3
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


if __name__ == "__main__":
    main()
