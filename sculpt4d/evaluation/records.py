"""Records of runs read back from JSON: every field of the expected type, or one error that names file and fault."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)

MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what reading a bad record raises

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
