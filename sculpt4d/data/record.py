"""object.json: where a prepared object comes from and how it was made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

RECORD = "object.json"


class Record(TypedDict):
    """What object.json says: where the object comes from and how it was prepared.

    counts: vertices, faces, rows on sharp edges; random_swallowed and sharp_swallowed are summed over the frames.
    seconds: of the processor, by stage; files of earlier versions have none. mode: as in release.py. found: the surface
    points were there and are not ours. motion: what the filter measured.
    """

    name: str
    family: str
    source: str
    sha256: str
    clip: str
    settings: Mapping[str, int | float | bool | str]
    seed: int
    times: list[float]
    notes: list[str]
    counts: Mapping[str, int]
    uid: str
    licence: str
    mode: str
    found: bool
    motion: Mapping[str, float]
    seconds: NotRequired[Mapping[str, float]]


UNRECORDED = Record(
    name="", family="", source="", sha256="", clip="", settings={}, seed=0, times=[], notes=[], counts={}, uid="",
    licence="", mode="export", found=False, motion={})  # fmt: skip


def read_record(folder: Path) -> Record:
    """object.json, or what can be said without it: folders of the official release have none."""
    path = folder / RECORD
    if not path.is_file():
        return UNRECORDED | {"name": folder.name}
    try:
        return UNRECORDED | json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): delete {folder} and prepare the object again") from error
