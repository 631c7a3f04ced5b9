"""Many animated assets to a data folder, side by side and resumable, with a report of what was left out and why."""

import dataclasses
import glob
import json
import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from sculpt4d.data import store, synthetic
from sculpt4d.data.asset import Job, PrepareSettings, is_prepared, prepare_object
from sculpt4d.data.drafts import sweep_drafts
from sculpt4d.data.executors import Executor
from sculpt4d.data.executors_pool import local
from sculpt4d.data.executors_progress import shown

log = logging.getLogger(__name__)

FORMATS = (".glb", ".gltf")


@dataclass
class Report:
    """What became of each object: names prepared now, names that were complete before, and reasons of failures."""

    prepared: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def prepare_synthetic(
    root: Path | str,
    clips: int,
    holdout: int,
    settings: PrepareSettings,
    workers: int | None = None,
    seed: int = 0,
) -> Report:
    """Makes and prepares the synthetic set in `root`; complete objects are kept, so that it can be stopped and resumed.

    Writes split.json ({"train", "holdout"}: names, "families": name to family) and report.json.
    """
    root = Path(root)
    planned = synthetic.plan(clips, holdout, seed)
    jobs = [
        Job(item.name, root / "glb" / f"{item.name}.glb", root / item.name, settings, item.family, made=item.seed)
        for item in planned
    ]
    report = prepare_all(jobs, root, local(workers))
    good = [item for item in planned if item.name not in report.failed]
    split: dict[str, object] = {
        part: [item.name for item in good if item.split == part] for part in ("train", "holdout")
    }
    _write_json(root / "split.json", split | {"families": {item.name: item.family for item in good}})
    return report


def prepare_files(
    paths: Sequence[Path],
    root: Path,
    settings: PrepareSettings,
    executor: Executor,
    clip: str | int | None = None,
) -> Report:
    """Prepares files from outside, each into root/<stem>; files of one stem are told apart by their folders."""
    stems = [path.stem for path in paths]
    names = [
        path.stem if stems.count(path.stem) == 1 else f"{path.resolve().parent.name}_{path.stem}" for path in paths
    ]
    if len(set(names)) < len(names):
        raise ValueError(f"several input files would be named alike ({', '.join(sorted(names))}): rename them")
    jobs = [Job(name, path, root / name, settings, clip=clip) for name, path in zip(names, paths, strict=True)]
    return prepare_all(jobs, root, executor)


def prepare_folder(
    root: Path | str, source: str | None, settings: PrepareSettings, holdout_share: float, workers: int | None = None
) -> Report:
    """What the data options `folder` and `objaverse4d` train on: GLB files prepared where `source` names some, and a
    split of all objects by name where the folder has none. A lone object is trained on and held out alike.

    Raises ValueError when nothing is prepared, or when a file of `source` failed.
    """
    root = Path(root)
    report = Report()
    if source is not None:
        report = prepare_files(find_files(source), root, settings, local(workers))
        _refuse_failures(report)
    names = store.object_names(root) if root.is_dir() else ()
    if not names:
        raise ValueError(
            f"no prepared object in {root}: python prepare.py input=GLB_FILES output={root}, or set data.source"
        )
    if source is not None or not (root / "split.json").is_file():
        held = [name for name in names if zlib.crc32(name.encode()) % 1000 < 1000 * holdout_share]
        train = [name for name in names if name not in held]
        if not held or not train:
            held = train = list(names)
        families = {name: store.read_record(root / name)["family"] for name in names}
        _write_json(root / "split.json", {"train": train, "holdout": held, "families": families})
    return report


def prepare_all(jobs: Sequence[Job], root: Path, executor: Executor) -> Report:
    """Every job that is not prepared yet; failures are collected in report.json."""
    report = Report()
    missing = []
    for job in jobs:
        if is_prepared(job):
            report.skipped.append(job.name)
        else:
            # a machine of a cluster works in another folder
            missing.append(dataclasses.replace(job, path=job.path.absolute(), folder=job.folder.absolute()))
    if not missing:
        return report
    root.mkdir(parents=True, exist_ok=True)
    log.info("preparing %d objects into %s, %d are there", len(missing), root, len(report.skipped))
    sweep_drafts(root)
    for outcome in shown(executor.run(missing, prepare_object, root), len(missing)):
        if outcome.status == "prepared":
            report.prepared.append(outcome.name)
        else:
            report.failed[outcome.name] = outcome.reason
            log.warning("%s was left out: %s", outcome.name, outcome.reason)
    _write_json(root / "report.json", dataclasses.asdict(report))
    return report


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1))
    os.replace(draft, path)


def find_files(pattern: str) -> list[Path]:
    """The GLB and glTF files that a path, a folder (searched through) or a glob names, sorted.

    Raises FileNotFoundError when there are none.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    found = path.rglob("*") if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    files = sorted(file for file in found if file.suffix.lower() in FORMATS and file.is_file())
    if not files:
        raise FileNotFoundError(f"input={pattern} names no .glb or .gltf file: give a file, a folder or a quoted glob")
    return files


def run(cfg: DictConfig) -> None:
    """`python prepare.py`: prepares what `input` names into `output`; ends with status 1 when a file failed."""
    if not cfg.input or not cfg.output:
        raise ValueError("input and output are needed: python prepare.py input=horse.glb output=data/mine")
    settings = PrepareSettings(**{field.name: cfg[field.name] for field in dataclasses.fields(PrepareSettings)})
    report = prepare_files(find_files(cfg.input), Path(cfg.output), settings, instantiate(cfg.executor), cfg.clip)
    log.info("%d prepared, %d were there, %d failed", len(report.prepared), len(report.skipped), len(report.failed))
    _refuse_failures(report)


def _refuse_failures(report: Report) -> None:
    if report.failed:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in report.failed.items())
        raise ValueError(f"{len(report.failed)} of the input files could not be prepared{reasons}")
