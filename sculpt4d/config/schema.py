"""Types and bounds of settings: declared on dataclass fields, checked in constructors and whole configurations."""

import dataclasses
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def setting(
    default: Any = dataclasses.MISSING,
    *,
    ge: int | float | None = None,
    gt: int | float | None = None,
    le: int | float | None = None,
    lt: int | float | None = None,
    choices: Sequence[Any] = (),
    empty: bool = True,
) -> Any:
    """Dataclass field with bounds (`ge`: at least, `gt`: above, `le`: at most, `lt`: below) or a list of choices.

    For a list, bounds and choices apply to every element; `empty=False` requires at least one element.
    """
    bounds = {name: bound for name, bound in (("ge", ge), ("gt", gt), ("le", le), ("lt", lt)) if bound is not None}
    return dataclasses.field(default=default, metadata={"bounds": bounds, "choices": tuple(choices), "empty": empty})


def check_fields(settings: Any, group: str = "") -> None:
    """Raise ValueError for the first field of a dataclass instance that violates its declaration.

    For use in `__post_init__`. group: prefix of the key in the message, such as `sampler`.
    """
    hints = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        key = f"{group}.{field.name}" if group else field.name
        if fault := _fault(getattr(settings, field.name), hints[field.name], field.metadata):
            raise ValueError(f"{key}={_shown(getattr(settings, field.name))}: {fault}")


def check_config(cfg: DictConfig, schema: type) -> None:
    """Raise ValueError, naming key and value, for the first entry of `cfg` that the dataclass `schema` does not allow.

    A field that is a dataclass describes a group of keys. Of several dataclasses, the first that has all keys of the
    group is used. Keys without a field and missing values (`???`) are ignored. Literal values are reported before
    values that refer to them.
    """
    faults = list(_faults(cfg, schema, ""))
    for refers in (False, True):
        for message, interpolated in faults:
            if interpolated == refers:
                raise ValueError(message)


def uncovered(cfg: DictConfig, schema: type, prefix: str = "") -> Iterator[str]:
    """Keys of `cfg` that `schema` does not describe."""
    hints = get_type_hints(schema)
    for name in map(str, cfg):
        known, value = hints.get(name), None if OmegaConf.is_missing(cfg, name) else cfg[name]
        if known is None:
            if not name.startswith("_"):
                yield prefix + name
        elif isinstance(value, DictConfig) and (inner := _schema_of(known, value)):
            yield from uncovered(value, inner, f"{prefix}{name}.")


def _faults(cfg: DictConfig, schema: type, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield (message, whether the value is an interpolation)."""
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        name, hint = field.name, hints[field.name]
        if name not in cfg:  # true of missing values (`???`) too
            continue
        interpolated = OmegaConf.is_interpolation(cfg, name)
        if interpolated and _is_text(hint, field.metadata):
            continue  # a path may use interpolations that only Hydra resolves
        value = cfg[name]
        inner = _schema_of(hint, value) if isinstance(value, DictConfig) else None
        if inner is not None:
            yield from _faults(value, inner, f"{prefix}{name}.")
            continue
        element = next((get_args(member)[1] for member in _members(hint) if get_origin(member) is dict), None)
        if isinstance(value, DictConfig) and element is not None:
            for key in map(str, value) if dataclasses.is_dataclass(element) else ():
                if isinstance(value[key], DictConfig):
                    yield from _faults(value[key], element, f"{prefix}{name}.{key}.")  # type: ignore[arg-type]
            continue
        plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        if fault := _fault(plain, hint, field.metadata):
            key = prefix + name
            remedy = (
                f": {key}=[{_shown(plain)}]"
                if fault == "must be a list" and isinstance(plain, str | int | float)
                else ""
            )
            yield f"{key}={_shown(plain)}: {fault}{remedy}", interpolated


def _members(hint: Any) -> tuple[Any, ...]:
    """Member types of a union. Integers are floats: `int | float` becomes float."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return tuple(member for member in members if member is not int or float not in members)


def _is_text(hint: Any, metadata: Mapping[str, Any]) -> bool:
    return set(_members(hint)) <= {str, type(None)} and not metadata.get("choices")


def _schema_of(hint: Any, value: DictConfig) -> type | None:
    """Dataclass among the members of `hint` that describes the group: the first with all its keys."""
    schemas: list[Any] = [member for member in _members(hint) if dataclasses.is_dataclass(member)]
    keys = {str(key) for key in value if not str(key).startswith("_")}
    fitting = [schema for schema in schemas if keys <= {field.name for field in dataclasses.fields(schema)}]
    return next(iter([*fitting, *schemas]), None)


def _fault(value: Any, hint: Any, metadata: Mapping[str, Any]) -> str:
    """Error of a field value, or an empty string."""
    members = _members(hint)
    if hint is Any or any(_is_one(value, member, metadata) for member in members):
        return ""
    lists = [member for member in members if _element(member)]
    if lists and not isinstance(value, list | tuple | ListConfig):
        return "must be a list"
    if lists and not len(value):
        return "must hold at least one element"
    if any(dataclasses.is_dataclass(member) for member in members):
        return "must be a group of keys: set them one by one, as GROUP.KEY=VALUE"
    words = [_words(member, metadata) for member in members if member is not type(None)]
    return f"must be {' or '.join(words)}{', or null' if type(None) in members else ''}"


def _is_one(value: Any, kind: Any, metadata: Mapping[str, Any]) -> bool:
    if element := _element(kind):
        several = isinstance(value, list | tuple | ListConfig)
        return (
            several
            and (len(value) > 0 or metadata.get("empty", True))
            and all(_is_one(each, element, metadata) for each in value)
        )
    if kind is type(None):
        return value is None
    if get_origin(kind) is dict:
        return isinstance(value, Mapping)
    if kind is bool:
        return isinstance(value, bool)
    if kind is str:
        choices = metadata.get("choices")
        return value in choices if choices else isinstance(value, str | int | float) and not isinstance(value, bool)
    if kind in (int, float):
        numeric = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return numeric and math.isfinite(value) and _within(value, metadata)
    return isinstance(value, get_origin(kind) or kind)


def _within(value: Any, metadata: Mapping[str, Any]) -> bool:
    bounds, choices = metadata.get("bounds", {}), metadata.get("choices", ())
    inside = (
        value >= bounds.get("ge", -math.inf)
        and value > bounds.get("gt", -math.inf)
        and value <= bounds.get("le", math.inf)
        and value < bounds.get("lt", math.inf)
    )
    return inside and (not choices or value in choices)


def _element(kind: Any) -> Any:
    """Element type of a list or tuple; None for other types."""
    origin = get_origin(kind)
    return get_args(kind)[0] if origin in (list, tuple, Sequence) else None


def _words(kind: Any, metadata: Mapping[str, Any]) -> str:
    """Readable type: `a whole number from 1`."""
    if element := _element(kind):
        return f"a list, each element {_words(element, metadata)}"
    if metadata.get("choices") and kind is not bool:
        return f"one of {', '.join(map(str, metadata['choices']))}"
    name, bounds = NAMES.get(kind, "a group of keys"), metadata.get("bounds", {})
    if kind not in (int, float) or not bounds:
        return name
    if bounds.keys() == {"ge", "le"}:
        return f"{name} from {bounds['ge']} to {bounds['le']}"
    words = {"ge": "of at least {}", "gt": "above {}", "le": "of at most {}", "lt": "below {}"}
    return f"{name} {' and '.join(words[bound].format(value) for bound, value in bounds.items())}"


def _shown(value: Any) -> str:
    """Value as typed by a user."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(map(_shown, value))}]" if isinstance(value, list | tuple | ListConfig) else str(value)
