"""Pairs of frames as rectangles: which runs of query frames see which runs of key frames, every pair once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

PARTS = 4  # pieces that the frames of one distance make at least, which bounds the memory of their gradients


class Tile(NamedTuple):
    """Query frames [query, query + queries) see key frames [key, key + keys), `repeats` times, each a frame further."""

    repeats: int
    query: int
    queries: int
    key: int
    keys: int


def tiles(near: int, far: int, first: int, frames: int) -> Iterator[Tile]:
    """Every pair of frames (i, j) with near <= |i - j| < far and j >= first, once."""
    if near == 0 and far >= frames:
        if first < frames:
            yield Tile(1, 0, frames, first, frames - first)
    elif near == 0:
        width = 2 * far - 1
        for frame in (*range(min(first + far - 1, frames)), *range(max(frames - far + 1, first + far - 1), frames)):
            begin, end = max(first, frame - far + 1), min(frames, frame + far)
            if begin < end:
                yield Tile(1, frame, 1, begin, end - begin)
        yield from _parts(Tile(frames - first - 2 * far + 2, first + far - 1, 1, first, width), frames)
    elif far >= frames:
        yield from _stairs(first, near, frames)
        yield from (Tile(1, key, keys, query, queries) for _, query, queries, key, keys in _stairs(0, near, frames))
    else:
        yield from _slices(near, far, first, frames)


def _slices(near: int, far: int, first: int, frames: int) -> Iterator[Tile]:
    """The distances of a band, back in time and then forth, as key frames side by side."""
    width = far - near
    for frame in range(first + near, min(first + far - 1, frames)):
        yield Tile(1, frame, 1, first, frame - near + 1 - first)
    yield from _parts(Tile(frames - first - far + 1, first + far - 1, 1, first, width), frames)
    yield from _parts(Tile(frames - far + 1, 0, 1, near, width), frames)
    for frame in range(max(frames - far + 1, 0), frames - near):
        yield Tile(1, frame, 1, frame + near, frames - near - frame)


def _parts(tile: Tile, frames: int) -> Iterator[Tile]:
    """A tile in parts of few frames, fewer where windows overlap; nothing for no repeats."""
    most = max(PARTS, frames // PARTS) // min(tile.keys, 2)
    for done in range(0, tile.repeats, most):
        yield tile._replace(repeats=min(most, tile.repeats - done), query=tile.query + done, key=tile.key + done)


def _stairs(first: int, gap: int, frames: int) -> Iterator[Tile]:
    """Pairs of frames with i - j >= gap and j >= first: the largest rectangle, then the two staircases it leaves."""
    begin = first + gap
    if begin < frames:
        middle = (begin + frames) // 2
        yield Tile(1, middle, frames - middle, first, middle - gap + 1 - first)
        yield from _stairs(first, gap, middle)
        yield from _stairs(middle - gap + 1, gap, frames)


def cover(table: Sequence[Sequence[int]], stride: int) -> Iterator[Tile]:
    """Every pair of frames at this stride, once, as runs of key frames.

    Query frames in a row that share a run are one tile; runs that move along with the query frame are repeats of one.
    """
    runs = [
        Tile(1, query, 1, columns[0], len(columns))
        for query, row in enumerate(table)
        for known, columns in ((known, list(run)) for known, run in groupby(range(len(row)), key=row.__getitem__))
        if known == stride
    ]
    lone = []
    for chain in _chains(runs, lambda run: (run.key, run.keys)):
        if len(chain) > 1:
            yield chain[0]._replace(queries=len(chain))
        else:
            lone += chain
    for chain in _chains(lone, lambda run: (run.key - run.query, run.keys)):
        yield from _parts(chain[0]._replace(repeats=len(chain)), len(table))


def _chains(runs: Iterable[Tile], alike: Callable[[Tile], tuple[int, int]]) -> Iterator[list[Tile]]:
    """Runs of query frames in a row that are alike."""
    found = sorted(runs, key=lambda run: (alike(run), run.query))
    for _, chain in groupby(enumerate(found), key=lambda entry: (alike(entry[1]), entry[1].query - entry[0])):
        yield [run for _, run in chain]
