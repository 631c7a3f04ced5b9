"""Which objects a result file is of: their names, and each one's truth against itself, which tells truths apart."""

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

UNPAIRED = "no ground truth"  # the reason by which older files list predictions that have none
LISTED = 3  # names in a message


class Objects(NamedTuple):
    """names: of a ground truth, measured or failed. floors: by name and quantity, the truth against itself."""

    names: frozenset[str]
    floors: Mapping[str, Mapping[str, float | None]]


def read_objects(record: Mapping[str, Any]) -> Objects | None:
    """Those of a metrics.json or of a sweep's result; None where the file does not name them."""
    if "per_object" not in record and "names" not in record:
        return None
    floors = {entry["name"]: entry.get("floor", {}) for entry in record.get("per_object", ())}
    return Objects(frozenset(floors) | frozenset(record.get("names", ())) | frozenset(failures(record)), floors)


def failures(record: Mapping[str, Any]) -> dict[str, str]:
    """Object to the reason why it was not measured; predictions without ground truth are none of the method's.

    Nothing of older runs on the holdout: they measure every object, and count those with failed frames there.
    """
    failed = record.get("failed_objects")
    if not isinstance(failed, dict):
        return {}
    unpaired = record.get("without_ground_truth", [name for name, why in failed.items() if why == UNPAIRED])
    return {name: why for name, why in failed.items() if name not in unpaired}


def differing(first: Objects | None, other: Objects | None, floors: bool = True) -> str:
    """What is not the same, in words; nothing where it is, or where a file does not say.

    floors: whether both were measured at the same points, so that one truth has one floor. Far apart is what neither
    the rounding of another machine nor a point on the other side of an edge explains.
    """
    if first is None or other is None:
        return ""
    if first.names != other.names:
        sides = (first.names - other.names, other.names - first.names)
        return " and ".join(f"{_some(side)} in one alone" for side in sides if side)
    if not floors:
        return ""
    apart = [name for name in sorted(first.floors.keys() & other.floors.keys()) if _far(first, other, name)]
    return f"another truth of {_some(apart)}: its floor is not the same" if apart else ""


def _far(first: Objects, other: Objects, name: str) -> bool:
    sides = first.floors[name], other.floors[name]
    pairs = [(sides[0][key], sides[1][key]) for key in sides[0].keys() & sides[1].keys()]
    return any(a is not None and b is not None and not math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4) for a, b in pairs)


def _some(names: Collection[str]) -> str:
    told = sorted(names)
    more = f" and {len(told) - LISTED} more" if len(told) > LISTED else ""
    return ", ".join(told[:LISTED]) + more
