"""What is read of one prepared object, from the store each time or held in memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sculpt4d.data import store
from sculpt4d.geometry.facing import Facing


class Reader:
    """Arrays of one object's frames, from the store each time or, with `keep`, read once and held in memory."""

    def __init__(self, folder: Path, labelled: bool, keep: bool) -> None:
        self.folder, self.count, self.views = folder, store.frame_count(folder), store.view_count(folder)
        self._surface: tuple[np.ndarray, np.ndarray] | None = None
        self._swallowed: tuple[np.ndarray, np.ndarray] | None = None
        self._labels: tuple[np.ndarray, np.ndarray] | None = None
        self._facings: tuple[Facing, ...] | None = None
        if keep:
            self._surface = store.read_surface(folder, range(self.count))
            self._swallowed = store.read_swallowed(folder, range(self.count))
            self._labels = store.read_distances(folder, range(self.count)) if labelled else None

    def surface(self, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(uniform (t, n, 6), sharp (t, s, 6)) of the frames."""
        if self._surface is None:
            return store.read_surface(self.folder, frames)
        return self._surface[0][list(frames)], self._surface[1][list(frames)]

    def facing(self, view: int) -> Facing:
        """The frame of a view's camera."""
        if self._facings is None:
            self._facings = store.read_facings(self.folder)
        return self._facings[view]

    def swallowed(self, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of `surface` have no place of their own, (t, n) and (t, s); none where nobody looked."""
        if self._surface is not None and self._swallowed is not None:
            return self._swallowed[0][list(frames)], self._swallowed[1][list(frames)]
        found = store.read_swallowed(self.folder, frames) if self._surface is None else None
        if found is not None:
            return found
        random, sharp = (np.zeros(part.shape[:2], dtype=bool) for part in self.surface(frames))
        return random, sharp

    def labels(self, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(places (t, m, 3), distances (t, m)) of the frames."""
        if self._labels is None:
            return store.read_distances(self.folder, frames)
        return self._labels[0][list(frames)], self._labels[1][list(frames)]
