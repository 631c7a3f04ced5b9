"""The runs of a sweep: every variant with every seed, and which of them share one training.

Weights lie in a folder named by everything they depend on, so that variants and sweeps that train alike train once.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sculpt4d.config.overrides import compose_config
from sculpt4d.config.schema import check_config
from sculpt4d.config.settings import Settings
from sculpt4d.training.recipe import PLACES, frozen, known, recipe

# what the command line says of these holds for evaluation as well as for training
SHARED = ("attention", "backend", "checkpoint", "data", "frames", "model", "offline", "paths", "threads")
OWN = {"seed": "sweep.seeds=[0]", "output": "sweep.folder=DIR", "stages": "one stage", "stage": "stage.KEY=VALUE"}
PARTS = {"both", "train", "evaluate", "trained"}  # of a variant
JUDGED = ("attention", "baseline", "frames", "limit", "metrics", "precision", "protocol", "sampler", "seeds", "surface")
QUIET = "+trainer.enable_progress_bar=false"  # what of the trainer changes no weight


@dataclass(frozen=True)
class Composed:
    """A configuration that any process can compose: `name` in the folder `conf`, changed by `overrides`.

    root: the checkout. output: the folder that the configured run writes.
    """

    conf: str
    root: str
    name: str
    overrides: tuple[str, ...]
    output: str

    def build(self) -> DictConfig:
        """The configuration. Raises ValueError for a setting that makes no sense."""
        cfg = compose_config(self.conf, self.name, self.overrides)
        cfg.paths.root, cfg.output = self.root, self.output
        check_config(cfg, Settings)
        return cfg


@dataclass(frozen=True)
class Training:
    """`key`: a hash of everything the weights depend on."""

    config: Composed
    key: str


@dataclass(frozen=True)
class Run:
    """One variant with one seed: evaluated as `config` says, its numbers in the file `result`.

    key: a hash of everything the numbers depend on. command: makes this run alone.
    """

    variant: str
    seed: int
    config: Composed
    key: str
    result: Path
    command: str


@dataclass(frozen=True)
class Job:
    """One training, or None, and the runs that use its weights: what one process does at a time."""

    name: str
    sweep: str
    training: Training | None
    runs: tuple[Run, ...]
    log: Path


def plan_sweep(cfg: DictConfig, given: Sequence[str]) -> list[Job]:
    """All jobs, seed by seed. `given`: overrides of the command line that are not the sweep's own.

    Raises ValueError for unknown variants, and where `given` says what the sweep decides.
    """
    sweep = cfg.sweep
    names = list(sweep.variants) if sweep.only is None else list(sweep.only)
    if unknown := [name for name in names if name not in sweep.variants]:
        raise ValueError(
            f"sweep={sweep.name} has no variant {', '.join(unknown)}: choose among {', '.join(sweep.variants)}"
        )
    if not names or not sweep.seeds:
        raise ValueError("sweep.only and sweep.seeds leave no run: name at least one of each, or set sweep.only=null")
    jobs: dict[str, Job] = {}
    variants = {name: _variant(cfg, name, given) for name in names}
    built = {config: config.build() for pair in variants.values() for config in pair if config}
    for seed in sweep.seeds:
        for variant, (train, evaluate) in variants.items():
            name = f"{variant}_seed{seed}"
            training = _training(train, built[train], sweep.trained, seed) if train else None
            run = Run(
                variant,
                seed,
                replace(
                    evaluate,
                    overrides=merge(evaluate.overrides, [f"seeds=[{seed}]"]),
                    output=str(Path(sweep.folder) / name),
                ),
                _evaluation_key(built[evaluate], seed, training),
                Path(sweep.results) / f"{name}.json",
                _command(sweep.name, variant, seed, given),
            )
            place = training.key if training else name
            first = jobs.get(place, Job(name, sweep.name, training, (), Path(run.config.output) / "log.txt"))
            jobs[place] = replace(first, runs=(*first.runs, run))
    return list(jobs.values())


def merge(*parts: Sequence[str]) -> tuple[str, ...]:
    """Overrides one after the other; of those for one key the last holds."""
    return tuple({key_of(text): text for part in parts for text in part}.values())


def key_of(override: str) -> str:
    """The key that an override of Hydra's changes, adds or removes."""
    return override.lstrip("+~").partition("=")[0]


def _variant(cfg: DictConfig, name: str, given: Sequence[str]) -> tuple[Composed | None, Composed]:
    """Training, None where nothing is trained, and evaluation, whatever the seed."""
    sweep = OmegaConf.to_container(cfg.sweep, resolve=False)  # what overrides refer to is theirs to resolve
    assert isinstance(sweep, dict)
    entry = sweep["variants"][name] or {}
    if unknown := sorted(map(str, entry.keys() - PARTS)):
        raise ValueError(f"sweep.variants.{name} has {', '.join(unknown)}: it may hold {', '.join(sorted(PARTS))}")
    both, train, evaluate = (tuple(entry.get(part) or ()) for part in ("both", "train", "evaluate"))
    decided = (
        dict.fromkeys(map(key_of, (*both, *train, *evaluate)), "sweep.only=[...] chooses among the variants") | OWN
    )
    for text in given:
        if key_of(text) in decided:
            raise ValueError(f"{text}: sweep={cfg.sweep.name} decides this itself; use {decided[key_of(text)]}")
    shared = [text for text in given if key_of(text).split(".")[0] in SHARED]
    lists = {"train": merge(sweep["train"], given, both, train)} if entry.get("trained", True) else {}
    lists["evaluate"] = merge(sweep["evaluate"], shared, both, evaluate)
    made = {root: Composed(cfg.paths.conf, cfg.paths.root, root, texts, "") for root, texts in lists.items()}
    return made.get("train"), made["evaluate"]


def _training(config: Composed, built: DictConfig, trained: str, seed: int) -> Training:
    """`built`: the configuration, which every seed would compose anew."""
    built.seed = seed
    content = recipe(built)
    content["data"] = {name: value for name, value in content["data"].items() if name not in PLACES}
    content |= {"start": known(built.start), "frozen": frozen(built), "precision": str(built.trainer.precision)}
    if changed := sorted(
        text for text in config.overrides if key_of(text).split(".")[0] == "trainer" and text != QUIET
    ):
        content["trainer"] = changed
    key = _hash(content)
    output = str(Path(trained) / f"seed{seed}_{key}")
    return Training(replace(config, overrides=merge(config.overrides, [f"seed={seed}"]), output=output), key)


def _evaluation_key(built: DictConfig, seed: int, training: Training | None) -> str:
    built.seeds = [seed]
    content: dict[str, Any] = {part: plain(built[part]) for part in JUDGED}
    content["model"] = plain(built.model, {"training", "weights"})
    content |= {"data": plain(built.data, PLACES), "frozen": frozen(built)}
    return _hash(content | {"training": training.key if training else None})


def _command(sweep: str, variant: str, seed: int, given: Sequence[str]) -> str:
    alone = [f"sweep={sweep}", f"sweep.only=[{variant}]", f"sweep.seeds=[{seed}]"]
    return " ".join(["python train.py", *alone, *portable(given)])


def portable(overrides: Sequence[str]) -> list[str]:
    """Those that mean the same on another machine: no paths, which change no number either."""
    return [text for text in overrides if key_of(text).split(".")[0] != "paths" and "=/" not in text]


def plain(node: Any, without: Collection[str] = ()) -> Any:
    """A configuration node as what JSON can hold, without some of its keys."""
    content: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    return {key: value for key, value in content.items() if key not in without} if without else content


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]
