"""Motion-adaptive patterns: strides that depend on the clip, through a clock that slows down where the clip moves.

The paper does not define how strides follow the motion ("denser steps for rapid motion"); this definition is ours.
The schedule gives two frames a stride by their distance in time. Here, a step between frames counts for less the faster
the clip moves in it. Pairs of frames are ranked by this distance and take the strides that the schedule gives the same
pairs in order of time. So every clip has as many pairs at every stride, and exactly the products of the schedule. A
clip that moves evenly has the schedule's mask. Along time, strides never shrink with distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sculpt4d.attention.patterns import ClipPatterns, Pattern, StridedPattern, Structure


@dataclass(frozen=True, repr=False)
class PairwisePattern(Pattern):
    """A stride for every pair of frames: block u of frame i sees block v of frame j if u = v (mod strides[i][j]).

    It has as many pairs of frames at every stride as its `schedule`, which also defines block size and anchor.
    """

    strides: tuple[tuple[int, ...], ...]
    schedule: StridedPattern

    def __repr__(self) -> str:
        return f"PairwisePattern({len(self.strides)} frames, schedule={self.schedule})"

    @property
    def block_size(self) -> int:  # type: ignore[override]
        """Tokens per block."""
        return self.schedule.block_size

    def typical(self, frames: int) -> Pattern:
        """Pattern of a clip that speeds up, the same for all clips of the schedule."""
        return speeding_up(self.schedule, len(self.strides))

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query block, key block) pairs; ValueError for another number of frames."""
        self.check(frames)
        frame, block = torch.arange(frames).repeat_interleave(blocks), torch.arange(blocks).repeat(frames)
        stride = torch.tensor(self.strides)[frame[:, None], frame]
        return block[:, None] % stride == block % stride

    def check(self, frames: int) -> None:
        """Raise ValueError for a clip with another number of frames."""
        if frames != len(self.strides):
            raise ValueError(
                f"the strides are those of {len(self.strides)} frames, the clip has {frames}: give its own pattern"
            )

    def hides_nothing(self, frames: int, tokens: int) -> bool:
        """Whether every query sees every key, decided from the strides."""
        blocks = self.blocks(tokens)
        return all(min(stride, blocks) == 1 for row in self.strides for stride in row)

    def structure(self, frames: int) -> Structure:
        """Table of strides, row by row."""
        return Structure("pairwise", tuple(stride for row in self.strides for stride in row))


@dataclass(frozen=True)
class MotionPattern(Pattern):
    """Pattern that adapts to the motion of each clip.

    `mask` and `density` are those of the schedule, which is also used for clips without image tokens.

    limit: a step counts for at most this many frames and at least the inverse; 1 gives the schedule.
    floor: change of the image tokens, relative to their size, below which changes count as equal.
    """

    strides: Sequence[int] = (1, 1, 2, 4, 8, 16)
    anchor: bool = True
    block_size: int = 128
    limit: float = 4.0
    floor: float = 0.02

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", self.schedule.strides)
        if not self.limit >= 1:
            raise ValueError(f"attention.limit={self.limit}: give 1 (motion is ignored) or more")
        if not self.floor > 0:
            raise ValueError(f"attention.floor={self.floor}: give a positive share of the image tokens' size")

    @property
    def schedule(self) -> StridedPattern:
        """Strides by time only. Every clip has as many products."""
        return StridedPattern(self.strides, self.anchor, self.block_size)

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible pairs of blocks in a clip that moves evenly."""
        return self.schedule.mask(frames, blocks)

    def check(self, frames: int) -> None:
        """Always raises ValueError: the clip is unknown."""
        raise ValueError(f"{self} depends on the clip: pass the pattern of every clip, those of its for_clips")

    def structure(self, frames: int) -> Structure:
        """Structure of the schedule, as for the mask."""
        return self.schedule.structure(frames)

    def hides_nothing(self, frames: int, tokens: int) -> bool:
        """Whether the schedule hides nothing."""
        return self.schedule.hides_nothing(frames, tokens)

    def typical(self, frames: int) -> Pattern:
        """Pattern of a clip that speeds up."""
        return speeding_up(self.schedule, frames)

    def for_clips(self, context: Float[Tensor, "b t s x"] | None) -> ClipPatterns:
        """Patterns by the motion of each clip's image tokens."""
        known = () if context is None else self.by_change(token_change(context))
        return ClipPatterns(known, self.schedule)

    def by_change(self, change: Float[Tensor, "b steps"]) -> tuple[PairwisePattern | StridedPattern, ...]:
        """Pattern of every clip, from the change of its image tokens between consecutive frames."""
        return tuple(ranked(self.schedule, self.clock(clip)) for clip in change.detach().double().cpu().numpy())

    def clock(self, change: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " frames"]:
        """Time of every frame on the clock. It runs inversely to the change, and evenly if nothing moves."""
        if not len(change):
            return np.zeros(1)
        pace = (change.mean() + self.floor) / (change + self.floor)
        return np.concatenate([[0.0], np.cumsum(pace.clip(1 / self.limit, self.limit))])


def token_change(context: Float[Tensor, "b t s x"]) -> Float[Tensor, "b steps"]:
    """Motion of a clip: mean distance between the image tokens of consecutive frames, over their mean length.

    Zero for a context of zeros (unconditional clip). Image tokens are known both in training and in sampling. The
    noised latents are no measure of motion: before the first step, all frames have the same noise.
    """
    tokens = context.detach().float()
    moved = torch.linalg.vector_norm(tokens.diff(dim=1), dim=-1).mean(dim=-1)
    size = torch.linalg.vector_norm(tokens, dim=-1).mean(dim=(1, 2))
    return moved / size.clamp_min(torch.finfo(torch.float32).tiny)[:, None]


def ranked(schedule: StridedPattern, clock: Float[np.ndarray, " frames"]) -> PairwisePattern | StridedPattern:
    """Assign the schedule's strides by distance on the clock; returns the schedule itself if that changes nothing.

    Each pair of frames has one stride, both ways. Pairs with the anchor keep the schedule's: every frame sees the whole
    anchor, and the frames it sees have the same order on every clock.
    """
    frames = len(clock)
    frame = np.arange(frames)
    by_distance = np.array([schedule.stride(distance) for distance in range(frames)])
    table = by_distance[np.abs(frame[:, None] - frame)]
    even = table.copy()
    first, second = _pairs(frames, int(schedule.anchor))
    apart = np.round(clock[second] - clock[first], 9)  # sums that differ only by rounding are ties
    order = np.lexsort((first, second - first, apart))
    table[first[order], second[order]] = by_distance[np.sort(second - first)]
    table[second, first] = table[first, second]
    if np.array_equal(table, even):
        return schedule
    if schedule.anchor:
        table[:, 0] = 1
    return PairwisePattern(tuple(map(tuple, table.tolist())), schedule)


@lru_cache(maxsize=64)
def speeding_up(schedule: StridedPattern, frames: int) -> PairwisePattern | StridedPattern:
    """Pattern of a clip whose k-th step moves k times as far as its first."""
    return ranked(schedule, np.concatenate([[0.0], np.cumsum(1 / np.arange(1, frames))]))


def _pairs(frames: int, begin: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Pairs of frames i < j, from frame `begin` on."""
    first, second = np.triu_indices(frames, 1)
    return first[first >= begin], second[first >= begin]
