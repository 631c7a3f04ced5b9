"""Checked reading of stored point arrays: missing, damaged, misshapen and non-finite arrays become findings."""

import struct
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sculpt4d.data import store
from sculpt4d.preparation.verify.findings import AGAIN, Finding
from sculpt4d.preparation.verify.layout import ObjectLayout, setting

# errors of numpy and zipfile for archives that are truncated, corrupted, or flagged as encrypted or larger than memory
DAMAGE = (ValueError, KeyError, OSError, EOFError, RuntimeError, MemoryError, BadZipFile, zlib.error, struct.error)


class Arrays:
    """Stored point arrays, read frame by frame. A file that cannot be opened is one finding, not one per frame."""

    def __init__(self, layout: ObjectLayout, findings: list[Finding]) -> None:
        self.layout, self.findings = layout, findings
        self.files = {"surface": self._open(layout.surface)}
        labels = layout.folder / store.DISTANCE
        if labels.is_file() or setting(layout.record, "distance_points"):
            self.files["labels"] = self._open(labels)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._compare_frames()

    def close(self) -> None:
        for file in self.files.values():
            if file is not None:
                file.close()

    def _open(self, path: Path) -> Any:
        if not path.is_file():
            self.findings.append(Finding("files", f"{self._name(path)} is missing", AGAIN))
            return None
        try:
            return np.load(path, allow_pickle=False)
        except DAMAGE as error:
            self.findings.append(Finding("files", f"{self._name(path)} cannot be read ({error})", AGAIN))
            return None

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.layout.folder))

    def _compare_frames(self) -> None:
        """Report frames that are stored in the arrays but have no image folder. `read` reports missing arrays."""
        stored = self.files["surface"]
        if stored is None or self.layout.kind == "static":
            return
        numbers = {int(key[6:10]) for key in stored.files if key[:6] == "frame_" and key[6:10].isdecimal()}
        extra = tuple(sorted(numbers - self.layout.frames.keys()))
        if extra:
            what = f"{self._name(self.layout.surface)} holds frames that have no pictures"
            self.findings.append(Finding("frames", what, AGAIN, extra))

    def read(self, part: str, name: str, frame: int, width: int | None) -> np.ndarray | None:
        """Return one array as float32, or None with a finding when it is missing, damaged, misshapen or not finite.

        width: expected number of columns; None for a flat array. All frames must have the shape of the first one read.
        """
        file = self.files.get(part)
        if file is None:
            return None
        keys = [name] if self.layout.kind == "static" else [f"frame_{frame:04d}{mark}{name}" for mark in "/_"]
        key = next((key for key in keys if key in file.files), None)
        if key is None:
            self._fault(frame, f"{name} is missing from {part}")
            return None
        try:
            array = file[key]
        except DAMAGE as error:
            self._fault(frame, f"{key} cannot be read ({error})")
            return None
        if (
            array.dtype.kind != "f"
            or array.ndim != (1 if width is None else 2)
            or array.shape[1:] != (width,)[: array.ndim - 1]
        ):
            expected = "(n,)" if width is None else f"(n, {width})"
            self._fault(frame, f"{key} is {array.dtype} {array.shape}, expected floating point {expected}")
            return None
        if array.dtype != np.float16:
            self._fault(frame, f"{key} is stored as {array.dtype}, expected float16")
        first = self.shapes.setdefault(name, array.shape)
        if array.shape != first:
            self._fault(
                frame, f"{key} has {len(array)} rows, other frames {first[0]}: rows are no longer the same points"
            )
            return None
        bad = int((~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))).sum())
        if bad:
            self.findings.append(
                Finding("finite", f"{key} has {bad} of {len(array)} rows with NaN or infinite values", AGAIN, (frame,))
            )
            return None
        return array.astype(np.float32)

    def _fault(self, frame: int, what: str) -> None:
        self.findings.append(Finding("arrays", what, AGAIN, (frame,)))
