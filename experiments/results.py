"""Result files as runs: `<variant>_seed<k>.json` of a sweep, and the metrics.json of evaluate.py."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sculpt4d.evaluation.records import Objects, failures, number, numbers, part, read_objects, read_record
from sculpt4d.identity import comparable, override_key

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = "benchmarks"  # the folder in results/ that holds no runs
FROZEN = ("vae", "denoiser")  # parts below the temporal layers


@dataclass(frozen=True)
class SampledScores:
    """What evaluate.py knows of single objects and of the noise that clips were sampled with.

    baseline: of the holdout, None for the 4D model; for outputs of other methods the name they were given. seeds: of
    sampling. frames: generated ones, over all objects and seeds. spread: standard deviation over seeds, by quantity.
    by_object: name to quantity, averaged over seeds. measured: objects behind a mean, for quantities that some objects
    lack. unpaired: predictions without ground truth.
    """

    baseline: str | None
    seeds: tuple[int, ...]
    frames: int
    spread: Mapping[str, float]
    by_object: Mapping[str, Mapping[str, float]]
    measured: Mapping[str, int]
    unpaired: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One result file.

    sweep, seed (of training): None if evaluate.py wrote the file. objects: number of measured ones; failed: object to
    reason; failures: frames without a surface; named: None in files that name no objects. mean, error: by quantity,
    error over objects. floor: the ground truth against itself. loss: validation losses by name. `mean` of a sweep's
    file includes "compute", TMAC of one evaluation of the denoiser, and "loss" of held-out clips; `mean` of clips that
    generate.py made includes "minutes" per clip. frozen: part to the hashes of its weights. overrides: of "train" and
    "evaluate", by key; given: keys named on the sweep's command line. sampling: None in files of sweeps.
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
    sampling: SampledScores | None

    @property
    def total(self) -> int:
        """Objects, measured and failed."""
        return self.objects + len(self.failed)

    @cached_property
    def compared(self) -> Mapping[str, Mapping[str, Any]]:
        """`protocol` and `data` as what two runs are compared by; kept, as every pair of runs is."""
        return {name: comparable(getattr(self, name), name) for name in ("protocol", "data")}


def default_sources(sweeps: Iterable[str]) -> list[Path]:
    """Folders with results of the sweeps: of runs made here if there are any, else the committed ones."""
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
    found = [file for file in found if file.parent.name != BENCHMARKS]
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
        overrides={name: {override_key(text): text for text in part(given, name, list)} for name in given},
        given=frozenset(map(override_key, part({"command": ""} | record, "command", str).split())),
        sampling=None,
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
        sampling=_sampling(record, settings),
    )


def _sampling(record: Mapping[str, Any], settings: Mapping[str, Any]) -> SampledScores:
    by_object = {}
    for entry in part(record, "per_object", list):
        samples = [numbers(sample, "values") for sample in part(entry, "samples").values()]
        by_object[entry["name"]] = {name: sum(s[name] for s in samples) / len(samples) for name in samples[0]}
    method = record["method"]
    return SampledScores(
        baseline=settings.get("baseline", None if method == "4d" else method),
        seeds=tuple(part(record, "seeds", list)),
        frames=part(record, "frames", int),
        spread=numbers(record, "spread"),
        by_object=by_object,
        measured={name: count for name, count in record.get("measured", {}).items() if count < record["objects"]},
        unpaired=tuple(record.get("without_ground_truth", ())),
    )


def _hashes(parts: Mapping[str, Mapping[str, str] | None]) -> dict[str, tuple[str, ...]]:
    """Of the files of every part, whatever these are called; none where it runs as initialised."""
    return {part: tuple(sorted((files or {}).values())) for part, files in parts.items()}
