"""Which objects are held out: those with the smallest SHA-256 of their ids, so that anyone finds the same ones."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from sculpt4d.data import store
from sculpt4d.data.files import write_json

log = logging.getLogger(__name__)

SHARE = 10  # one in so many is held out where the number asked for would leave less than that for training


def held_out(ids: Sequence[str], count: int) -> frozenset[str]:
    """The `count` ids with the smallest SHA-256 of their UTF-8 bytes; any number of ids, in any order."""
    return frozenset(sorted(ids, key=lambda uid: hashlib.sha256(uid.encode()).digest())[:count])


def fitting(count: int, objects: int) -> int:
    """`count`, or a tenth of the objects (at least one) where it would hold out more than half of them."""
    if 2 * count <= objects or objects < 2:
        return count
    fewer = max(1, objects // SHARE)
    log.warning("holdout=%d of %d objects leaves too few for training: %d held out", count, objects, fewer)
    return fewer


def write_split(root: Path, names: Sequence[str], count: int) -> Mapping[str, Sequence[str]]:
    """split.json of these objects in `root`; a lone object is trained on and held out alike.

    An object's id is its uid, or its name where it has none. Nothing is written without objects.
    """
    if not names:
        return {"train": [], "holdout": []}
    records = {name: store.read_record(root / name) for name in names}
    chosen = held_out([record["uid"] or name for name, record in records.items()], count)
    held = [name for name, record in records.items() if (record["uid"] or name) in chosen]
    train = [name for name in names if name not in set(held)]
    if not held or not train:
        held = train = list(names)
    families = {name: record["family"] for name, record in records.items()}
    write_json(root / "split.json", {"train": train, "holdout": held, "families": families})
    return {"train": train, "holdout": held}
