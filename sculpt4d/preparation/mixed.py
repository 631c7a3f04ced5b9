"""Several prepared sets as one: each is made in a folder of its own, and one split.json names the objects of all."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from sculpt4d.data.files import write_json


def prepare_mixed(root: Path | str, parts: Mapping[str, Callable[[Path], object]]) -> None:
    """Makes the set NAME in `root`/NAME, for every part, and joins their splits: object X becomes NAME/X."""
    root = Path(root)
    joined: dict[str, list[str]] = {"train": [], "holdout": []}
    families: dict[str, str] = {}
    for name, build in parts.items():
        build(root / name)
        split = json.loads((root / name / "split.json").read_text())
        for side, names in joined.items():
            names += [f"{name}/{inner}" for inner in split[side]]
        families |= {f"{name}/{inner}": family for inner, family in split["families"].items()}
    write_json(root / "split.json", joined | {"families": families})
