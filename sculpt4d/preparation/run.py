"""Prepare many animated assets in parallel into a data folder, with resume and a report of rejected objects.

This is the implementation of `python prepare.py`. It also prepares the synthetic set and the GLB files that training
configurations name, and refuses to mix objects whose points were sampled differently.
"""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sculpt4d.data import release, store
from sculpt4d.data.split import fitting, write_split
from sculpt4d.files import remove_stale, write_json
from sculpt4d.identity import other_sampling
from sculpt4d.jobs.executor import Executor
from sculpt4d.jobs.pool import local
from sculpt4d.jobs.progress import shown
from sculpt4d.preparation import filter as selection
from sculpt4d.preparation import objaverse
from sculpt4d.preparation.asset import PrepareJob, PrepareSettings, is_prepared, prepare_object, recorded_settings
from sculpt4d.preparation.filter import MotionStats, Selection, check_motion, check_origin, check_size
from sculpt4d.preparation.report import Report, write_reports
from sculpt4d.preparation.sources import Asset, SourceList, find, find_files, named_assets
from sculpt4d.preparation.synthetic import families as synthetic
from sculpt4d.preparation.verify import run as verify


def refuse_other_sampling(folders: Iterable[Path], settings: PrepareSettings) -> None:
    """Raise ValueError for the first prepared object whose points were sampled differently.

    Compares consistent, projection, and whether there are sharp points. Folders of the official release record no
    settings and are accepted.
    """
    for folder in folders:
        found = recorded_settings(folder) if (folder / store.RECORD).is_file() else None
        if found is None:
            continue
        for name, old, new in other_sampling(found, settings):
            raise ValueError(
                f"{folder} was prepared with {name}={old}, asked for is {name}={new}: give each way of sampling a "
                f"folder of its own (prepare.py output=..., train.py data.root=...), ask for {name}={old} "
                f"(train.py data.prepare.{name}={old}), or delete {folder.parent}"
            )


log = logging.getLogger(__name__)


def prepare_synthetic(
    root: Path | str,
    clips: int,
    holdout: int,
    settings: PrepareSettings,
    workers: int | None = None,
    seed: int = 0,
) -> Report:
    """Generate and prepare the synthetic set in `root`. Complete objects are kept, so the run can be stopped and
    resumed.

    Writes split.json ({"train", "holdout"}: names, "families": name to family) and report.json.
    """
    root = Path(root)
    planned = synthetic.plan(clips, holdout, seed)
    jobs = [
        PrepareJob(
            item.name, root / "glb" / f"{item.name}.glb", root / item.name, settings, item.family, made=item.seed
        )
        for item in planned
    ]
    report = prepare_all(jobs, root, local(workers))
    good = [item for item in planned if item.name not in report.failed]
    split: dict[str, object] = {
        part: [item.name for item in good if item.split == part] for part in ("train", "holdout")
    }
    write_json(root / "split.json", split | {"families": {item.name: item.family for item in good}})
    return report


def prepare_files(
    paths: Sequence[Path], root: Path, settings: PrepareSettings, executor: Executor, clip: str | int | None = None
) -> Report:
    """Prepare external files into root/<stem>, without a filter. See `named_assets` for equal stems."""
    return prepare_all(plan(named_assets(paths), root, settings, clip=clip), root, executor)


def plan(
    assets: Sequence[Asset],
    root: Path,
    settings: PrepareSettings,
    mode: str = "export",
    clip: str | int | None = None,
    chosen: Selection | None = None,
) -> list[PrepareJob]:
    """Create one job per asset. Finished renders determine their own number of frames and views."""
    jobs = []
    for asset in assets:
        folder = root / asset.name
        renders = {"export": None, "hybrid": folder, "render": asset.path}[mode]
        own = settings
        if renders is not None and release.is_rendered(renders):
            views = max(store.view_count(renders), 1)
            own = dataclasses.replace(settings, frames=store.frame_count(renders), views=views)
        jobs.append(
            PrepareJob(asset.name, asset.path, folder, own, "", clip, None, mode, asset.uid, asset.licence, chosen)
        )
    return jobs


def prepare_folder(
    root: Path | str, source: str | None, settings: PrepareSettings, holdout_share: float, workers: int | None = None
) -> Report:
    """Prepare the data options `folder` and `objaverse4d` for training.

    Prepares the GLB files named by `source`, if any, without a filter, and splits all objects if the folder has no
    split or files were prepared. A single object is used for both training and validation.

    Raises ValueError when nothing is prepared or a file of `source` failed.
    """
    root = Path(root)
    report = Report()
    if source is not None:
        report = prepare_files(find_files(source), root, settings, local(workers))
        _refuse(report.failed)
    names = store.object_names(root) if root.is_dir() else ()
    refuse_other_sampling((root / name for name in names), settings)
    if not names:
        raise ValueError(
            f"no prepared object in {root}: python prepare.py source=GLB_FILES output={root}, or set data.source"
        )
    if source is not None or not (root / "split.json").is_file():
        write_split(root, names, round(holdout_share * len(names)))
    return report


def prepare_all(jobs: Sequence[PrepareJob], root: Path, executor: Executor) -> Report:
    """Run all jobs that are not prepared yet; failures are collected in report.json."""
    report = Report()
    missing = []
    for job in jobs:
        if is_prepared(job):
            reasons = _second_thoughts(job)
            if reasons:
                report.skipped[job.name] = "; ".join(reasons)
            else:
                report.present.append(job.name)
        else:
            refuse_other_sampling([job.folder], job.settings)  # never replace existing objects by an ablation
            # machines of a cluster have another working directory
            missing.append(dataclasses.replace(job, path=job.path.absolute(), folder=job.folder.absolute()))
    if not missing:
        return report
    root.mkdir(parents=True, exist_ok=True)
    log.info("preparing %d objects into %s, %d are there", len(missing), root, len(report.present))
    remove_stale(root)
    for outcome in shown(executor.run(missing, prepare_object, root), len(missing)):
        report.seconds[outcome.name], report.attempts[outcome.name] = round(outcome.seconds, 2), outcome.attempts
        if outcome.status == "prepared":
            report.prepared.append(outcome.name)
        else:
            {"skipped": report.skipped, "failed": report.failed}[outcome.status][outcome.name] = outcome.reason
            log.warning("%s %s: %s", outcome.name, outcome.status, outcome.reason)
    write_json(root / "report.json", dataclasses.asdict(report))
    return report


def _second_thoughts(job: PrepareJob) -> list[str]:
    """Return the filter's reasons against an object that was prepared before, possibly with another filter."""
    record, chosen = store.read_record(job.folder), job.selection
    if chosen is None or chosen.advice:
        return []
    reasons = check_origin((job.name, record["uid"], job.path.stem), record["licence"] or job.licence, chosen)
    reasons += check_size(record["counts"].get("vertices", 0), chosen)
    seen = record["motion"]
    if len(seen) < 3:  # the object was never filtered
        return reasons
    return reasons + check_motion(MotionStats(int(seen["distinct"]), seen["mean"], seen["reach"]), chosen)


def run(cfg: DictConfig) -> None:
    """Run `python prepare.py`: prepare `source` into `output`.

    Raises ValueError (exit status 1) when a file failed, or when a single named file was rejected.
    """
    if cfg.verify:
        verify.run(cfg.verify, cfg.output)
        return
    if not cfg.source or not (cfg.output or cfg.mode == "render"):
        raise ValueError("source and output are needed: python prepare.py source=horse.glb output=data/mine")
    settings = PrepareSettings(**{field.name: cfg[field.name] for field in dataclasses.fields(PrepareSettings)})
    chosen = selection.choose(**cfg.filter)
    found = _objaverse(cfg, chosen) if cfg.source == "objaverse" else find(cfg.source, cfg.mode)
    if found.named:
        chosen = dataclasses.replace(chosen, advice=True)
    root = Path(cfg.output or _home(Path(cfg.source).expanduser()))
    report = prepare_all(
        plan(found.assets, root, settings, cfg.mode, cfg.clip, chosen), root, instantiate(cfg.executor)
    )
    report.skipped.update(found.skipped)
    report.failed.update(found.failed)
    root.mkdir(parents=True, exist_ok=True)
    passed = [name for name in store.object_names(root) if name not in report.skipped | report.failed]
    split = write_split(root, passed, fitting(cfg.holdout, len(passed)))
    write_reports(root, report, split, _shown(cfg))
    _tell(root, report, split, found.named)
    _refuse(report.failed | (report.skipped if found.named else {}))


def _objaverse(cfg: DictConfig, chosen: Selection) -> SourceList:
    """Return the objects of the list `uids`, downloading those that are not cached."""
    if not cfg.uids:
        raise ValueError("source=objaverse needs uids=FILE, a text file of object ids, one a line")
    if cfg.mode == "render":
        raise ValueError("mode=render takes finished renders and source=objaverse has animated files: use mode=export")
    fetched = objaverse.fetch(Path(cfg.uids).expanduser(), chosen, cfg.downloads)
    assets = [Asset(uid, path, uid, fetched.licences[uid]) for uid, path in fetched.files.items()]
    return SourceList(assets, fetched.skipped, fetched.failed)


def _home(source: Path) -> Path:
    """Return the folder of rendered objects: `source` itself, or its parent when `source` is one object."""
    if not source.is_dir():
        raise ValueError(f"output is needed with source={source}: a list may name objects of several folders")
    return source.resolve().parent if release.is_rendered(source) else source


def _shown(cfg: DictConfig) -> Mapping[str, Any]:
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items() if key != "hydra"}


def _tell(root: Path, report: Report, split: Mapping[str, Sequence[str]], named: bool) -> None:
    """Log the outcome; for a single named file also log the notes."""
    told = ", ".join(f"{count} {part}" for part, count in report.counts().items())
    log.info("%s; %d to train on, %d held out", told, len(split["train"]), len(split["holdout"]))
    log.info("the report: %s", root / "report.html")
    for name in [*report.prepared, *report.present] if named else []:
        for note in store.read_record(root / name)["notes"]:
            log.log(logging.WARNING if note.startswith("kept although") else logging.INFO, "%s: %s", name, note)


def _refuse(reasons: Mapping[str, str]) -> None:
    if reasons:
        listed = "".join(f"\n  {name}: {reason}" for name, reason in reasons.items())
        raise ValueError(f"{len(reasons)} of the objects could not be prepared{listed}")
