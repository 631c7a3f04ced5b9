"""Strides that depend on the clip: the paper's schedule on a clock that slows down where the clip moves.

The paper leaves open how the stride could follow the motion, "denser steps for rapid motion"; the definition here is
ours. The schedule gives two frames a stride by their distance in time. Here a step between frames counts for less the
faster the clip moves in it, and pairs of frames are ranked by this distance. In this order they take the strides that
the schedule gives the same pairs in order of time: as many pairs at every stride, so exactly the products of the
schedule whatever the motion, and its very mask where motion is even. Along time a farther frame is never seen denser.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sculpt4d.attention.patterns import StridedPattern


@dataclass(frozen=True)
class PairwisePattern:
    """A stride for every pair of frames: block u of frame i sees block v of frame j when u = v (mod strides[i][j]).

    It has as many pairs of frames at every stride as its `schedule`, from which it also has block size and anchor.
    """

    strides: tuple[tuple[int, ...], ...]
    schedule: StridedPattern

    @property
    def block_size(self) -> int:
        """Tokens of a block."""
        return self.schedule.block_size

    @property
    def typical(self) -> "PairwisePattern | StridedPattern":
        """That of a clip which speeds up: it stands for the schedule's clips where one choice is made for all."""
        return speeding_up(self.schedule, len(self.strides))

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible (query block, key block) pairs; ValueError for another number of frames."""
        self.check(frames)
        frame, block = torch.arange(frames).repeat_interleave(blocks), torch.arange(blocks).repeat(frames)
        stride = torch.tensor(self.strides)[frame[:, None], frame]
        return block[:, None] % stride == block % stride

    def check(self, frames: int) -> None:
        """ValueError for a clip of another number of frames."""
        if frames != len(self.strides):
            raise ValueError(
                f"the strides are those of {len(self.strides)} frames, the clip has {frames}: give its own pattern"
            )

    def density(self, frames: int, blocks: int) -> float:
        """Kept share of the products of dense attention, which is the schedule's."""
        return self.mask(frames, blocks).sum().item() / (frames * blocks) ** 2

    def blocks(self, tokens: int) -> int:
        """Blocks of a frame of `tokens` tokens; ValueError when they do not divide."""
        return self.schedule.blocks(tokens)


@dataclass(frozen=True)
class MotionPattern:
    """A pattern for each clip, by its own motion. Its mask is that of a clip which moves evenly, or of which nothing
    is known: the schedule's; its density is that of every clip.

    limit: a step counts for at most this many frames and at least the inverse; 1 is the schedule. floor: change of the
    image tokens, relative to their size, below which changes count as equal.
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
        """The strides by time alone, whose products every clip has."""
        return StridedPattern(self.strides, self.anchor, self.block_size)

    def for_clips(self, change: Float[Tensor, "b steps"]) -> tuple[PairwisePattern | StridedPattern, ...]:
        """The pattern of every clip from the change of its image tokens in each step from a frame to the next."""
        return tuple(ranked(self.schedule, self.clock(clip)) for clip in change.detach().double().cpu().numpy())

    def clock(self, change: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " frames"]:
        """Where every frame stands on the clock, which runs inversely to the change and evenly where nothing moves."""
        if not len(change):
            return np.zeros(1)
        pace = (change.mean() + self.floor) / (change + self.floor)
        return np.concatenate([[0.0], np.cumsum(pace.clip(1 / self.limit, self.limit))])

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        """Visible pairs of blocks in a clip that moves evenly."""
        return self.schedule.mask(frames, blocks)

    def density(self, frames: int, blocks: int) -> float:
        """Kept share of the products of dense attention, the same for every clip."""
        return self.schedule.density(frames, blocks)

    def blocks(self, tokens: int) -> int:
        """Blocks of a frame of `tokens` tokens; ValueError when they do not divide."""
        return self.schedule.blocks(tokens)


def ranked(schedule: StridedPattern, clock: Float[np.ndarray, " frames"]) -> PairwisePattern | StridedPattern:
    """The schedule's strides handed out by distance on the clock; the schedule itself where that changes nothing.

    Each pair of frames has one stride, both ways. Pairs with the anchor keep the schedule's: all see it whole, and
    what it sees has the same order on every clock.
    """
    frames = len(clock)
    frame = np.arange(frames)
    by_distance = np.array([schedule.stride(distance) for distance in range(frames)])
    table = by_distance[np.abs(frame[:, None] - frame)]
    even = table.copy()
    first, second = _pairs(frames, int(schedule.anchor))
    apart = np.round(clock[second] - clock[first], 9)  # sums of floats that are equal but for rounding are ties
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
    """The pattern of a clip whose k-th step moves k times as much as its first."""
    return ranked(schedule, np.concatenate([[0.0], np.cumsum(1 / np.arange(1, frames))]))


def _pairs(frames: int, begin: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Frames i < j from `begin` on."""
    first, second = np.triu_indices(frames, 1)
    return first[first >= begin], second[first >= begin]
