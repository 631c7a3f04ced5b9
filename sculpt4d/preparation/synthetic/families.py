"""Synthetic animated objects, written as GLB files for tests, smoke runs and first training without downloads."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sculpt4d.gltf.write import Scene, write_scene
from sculpt4d.preparation.synthetic import contraptions, creatures

HOLDOUT_FAMILY = "biped"
FAMILIES: dict[str, Callable[[np.random.Generator], Scene]] = {
    family.__name__: family
    for family in (
        creatures.quadruped,
        creatures.bird,
        creatures.arm,
        creatures.tentacle,
        creatures.fish,
        contraptions.squash,
        contraptions.twist,
        contraptions.breathing,
        contraptions.gears,
        contraptions.chest,
        contraptions.merge,
        contraptions.ring,
        creatures.biped,
    )
}


class Planned(NamedTuple):
    """One object to generate: its name gives family and number, its seed determines all parameters."""

    name: str
    family: str
    seed: int
    split: Literal["train", "holdout"]


def plan(clips: int, holdout: int, seed: int) -> list[Planned]:
    """Plan a synthetic set.

    Returns `clips` training objects, `holdout` objects of the same families with other parameters, and max(2, holdout
    // 5) objects of the held-out family (none when holdout is 0). Families alternate, so that every prefix of a split
    is balanced. An object depends only on its name and `seed`: a larger set contains the smaller one, and no object
    changes its split.
    """
    if clips < 0 or holdout < 0:
        raise ValueError(f"{clips} clips and {holdout} holdout clips cannot be planned: give counts of 0 or more")
    seen = [family for family in FAMILIES if family != HOLDOUT_FAMILY]
    train = [_planned(seen[row % len(seen)], row // len(seen), "train", seed) for row in range(clips)]
    kept = [_planned(seen[row % len(seen)], row // len(seen), "holdout", seed) for row in range(holdout)]
    unseen = max(2, holdout // 5) if holdout else 0
    return train + kept + [_planned(HOLDOUT_FAMILY, row, "holdout", seed) for row in range(unseen)]


def write_object(name: str, family: str, seed: int, path: Path) -> None:
    """Write the animated GLB of one object. Equal arguments give equal bytes; `name` names the animation."""
    if family not in FAMILIES:
        raise ValueError(f"synthetic family {family!r} is unknown: choose one of {', '.join(FAMILIES)}")
    scene = FAMILIES[family](np.random.default_rng(seed))
    write_scene(Path(path), scene._replace(name=name))


def _planned(family: str, number: int, split: Literal["train", "holdout"], seed: int) -> Planned:
    name = f"{family}_{number:04d}" if split == "train" else f"{family}_holdout_{number:04d}"
    drawn = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)
    return Planned(name, family, int(drawn[0]), split)
