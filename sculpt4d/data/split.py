"""Train and holdout split. The holdout objects are those whose ids have the smallest SHA-256, so it is reproducible."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from sculpt4d.data import store
from sculpt4d.files import write_json

log = logging.getLogger(__name__)

SHARE = 10  # one in this many objects is held out when the requested number would hold out more than half


def held_out(ids: Sequence[str], count: int) -> frozenset[str]:
    """Return the `count` ids with the smallest SHA-256 of their UTF-8 bytes. Accepts any number of ids in any order."""
    return frozenset(sorted(ids, key=lambda uid: hashlib.sha256(uid.encode()).digest())[:count])


def fitting(count: int, objects: int) -> int:
    """Return `count`, or a tenth of the objects (at least one) if `count` would hold out more than half of them."""
    if 2 * count <= objects or objects < 2:
        return count
    fewer = max(1, objects // SHARE)
    log.warning("holdout=%d of %d objects leaves too few for training: %d held out", count, objects, fewer)
    return fewer


def write_split(root: Path, names: Sequence[str], count: int) -> Mapping[str, Sequence[str]]:
    """Write split.json for these objects in `root`. A single object is used for both training and validation.

    An object's id is its uid, or its name if it has none. Nothing is written without objects.
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
