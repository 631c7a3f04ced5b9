"""A data folder holds one kind of points: the ablations of sampling are refused where another kind was prepared."""

from collections.abc import Iterable
from pathlib import Path

from sculpt4d.data import store
from sculpt4d.identity import other_sampling
from sculpt4d.preparation.asset import PrepareSettings, recorded_settings


def refuse_other_sampling(folders: Iterable[Path], settings: PrepareSettings) -> None:
    """Raises ValueError at the first prepared object whose points were sampled in another way.

    Compared: consistent, projection, and whether there are sharp points. Folders of the official release say nothing
    about themselves and pass.
    """
    for folder in folders:
        found = recorded_settings(folder) if (folder / store.RECORD).is_file() else None
        if found is None:
            continue
        for name, old, new in other_sampling(found, settings):
            raise ValueError(
                f"{folder} was prepared with {name}={old}, asked for is {name}={new}: give each way of sampling a "
                f"folder of its own (prepare.py output=..., train.py data.root=...), ask for {name}={old} "
                f"(train.py data.prepare.{name}={old}), or delete {folder.parent}"
            )
