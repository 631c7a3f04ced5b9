"""Records of runs: read back from JSON with every field of the expected type, and compared by their objects."""

import json
import logging
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

log = logging.getLogger(__name__)

MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what reading a bad record raises
UNPAIRED = "no ground truth"  # the reason by which older files list predictions that have none
LISTED = 3  # names in a message

Read = TypeVar("Read")


def kept(path: Path, read: Callable[[Path], Read]) -> Read | None:
    """What an earlier run left in a file; None, for it to be made again, when there is none or it is damaged (said)."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except MALFORMED as error:
        log.warning("%s is damaged (%s: %s) and is made again", path, type(error).__name__, error)
        return None


def read_record(file: Path, kind: str, make: Callable[[dict[str, Any]], Read]) -> Read:
    """What `make` reads in a file. Raises ValueError, naming file and fault, where the record is malformed."""
    try:
        return make(part({"record": json.loads(file.read_text())}, "record"))
    except MALFORMED as error:
        raise ValueError(
            f"{file} is not {kind} ({type(error).__name__}: {error}): remove it or name another"
        ) from error


def part(record: Mapping[str, Any], name: str, kind: Any = dict) -> Any:
    """A field of a record. Raises KeyError where it is missing, TypeError where it is of another type."""
    if not isinstance(record[name], kind):
        raise TypeError(f"{name} is {record[name]!r:.60}")
    return record[name]


def numbers(record: Mapping[str, Any], name: str) -> dict[str, float]:
    """A field of quantities."""
    return {key: number(values, key) for values in [part(record, name)] for key in values}


def number(record: Mapping[str, Any], name: str) -> float:
    """A field that is a figure, or null where none can be had: NaN. Raises as `part`, and ValueError for infinity."""
    value = part(record, name, int | float | None)
    if value is not None and math.isinf(value):
        raise ValueError(f"{name} is not finite")
    return math.nan if value is None else float(value)


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
