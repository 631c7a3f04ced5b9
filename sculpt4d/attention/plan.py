"""Plan of the merged backend: a masked attention as a few dense attentions between runs of rows.

Frames at one distance share one stride s. Blocks u = v (mod s) form classes that attend among themselves without a
mask.

- Neighbours at stride 1 are one dense window of frames.
- The anchor is one call for all frames that do not neighbour it.
- A distance at stride s is as many dense attentions as frame pairs times classes.
- The distances beyond the last stride are a staircase of (query frame, key frame) pairs, cut into rectangles.

Blocks are reordered first, so that classes are runs of rows. One order of a frame serves all strides of a divisor chain
(1 | 2 | 4 | ... | N_B). Strides outside the chain, and the staircase, have a separate layout, class by class. For any
strides, block count and number of frames, every visible pair of blocks is visited once, and no other pair.
Strides that differ between pairs of frames have one layout each, in which runs of key frames at one stride are dense.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from sculpt4d.attention.patterns import Pattern, Structure

PARTS = 4  # minimum number of pieces per distance, which bounds the memory of their gradients
STAIRS = 3  # distances at the last stride from which a staircase is worth the copy into a separate layout


class Runs(NamedTuple):
    """Runs of `length` rows. The run of class c and frame f begins at row start + c * class_step + f * frame_step."""

    start: int
    class_step: int
    frame_step: int
    length: int


class Piece(NamedTuple):
    """classes * frames dense attentions: every run of queries sees the run of keys of its class and frame."""

    classes: int
    frames: int
    queries: Runs
    keys: Runs


class TileLayout(NamedTuple):
    """Pieces over reordered rows: row r is row order[r] of the sequence (None: unchanged)."""

    order: tuple[int, ...] | None
    pieces: tuple[Piece, ...]


class Tile(NamedTuple):
    """Query frames [query, query + queries) see key frames [key, key + keys).

    Repeated `repeats` times, each one frame later.
    """

    repeats: int
    query: int
    queries: int
    key: int
    keys: int


class Band(NamedTuple):
    """Frames at near <= |i - j| < far, which attend at one stride."""

    near: int
    far: int
    stride: int


def plan(pattern: Pattern, frames: int, blocks: int) -> tuple[TileLayout, ...]:
    """Layouts of a pattern with a structure, for `frames` frames of `blocks` blocks; see `layouts`."""
    structure = pattern.structure(frames)
    if structure is None:
        raise ValueError(f"{pattern} has no structure to plan: its mask is arbitrary")
    return layouts(structure, frames, blocks)


@lru_cache(maxsize=256)
def layouts(structure: Structure, frames: int, blocks: int) -> tuple[TileLayout, ...]:
    """Layouts whose pieces form the mask of `frames` frames of `blocks` blocks; rows are blocks.

    For a packed structure, rows are tokens, `blocks` is the number of tokens per frame, and keys are the pyramid of
    averages.
    """
    if structure.kind == "packed":
        return (TileLayout(None, tuple(_packed(structure, frames, blocks))),)
    if structure.kind == "pairwise":
        table = [structure.strides[row * frames : (row + 1) * frames] for row in range(frames)]
        return tuple(_pairwise(table, frames, blocks))
    bands = _bands([min(structure.stride(distance), blocks) for distance in range(frames)])
    own = [band for band in bands if band.stride > 1 and band.far == frames and band.far - band.near >= STAIRS]
    chain: list[int] = []
    for stride in sorted({band.stride for band in bands if band not in own} - {1}):
        if blocks % stride == 0 and stride % (chain[-1] if chain else 1) == 0:
            chain.append(stride)
    shared = [band for band in bands if band not in own and band.stride in (1, *chain)]
    found = [_common(structure, frames, blocks, shared, chain)]
    for band in bands:
        if band not in shared:
            pairs = tuple(tiles(band.near, band.far, int(structure.anchor), frames))
            found.append(_by_class(band.stride, frames, blocks, pairs))
    return tuple(layout for layout in found if layout.pieces)


def _bands(strides: Sequence[int]) -> list[Band]:
    """Runs of equal strides over the distances 0, 1, 2, ..."""
    runs = [list(run) for _, run in groupby(range(len(strides)), key=lambda distance: strides[distance])]
    return [Band(run[0], run[-1] + 1, strides[run[0]]) for run in runs]


def _common(structure: Structure, frames: int, blocks: int, bands: Sequence[Band], chain: Sequence[int]) -> TileLayout:
    """Pieces of the anchor and of all strides of a divisor chain, in the one frame order that makes their classes runs.

    Blocks are sorted by their residues, coarsest first (digit reversal). Class c of stride s is then the c-th of s
    equal parts of the frame.
    """
    pieces = [_whole(tile, blocks) for tile in _anchored(structure.anchor, frames, bands)]
    for band in bands:
        if band.stride == 1:
            continue
        length = blocks // band.stride
        for distance in range(band.near, band.far):
            for tile in tiles(distance, distance + 1, int(structure.anchor), frames):
                queries, keys = (Runs(frame * blocks, 0, length, length) for frame in (tile.query, tile.key))
                pieces.append(Piece(1, tile.repeats * band.stride, queries, keys))
    if not chain:
        return TileLayout(None, tuple(pieces))
    order = sorted(range(blocks), key=lambda block: [block % stride for stride in chain] + [block])
    return TileLayout(tuple(frame * blocks + block for frame in range(frames) for block in order), tuple(pieces))


def _by_class(stride: int, frames: int, blocks: int, pairs: Sequence[Tile]) -> TileLayout:
    """Layout of one stride: class by class, then frame by frame. The first blocks % s classes are one block longer."""
    pieces = []
    short, longer = divmod(blocks, stride)
    for classes, start, length in ((longer, 0, short + 1), (stride - longer, longer * frames * (short + 1), short)):
        for tile in pairs if classes else ():
            queries = Runs(start + tile.query * length, frames * length, length, tile.queries * length)
            keys = Runs(start + tile.key * length, frames * length, length, tile.keys * length)
            pieces.append(Piece(classes, tile.repeats, queries, keys))
    classwise = (range(first, blocks, stride) for first in range(stride))
    order = (frame * blocks + block for members in classwise for frame in range(frames) for block in members)
    return TileLayout(tuple(order), tuple(pieces))


def _pairwise(strides: Sequence[Sequence[int]], frames: int, blocks: int) -> Iterator[TileLayout]:
    """One layout for every stride between frames."""
    table = [[min(stride, blocks) for stride in row] for row in strides]
    for stride in sorted({stride for row in table for stride in row}):
        pairs = tuple(cover(table, stride))
        if stride == 1:
            yield TileLayout(None, tuple(_whole(tile, blocks) for tile in pairs))
        else:
            yield _by_class(stride, frames, blocks, pairs)


def _packed(structure: Structure, frames: int, tokens: int) -> Iterator[Piece]:
    """Every distance sees whole frames of one level. Levels follow each other, each frame by frame."""
    bands = _bands([structure.stride(distance) for distance in range(frames)])
    for tile in _anchored(structure.anchor, frames, bands):
        yield _whole(tile, tokens)
    start = 0
    for level in structure.levels:
        length = tokens // level
        for band in bands:
            if band.stride == level > 1:
                for tile in tiles(band.near, band.far, int(structure.anchor), frames):
                    queries = Runs(tile.query * tokens, 0, tokens, tile.queries * tokens)
                    keys = Runs(start + tile.key * length, 0, length, tile.keys * length)
                    yield Piece(1, tile.repeats, queries, keys)
        start += frames * length


def _whole(tile: Tile, rows: int) -> Piece:
    """Whole frames of `rows` rows see whole frames."""
    queries = Runs(tile.query * rows, 0, rows, tile.queries * rows)
    return Piece(1, tile.repeats, queries, Runs(tile.key * rows, 0, rows, tile.keys * rows))


def _anchored(anchor: bool, frames: int, bands: Sequence[Band]) -> Iterator[Tile]:
    """Fully visible frames: the anchor, and every band of stride 1. Windows that contain frame 0 include it."""
    near = 0
    for band in bands:
        if band.stride == 1:
            near = near or (band.far if band.near == 0 else 0)
            yield from tiles(band.near, band.far, int(anchor and band.near > 0), frames)
    if anchor and near < frames:
        yield Tile(1, near, frames - near, 0, 1)


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
    """Distances of a band, backward then forward in time, as adjacent key frames."""
    width = far - near
    for frame in range(first + near, min(first + far - 1, frames)):
        yield Tile(1, frame, 1, first, frame - near + 1 - first)
    yield from _parts(Tile(frames - first - far + 1, first + far - 1, 1, first, width), frames)
    yield from _parts(Tile(frames - far + 1, 0, 1, near, width), frames)
    for frame in range(max(frames - far + 1, 0), frames - near):
        yield Tile(1, frame, 1, frame + near, frames - near - frame)


def _parts(tile: Tile, frames: int) -> Iterator[Tile]:
    """Split a tile into parts of few frames, fewer if windows overlap; empty if there are no repeats."""
    most = max(PARTS, frames // PARTS) // min(tile.keys, 2)
    for done in range(0, tile.repeats, most):
        yield tile._replace(repeats=min(most, tile.repeats - done), query=tile.query + done, key=tile.key + done)


def _stairs(first: int, gap: int, frames: int) -> Iterator[Tile]:
    """Pairs of frames with i - j >= gap and j >= first: the largest rectangle, then the two remaining staircases."""
    begin = first + gap
    if begin < frames:
        middle = (begin + frames) // 2
        yield Tile(1, middle, frames - middle, first, middle - gap + 1 - first)
        yield from _stairs(first, gap, middle)
        yield from _stairs(middle - gap + 1, gap, frames)


def cover(table: Sequence[Sequence[int]], stride: int) -> Iterator[Tile]:
    """Every pair of frames at this stride, once, as runs of key frames.

    Consecutive query frames with the same run form one tile. Runs that move with the query frame are repeats of one
    tile.
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
    """Runs of consecutive, equal query frames."""
    found = sorted(runs, key=lambda run: (alike(run), run.query))
    for _, chain in groupby(enumerate(found), key=lambda entry: (alike(entry[1]), entry[1].query - entry[0])):
        yield [run for _, run in chain]
