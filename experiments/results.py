"""Result files: what a sweep leaves for each run (`<variant>_seed<k>.json`), and the metrics.json of evaluate.py."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sculpt4d.evaluation.objects import Objects, failures, read_objects
from sculpt4d.evaluation.records import number, numbers, part, read_record
from sculpt4d.sweeps.plan import key_of

ROOT = Path(__file__).resolve().parents[1]
FROZEN = ("vae", "denoiser")  # parts below the temporal layers


@dataclass(frozen=True)
class Run:
    """One result file.

    sweep, seed (of training): None where evaluate.py wrote the file. objects: measured ones; failed: object to reason;
    failures: frames without a surface; named: None in files that name no objects. mean, error: by quantity, error over
    objects. floor: the truth against itself. loss: validation losses by name. Of sweeps `mean` has the "compute" of one
    evaluation of the denoiser, in TMAC, and the "loss" of held-out clips; of clips of our own the "minutes" each took.
    frozen: by part, the hashes of its weights. overrides: of "train" and "evaluate", by key; given: keys that the
    command line of the sweep named.
    """

    file: Path
    sweep: str | None
    variant: str
    seed: int | None
    model: str | None
    steps: int | None
    frames: int | None
    trained_frames: int | None
    objects: int
    failed: Mapping[str, str]
    failures: int
    mean: Mapping[str, float]
    error: Mapping[str, float]
    floor: Mapping[str, float]
    loss: Mapping[str, float]
    protocol: Mapping[str, Any]
    data: Mapping[str, Any]
    named: Objects | None
    frozen: Mapping[str, tuple[str, ...]]
    overrides: Mapping[str, Mapping[str, str]]
    given: frozenset[str]

    @property
    def total(self) -> int:
        """Objects measured and not."""
        return self.objects + len(self.failed)


def default_sources(sweeps: Iterable[str]) -> list[Path]:
    """Where the results of sweeps are: those of runs made here, of sweeps without any the committed ones."""
    runs = Path(os.environ.get("SCULPT4D_RUNS", ROOT / "runs")) / "sweep"
    found = []
    for sweep in sweeps:
        fresh, committed = runs / sweep / "results", ROOT / "results" / sweep
        found += [next((folder for folder in (fresh, committed) if any(folder.glob("*.json"))), None)]
    return [folder for folder in found if folder is not None]


def read_runs(sources: Iterable[Path]) -> list[Run]:
    """Every result file in files and folders. Raises FileNotFoundError or ValueError with the file and what to do."""
    return [_read(file) for source in sources for file in _files(source)]


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if (source / "metrics.json").is_file():
        return [source / "metrics.json"]
    found = sorted([*source.glob("*.json"), *source.glob("*/*.json")])
    if not found:
        raise FileNotFoundError(f"{source} holds no result file: name a folder of results, or one of evaluate.py")
    return found


def _read(file: Path) -> Run:
    def run(record: dict[str, Any]) -> Run:
        return _of_sweep(file, record) if "sweep" in record else _of_evaluation(file, record)

    return read_record(file, "a result file of a sweep or of evaluate.py", run)


def _of_sweep(file: Path, record: dict[str, Any]) -> Run:
    loss, given = numbers(record, "loss"), part({"overrides": {}} | record, "overrides")
    return Run(
        file=file,
        sweep=part(record, "sweep", str),
        variant=part(record, "variant", str),
        seed=part(record, "seed", int),
        model=part(record, "model", str | None),
        steps=part(record, "steps", int | None),
        frames=part(record, "frames", int | None),
        trained_frames=part(record, "trained_frames", int | None),
        objects=part(record, "objects", int),
        failed=failures(record),
        failures=part(record, "failures", int),
        mean=numbers(record, "mean")
        | {"compute": number(part(record, "attention"), "tmac"), "loss": loss.get("val/loss", math.nan)},
        error=numbers(record, "error"),
        floor=numbers(record, "floor"),
        loss=loss,
        protocol=part(record, "protocol"),
        data=part(record, "data"),
        named=read_objects(record),
        frozen=_hashes(part({"frozen": {}} | record, "frozen")),
        overrides={name: {key_of(text): text for text in part(given, name, list)} for name in given},
        given=frozenset(map(key_of, part({"command": ""} | record, "command", str).split())),
    )


def _of_evaluation(file: Path, record: dict[str, Any]) -> Run:
    settings = part(record, "settings")
    return Run(
        file=file,
        sweep=None,
        variant=part(record, "method", str),
        seed=None,
        model=settings.get("model", {}).get("name"),
        steps=None,
        frames=part({"frames": None} | settings, "frames", int | None),
        trained_frames=None,
        objects=part(record, "objects", int),
        failed=failures(record),
        failures=part(record, "failures", int),
        mean=numbers(record, "mean")
        | {"minutes": number({"seconds_per_clip": None} | record, "seconds_per_clip") / 60},
        error=numbers(record, "error"),
        floor=numbers(record, "floor"),
        loss={},
        protocol=part(record, "protocol"),
        data=part(settings, "data"),
        named=read_objects(record),
        frozen=_hashes({part: files for part, files in settings.get("weights", {}).items() if part in FROZEN}),
        overrides={},
        given=frozenset(),
    )


def _hashes(parts: Mapping[str, Mapping[str, str] | None]) -> dict[str, tuple[str, ...]]:
    """Of the files of every part, whatever these are called; none where it runs as initialised."""
    return {part: tuple(sorted((files or {}).values())) for part, files in parts.items()}
