"""The list of real animated assets: where each file is, whose it is, and on which side of the split."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

LIST = Path(__file__).with_name("assets.csv")
SPLITS = ("train", "holdout")
ADDRESS = "https://raw.githubusercontent.com/{repo}/{commit}/{path}"
LARGE = "https://media.githubusercontent.com/media/{repo}/{commit}/{path}"  # of files that Git LFS keeps
SHAPES = {"id": r"[\w.-]+", "pack": r"[\w.-]+", "repo": r"[\w.-]+/[\w.-]+", "commit": r"[0-9a-f]{40}"}
SHAPES |= {"sha256": r"[0-9a-f]{64}", "split": "|".join(SPLITS)}
LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}


class ListedAsset(NamedTuple):
    """A row of the list. pack: what is held out as a whole. sha256: of the file at the address. licence: SPDX name."""

    id: str
    pack: str
    author: str
    licence: str
    repo: str
    commit: str
    path: str
    sha256: str
    split: str

    @property
    def address(self) -> str:
        """Where the file is downloaded from."""
        return ADDRESS.format(repo=self.repo, commit=self.commit, path=quote(self.path))

    @property
    def large_address(self) -> str:
        """Where it is when the address holds a Git LFS pointer."""
        return LARGE.format(repo=self.repo, commit=self.commit, path=quote(self.path))

    @property
    def suffix(self) -> str:
        """`.glb` or `.gltf`, or that of a file which can only be used converted."""
        return Path(self.path).suffix.lower()


def read_list(path: Path) -> tuple[ListedAsset, ...]:
    """The assets of a CSV file with the columns of `ListedAsset`; further columns are ignored.

    Raises ValueError, naming file and line, for missing columns and bad values, for an id listed twice, and for a pack
    or an author on both sides of the split.
    """
    with open(path, newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened)
        missing = set(ListedAsset._fields) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        rows = [_row(line, f"{path}, line {reader.line_num}") for line in reader]
    return check(rows, str(path))


def _row(line: dict[str, str | None], place: str) -> ListedAsset:
    values = {name: (line[name] or "").strip() for name in ListedAsset._fields}
    for name, shape in SHAPES.items():
        if not re.fullmatch(shape, values[name]):
            raise ValueError(f"{place}: {name}={values[name]!r} does not match {shape}")
    if values["licence"] not in LICENCES:
        raise ValueError(f"{place}: licence {values['licence']!r} is not one of {', '.join(LICENCES)}")
    if not values["author"] or not values["path"]:
        raise ValueError(f"{place}: author and path must not be empty")
    return ListedAsset(**values)


def read_lists(paths: Iterable[str | Path | None]) -> tuple[ListedAsset, ...]:
    """Several lists as one; None is the list of this project."""
    places = [LIST if path is None else Path(path).expanduser() for path in paths]
    return check([asset for place in places for asset in read_list(place)], ", ".join(map(str, places)))


def check(assets: Sequence[ListedAsset], place: str) -> tuple[ListedAsset, ...]:
    """The assets, when no id is listed twice and no pack stands on both sides of the split. Raises ValueError."""
    doubles = sorted(name for name, count in Counter(asset.id for asset in assets).items() if count > 1)
    if doubles:
        raise ValueError(f"{place}: listed twice: {', '.join(doubles[:5])}")
    sides: dict[str, set[str]] = {}
    for asset in assets:
        sides.setdefault(asset.pack, set()).add(asset.split)
    torn = sorted(pack for pack, found in sides.items() if len(found) > 1)
    if torn:
        raise ValueError(f"{place}: pack {torn[0]} is in train and in holdout: hold it out as a whole")
    return tuple(assets)


def credits(assets: Iterable[ListedAsset]) -> str:
    """CREDITS.md: author, licence and origin of every asset, as CC-BY asks for; CC0 works are named too."""
    lines = [
        "# Credits",
        "",
        "The objects of this folder were made from the animated models below: resampled, closed, rendered.",
        "",
        "| model | author | licence | origin |",
        "|---|---|---|---|",
    ]
    for asset in sorted(assets):
        licence = f"[{asset.licence}]({LICENCES[asset.licence]})"
        origin = f"https://github.com/{asset.repo}/blob/{asset.commit}/{quote(asset.path)}"
        lines.append(f"| {asset.id} | {asset.author} | {licence} | <{origin}> |")
    return "\n".join(lines) + "\n"
