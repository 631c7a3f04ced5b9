"""A data folder holds one kind of points: the ablations of sampling are refused where another kind was prepared."""

from collections.abc import Iterable
from pathlib import Path

from sculpt4d.data import store
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
        for name, old, new in (
            ("consistent", found.consistent, settings.consistent),
            ("projection", found.projection, settings.projection),
            ("sharp_points", found.sharp_points, settings.sharp_points),
        ):
            if bool(old) != bool(new) if name == "sharp_points" else old != new:
                raise ValueError(
                    f"{folder} was prepared with {name}={old}, asked for is {name}={new}: give each way of sampling a "
                    f"folder of its own (prepare.py output=..., train.py data.root=...), ask for {name}={old} "
                    f"(train.py data.prepare.{name}={old}), or delete {folder.parent}"
                )
