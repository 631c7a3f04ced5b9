"""Run identity: the one definition of "is this the same?" for runs, results, cached latents and prepared objects.

Every configuration key counts unless a table below names it with a role, so a new key is compared until somebody
decides otherwise. A purpose says which roles count for it all the same. Values are compared by `canonical`: classes by
their kind (`KINDS`), never by import path, so that classes can move and be renamed and old records stay comparable.
"""

import ast
import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Class or function name in `_target_`, today's and former ones, to the kind that records keep. A renamed class gets a
# line with its new name and its old kind; the old name stays for old records.
KINDS = {
    "StridedPattern": "strided",
    "SameTokenPattern": "same_token",
    "RadialPattern": "radial",
    "PackedPattern": "packed",
    "MotionPattern": "motion",
    "JointPattern": "joint",
    "UniformTime": "uniform",
    "LogitNormalTime": "logit_normal",
    "ShapeVAE": "shape_vae",
    "PatchConditioner": "patch_conditioner",
    "DinoConditioner": "dino_conditioner",
    "Denoiser": "denoiser",
    "Optimisation": "optimisation",
    "PrepareSettings": "prepare_settings",
    "ClipSettings": "clip_settings",
    "Euler": "euler",
    "Surface": "surface",
    "Protocol": "protocol",
    "ActionBench": "actionbench",
    "Similarity": "similarity",
    "Rigid": "rigid",
    "geometry_metrics": "geometry",
    "AppearanceMetrics": "appearance",
    "Appearance": "appearance",  # until 0.2.0
}
KIND = "kind"  # the key that stands in records for `_target_`
BUILDING = {"_partial_", "_convert_", "_recursive_"}  # how Hydra builds an object, not what it is


class Role(StrEnum):
    """Why a key does not count by its value."""

    PLACE = "place"  # where files lie
    MACHINE = "machine"  # processes, memory, device: changes no number
    ROUNDING = "rounding"  # another way to compute the same: changes numbers by rounding
    REPORT = "report"  # what is shown and logged
    DERIVED = "derived"  # other keys that count decide it
    CONTENT = "content"  # names files, which are compared by digest or object by object
    OBJECTS = "objects"  # which objects and sampling seeds: every result of one object says itself whose it is
    PROGRESS = "progress"  # how far training goes, and what it saves on the way: a run may go on with it changed
    OVERRIDES = "overrides"  # compared by the overrides that were given
    FOLDERS = "folders"  # read where folders are compared
    NETWORK = "network"  # read where a network runs


# Dotted key to role; a role holds for all keys below. What is not listed counts.
DATA = {
    "data.root": Role.CONTENT,
    "data.source": Role.CONTENT,
    "data.module": Role.DERIVED,
    "data.workers": Role.MACHINE,
    "data.loaders": Role.MACHINE,
}
SHARED = {  # keys of both train and evaluate
    "threads": Role.MACHINE,
    "backend": Role.ROUNDING,
    "checkpoint": Role.CONTENT,
    "offline": Role.PLACE,
    "weight_names": Role.CONTENT,
    "output": Role.PLACE,
    "paths": Role.PLACE,
    "logger": Role.REPORT,
    "model.weights": Role.CONTENT,
    "model.training": Role.DERIVED,
    **DATA,
}
FORWARDED = (  # keys of both commands that a sweep passes on to training and evaluation alike
    *("attention", "backend", "checkpoint", "data", "frames", "model", "offline", "paths", "threads", "weight_names"),
)
TRAIN = {
    **SHARED,
    "start": Role.CONTENT,
    "stages": Role.DERIVED,
    "stage_options": Role.DERIVED,
    "stage.steps": Role.PROGRESS,
    "stage.val_every": Role.PROGRESS,
    "stage.save_every": Role.PROGRESS,
    "stage.recompute": Role.PROGRESS,
    "sweep": Role.DERIVED,
    "trainer": Role.OVERRIDES,
    "trainer.accelerator": Role.MACHINE,
    "trainer.enable_progress_bar": Role.REPORT,
    "callbacks": Role.OVERRIDES,
    "callbacks.preview": Role.REPORT,
}
EVALUATE = {
    **SHARED,
    "attention": Role.NETWORK,
    "baseline": Role.NETWORK,
    "frames": Role.NETWORK,
    "model": Role.NETWORK,
    "precision": Role.NETWORK,
    "sampler": Role.NETWORK,
    "surface": Role.NETWORK,
    "metrics": Role.NETWORK,  # appearance records the values that its networks and cameras have
    "data": Role.NETWORK,
    "data.clips": Role.OBJECTS,
    "data.holdout": Role.OBJECTS,
    "data.holdout_share": Role.OBJECTS,
    "data.seed": Role.OBJECTS,
    "data.prepare": Role.OBJECTS,
    "limit": Role.OBJECTS,
    "objects": Role.OBJECTS,
    "seeds": Role.OBJECTS,
    "seed": Role.DERIVED,
    "resolution": Role.DERIVED,
    "stage": Role.DERIVED,
    "methods": Role.DERIVED,
    "places": Role.DERIVED,
    "moments": Role.FOLDERS,
    "predictions": Role.CONTENT,
    "ground_truth": Role.CONTENT,
    "pattern": Role.CONTENT,
    "method": Role.REPORT,
    "device": Role.MACHINE,
    "offload": Role.MACHINE,
    "low_memory": Role.MACHINE,
    "neighbours": Role.MACHINE,
    "executor": Role.MACHINE,
    "workers": Role.MACHINE,
    "timeout": Role.MACHINE,
    "memory": Role.MACHINE,
    "retries": Role.MACHINE,
}
PREPARE = {
    "source": Role.CONTENT,
    "output": Role.PLACE,
    "uids": Role.OBJECTS,
    "downloads": Role.MACHINE,
    "holdout": Role.OBJECTS,
    "filter": Role.OBJECTS,
    "verify": Role.PLACE,
    "workers": Role.MACHINE,
    "executor": Role.MACHINE,
}
FORMER = frozenset({"model.training", "stage", "methods", "places"})  # keys that only older records hold
TABLES: Mapping[str, Mapping[str, Role]] = {"train": TRAIN, "evaluate": EVALUATE, "prepare": PREPARE}

# Purposes: the roles that count in addition to the keys without one.
RESUMED: frozenset[Role] = frozenset()  # a run's folder: may training go on there?
TRAINED = frozenset({Role.PROGRESS})  # weights: what their file says of its training, and the folder of a sweep's
GENERATED = frozenset({Role.NETWORK, Role.ROUNDING})  # the kept result of one held-out object
COMPARED = frozenset({Role.FOLDERS})  # the kept result of one object of a folder of predictions
SWEPT = frozenset({Role.NETWORK, Role.OBJECTS})  # a sweep's result file: means over objects and sampling seeds

# Result files of one table, by part of their record: what is not compared. Other points of the same surfaces; what a
# model reads of the same objects, which are compared by name instead.
MEASURED: Mapping[str, Mapping[str, Role]] = {
    "protocol": {"seed": Role.OBJECTS},
    "data": {
        "settings": Role.NETWORK,
        "module": Role.DERIVED,
        "workers": Role.MACHINE,
        "loaders": Role.MACHINE,
        "ground_truth": Role.CONTENT,
    },
}
REPEATED = ("model", "steps", "frames", "trained_frames")  # fields of a result file alike in all seeds of a variant
BUDGET = ("model", "steps", "trained_frames", "frozen")  # fields alike in all rows of a table
# Overrides that tell no two runs apart though their keys count, or hold a choice: compared by themselves, or no number
# depends on them. stage.val_every is when the validation loss is taken.
NEUTRAL = {"seed", "seeds", "limit", "stage.val_every", "trainer=cpu", "trainer=gpu"}
NUMBERLESS = {Role.MACHINE, Role.ROUNDING, Role.PLACE, Role.REPORT}

# A data folder holds objects of one sampling: settings that must agree, and what of each is compared.
SAMPLING: Mapping[str, Callable[[Any], object]] = {"consistent": bool, "projection": str, "sharp_points": bool}
READING = {"keep": Role.MACHINE}  # of ClipSettings, for cached latents


def kind_of(target: str) -> str:
    """The kind of a class, by its name or import path. A class that `KINDS` does not know counts by its own name."""
    name = target.rpartition(".")[2]
    return KINDS.get(name, name)


def plain(node: Any) -> Any:
    """A configuration node, dataclass or record as what JSON can hold: `_target_` becomes the kind."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
        return {KIND: kind_of(type(node).__name__)} | {name: plain(value) for name, value in fields.items()}
    if isinstance(node, Mapping):
        kept = {str(key): plain(value) for key, value in node.items() if key not in {"_target_", *BUILDING}}
        return {KIND: kind_of(str(node["_target_"]))} | kept if "_target_" in node else kept
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    return node if node is None or isinstance(node, str | bool | int | float) else str(node)


def canonical(node: Any) -> Any:
    """`plain`, with one form for every number (1.0 is 1, a NaN equals a NaN), to be compared with == and hashed."""
    node = plain(node)
    if isinstance(node, Mapping):
        return {key: canonical(value) for key, value in node.items()}
    if isinstance(node, list):
        return [canonical(value) for value in node]
    if isinstance(node, float):
        return int(node) if node.is_integer() else node if abs(node) < float("inf") else str(node)
    return node


def same(one: Any, other: Any) -> bool:
    """Whether two records, nodes or values say the same; import paths do not count."""
    return bool(canonical(one) == canonical(other))


def digest(content: Any, length: int = 16) -> str:
    """Hash of a value's canonical form, in hexadecimal digits."""
    text = json.dumps(canonical(content), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def role_of(key: str, table: Mapping[str, Role]) -> Role | None:
    """The role of a dotted key: its own or that of the nearest key above it. None: it counts."""
    while key:
        if key in table:
            return table[key]
        key = key.rpartition(".")[0]
    return None


def counted(cfg: DictConfig, command: str, purpose: Collection[Role]) -> dict[str, Any]:
    """The part of a composed configuration that counts for a purpose. Only keys that count are resolved.

    `command`: train, evaluate or prepare.
    """
    table = TABLES[command]

    def counts(key: str) -> bool:
        role = role_of(key, table)
        return role is None or role in purpose

    def keep(node: Any, prefix: str) -> Any:
        return {
            key: keep(value, f"{prefix}.{key}") if isinstance(value, Mapping) else value
            for key, value in node.items()
            if counts(f"{prefix}.{key}")
        }

    found: dict[str, Any] = {}
    for name in map(str, cfg):
        if not counts(name):
            continue
        value = plain(cfg[name])
        found[name] = keep(value, name) if isinstance(value, Mapping) else value
    return found


def is_neutral(override: str) -> bool:
    """Whether an override of train or evaluate tells no two runs apart."""
    key = override_key(override)
    roles = {role for table in (TRAIN, EVALUATE) if (role := role_of(key, table)) is not None}
    return bool({key, override} & NEUTRAL) or (bool(roles) and roles <= NUMBERLESS)


def override_key(override: str) -> str:
    """The key that an override of Hydra's changes, adds or removes."""
    return override.lstrip("+~").partition("=")[0]


def comparable(record: Mapping[str, Any], part: str) -> dict[str, Any]:
    """A part of a result file (`protocol`, `data`) as dotted keys and values to compare with another file's."""
    return dict(flat(unlisted(record, MEASURED.get(part, {}))))


def unlisted(node: Any, table: Mapping[str, Role]) -> dict[str, Any]:
    """The canonical form of a record or dataclass without the keys of a table."""
    return {key: value for key, value in canonical(node).items() if key not in table}


def other_sampling(found: Any, asked: Any) -> Iterator[tuple[str, Any, Any]]:
    """Settings (name, found, asked) in which two ways to prepare objects draw their points differently."""
    for name, part in SAMPLING.items():
        one, other = getattr(found, name), getattr(asked, name)
        if part(one) != part(other):
            yield name, one, other


def pattern_value(pattern: Any) -> Any:
    """The value form of an attention pattern: kind and fields. Takes a pattern, a record, or the `repr` that weight
    files held before; None stays None. Text that is no call of a class is returned as it is.
    """
    if not isinstance(pattern, str):
        return canonical(pattern)
    try:
        call = ast.parse(pattern, mode="eval").body
    except SyntaxError:
        return pattern
    if isinstance(call, ast.Constant) and call.value is None:
        return None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        return pattern
    try:
        fields = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError:
        return pattern
    return canonical({KIND: kind_of(call.func.id)} | fields)


def description(model: str, stage: str, pattern: Any) -> dict[str, Any]:
    """What a file of weights says it is, and must agree with before it is loaded. `pattern`: None below temporal."""
    known: dict[str, Any] = {"model": model, "stage": stage}
    return known | ({"attention": plain(pattern)} if stage == "temporal" else {})


def disagreeing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Keys of `expected` for which the description of weights `found` says something else."""
    return [key for key, wanted in expected.items() if pattern_value(found.get(key)) != pattern_value(wanted)]


def told(value: Any) -> str:
    """A value for messages: `strided(strides=[1, 1, 2], anchor=True, block_size=2)`."""
    if not isinstance(value, Mapping) or KIND not in value:
        return str(value)
    fields = ", ".join(f"{key}={entry}" for key, entry in value.items() if key != KIND)
    return f"{value[KIND]}({fields})"


def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested settings."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
