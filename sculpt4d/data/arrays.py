"""Arrays of single frames in one npz, which is opened again for every reading and read in parts."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

SEPARATORS = ("/", "_")  # between frame and array in the names of an npz: ours first


def frame_name(number: int) -> str:
    return f"frame_{number:04d}"


def read_arrays(path: Path, frames: Sequence[int], names: Sequence[str]) -> list[np.ndarray]:
    """Each named array of the frames, stacked; nothing else is read. Raises ValueError, naming the file."""
    again = f"prepare {path.parents[1].name} again (python prepare.py), or remove it from the data"
    try:
        with np.load(path, allow_pickle=False) as file:
            return [np.stack([file[_key(file.files, frame, name, path)] for frame in frames]) for name in names]
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]}; {again}") from error
    except (ValueError, BadZipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {again}") from error


def _key(stored: Sequence[str], frame: int, name: str, path: Path) -> str:
    for separator in SEPARATORS:
        key = f"{frame_name(frame)}{separator}{name}"
        if key in stored:
            return key
    raise KeyError(f"holds no {name} of {frame_name(frame)}, its {len(stored)} arrays begin with {list(stored)[:3]}")
