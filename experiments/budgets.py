"""Whether runs were trained and sampled alike, so that nothing but their variants tells them apart."""

import functools
import itertools
from collections.abc import Collection, Iterable, Mapping

from omegaconf import OmegaConf

from experiments.results import ROOT, Run
from sculpt4d.sweeps.plan import key_of

FIELDS = ("model", "steps", "trained_frames", "frozen")
NEUTRAL = {  # keys and overrides that change no number beyond rounding, or what is compared by itself
    *("seed", "seeds", "threads", "offline", "backend", "paths", "limit", "logger", "callbacks.preview"),
    *("stage.val_every", "trainer=cpu", "trainer=gpu", "trainer.accelerator", "trainer.enable_progress_bar"),
}


def refuse_budgets(runs: Iterable[Run], free: Collection[str] = ()) -> None:
    """Raises ValueError, naming files and what differs, unless all runs have one budget; `free` may differ."""
    for first, other in itertools.combinations(runs, 2):
        if words := differing(first, other, free):
            raise ValueError(
                f"{first.file} and {other.file} differ in {words}: what sets their numbers apart need not be the "
                "variant. Name the files that belong together, or make one of them anew with the other's settings, and "
                "keep runs of another budget in a folder of their own (sweep.folder=DIR)"
            )


def differing(first: Run, other: Run, free: Collection[str] = ()) -> str:
    """What two runs do not have in common, in words. What a file does not say, or has no use for, is not compared."""
    for name in FIELDS:
        sides = getattr(first, name), getattr(other, name)
        if name not in free and all(sides) and sides[0] != sides[1]:
            return f"{name} ({_told(sides[0], sides[1])} and {_told(sides[1], sides[0])})"
    given = first.given | other.given
    for part in ("train", "evaluate"):
        mine, theirs = _telling(first, part), _telling(other, part)
        if not first.overrides.get(part) or not other.overrides.get(part):  # nothing was trained, or it is not said
            continue
        # what the sweep itself says in one file alone may be the default in the other
        keys = ((mine.keys() & theirs.keys()) - varied()) | (given & (mine.keys() | theirs.keys()))
        if apart := sorted(key for key in keys if mine.get(key) != theirs.get(key)):
            told = [", ".join(side.get(key, f"{key} not given") for key in apart[:4]) for side in (mine, theirs)]
            return f"settings ({told[0]} and {told[1]})"
    return ""


def budget(runs: Iterable[Run]) -> list[str]:
    """What the runs of sweeps have in common, as a note; none where there are no such runs."""
    swept = [run for run in runs if run.sweep is not None]
    if not swept:
        return []
    trained = next((run for run in swept if run.steps), None)
    words = f"{trained.steps} training steps at {trained.trained_frames} frames" if trained else "nothing trained"
    return [f"Budget of all measured rows of sweeps: model {swept[0].model}, {words}."]


@functools.cache
def varied() -> frozenset[str]:
    """The keys in which variants differ on purpose."""
    sweeps = [OmegaConf.to_container(OmegaConf.load(file)) for file in sorted((ROOT / "conf" / "sweep").glob("*.yaml"))]
    variants = [entry or {} for sweep in sweeps if isinstance(sweep, dict) for entry in sweep["variants"].values()]
    parts = ("both", "train", "evaluate")
    return frozenset(key_of(text) for entry in variants for part in parts for text in entry.get(part) or ())


def _telling(run: Run, part: str) -> Mapping[str, str]:
    """The overrides of training or evaluation that numbers depend on, by key."""
    texts = run.overrides.get(part, {})
    return {key: text for key, text in texts.items() if not {key, text} & NEUTRAL}


def _told(value: object, other: object) -> str:
    """A field as text; of hashes the parts that differ."""
    if not isinstance(value, dict) or not isinstance(other, dict):
        return str(value)
    parts = [part for part in value if value[part] != other.get(part)]
    return ", ".join(f"{part} {' '.join(digest[:8] for digest in value[part]) or 'untrained'}" for part in parts)
