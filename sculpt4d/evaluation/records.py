"""Records of runs read back from JSON: every field of the expected type, or one error that names file and fault."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Read = TypeVar("Read")


def read_record(file: Path, kind: str, make: Callable[[dict[str, Any]], Read]) -> Read:
    """What `make` reads in a file. Raises ValueError, naming file and fault, where the record is malformed."""
    try:
        return make(part({"record": json.loads(file.read_text())}, "record"))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
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
