"""`data=assets`: the listed files fetched, their good clips prepared, the split by pack, and CREDITS.md beside them."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import track

from sculpt4d.data import store
from sculpt4d.data.ablation import refuse_other_sampling
from sculpt4d.data.asset import Job, PrepareSettings
from sculpt4d.data.executors_pool import local
from sculpt4d.data.files import file_digest, write_json, write_text
from sculpt4d.data.prepare import prepare_all
from sculpt4d.data.report import Report
from sculpt4d.data.selection import short_licence
from sculpt4d.preparation.assets.fetch import download, find_local
from sculpt4d.preparation.assets.listing import SPLITS, ListedAsset, credits, read_lists
from sculpt4d.preparation.assets.motions import choose_clips, measure_clips

log = logging.getLogger(__name__)

CLIPS = "clips.json"  # what was chosen of each file, by its hash


def prepare_assets(
    root: Path | str,
    settings: PrepareSettings,
    lists: Sequence[str | None],
    folder: str | None,
    cache: str,
    fetch: bool,
    clips: int,
    min_fill: float,
    min_motion: float,
    workers: int | None = None,
) -> Report:
    """Makes the prepared set in `root`, with split.json, CREDITS.md and report.json; what is there already is kept.

    lists: CSV files of assets, None for the project's own. folder: where files lie under their ids. fetch: what the
    folder lacks is downloaded into `cache`. clips, min_fill, min_motion: see `choose_clips`.
    Raises ValueError when there is no file at all, naming what to do.
    """
    root = Path(root)
    assets = read_lists(lists)
    files, report = _files(assets, folder, Path(cache), fetch)
    chosen = _chosen(files, root, report, (clips, min_fill, min_motion))
    jobs = {}
    for asset in assets:
        for key in chosen.get(asset.id, ()):
            name = object_name(asset.id, key)
            jobs[name] = Job(
                name, files[asset.id], root / name, settings, asset.pack, key, None, "export", asset.id,
                short_licence(asset.licence),
            )  # fmt: skip
    refuse_other_sampling((root / name for name in jobs if (root / name).is_dir()), settings)
    # the first clip of every file before the second of any, packs mixed: a beginning of the set is balanced
    order = sorted(jobs.values(), key=lambda job: hashlib.sha256(job.name.encode()).digest())
    order.sort(key=lambda job: chosen[job.uid].index(str(job.clip)))
    made = prepare_all(order, root, local(workers))
    for part in ("skipped", "failed"):
        getattr(report, part).update(getattr(made, part))
    report.prepared, report.present = made.prepared, made.present
    if not report.prepared and not report.present:
        raise ValueError(f"none of {len(assets)} listed assets could be prepared: see {root / 'report.json'}")
    _write(root, assets, {name: job.uid for name, job in jobs.items() if store.complete(root / name)}, jobs)
    return report


def object_name(asset: str, clip: str) -> str:
    """Folder name of a clip of an asset."""
    return f"{asset}__{re.sub(r'[^A-Za-z0-9]+', '-', clip).strip('-').lower() or 'clip'}"


def _files(
    assets: Sequence[ListedAsset], folder: str | None, cache: Path, fetch: bool
) -> tuple[dict[str, Path], Report]:
    """Where the assets are; those that are nowhere are named in the report as skipped."""
    report = Report()
    files = {} if folder is None else find_local(assets, Path(folder).expanduser())
    lacking = [asset for asset in assets if asset.id not in files]
    if lacking and fetch:
        fetched = download(lacking, cache)
        files |= fetched.files
        report.skipped.update(fetched.missing)
    elif lacking:
        report.skipped.update({asset.id: "not at hand, and data.assets.fetch=false" for asset in lacking})
    if report.skipped:
        log.warning("%d of %d listed assets are missing: %s", len(report.skipped), len(assets), _first(report.skipped))
    if not files:
        raise ValueError(
            "none of the listed assets is at hand: data.assets.fetch=true downloads them, or data.assets.folder= names "
            "a folder that holds them"
        )
    return files, report


def _first(reasons: Mapping[str, str], count: int = 3) -> str:
    told = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:count])
    return told + (f"; and {len(reasons) - count} more" if len(reasons) > count else "")


def _chosen(
    files: Mapping[str, Path], root: Path, report: Report, limits: tuple[int, float, float]
) -> dict[str, Sequence[str]]:
    """Clips of every file. Judging takes half a second a file, so it is kept in `root` under the file's hash."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / CLIPS
    known: dict[str, list[str]] = json.loads(path.read_text()) if path.is_file() else {}
    kept: dict[str, object] = {}
    chosen: dict[str, Sequence[str]] = {}
    for name, file in track(files.items(), "Choosing clips", transient=True):
        key = f"{file_digest(file)}/{'/'.join(map(str, limits))}"
        if key not in known:
            try:
                known[key] = [clip.key for clip in choose_clips(measure_clips(file), *limits, salt=name)]
            except ValueError as error:
                report.failed[name] = str(error)
                continue
        kept[key] = chosen[name] = known[key]
        if not chosen[name]:
            report.skipped[name] = "no clip moves enough and fills its box (data.assets.min_motion, min_fill)"
    if kept != known or not path.is_file():
        write_json(path, kept)
    return chosen


def _write(root: Path, assets: Sequence[ListedAsset], objects: Mapping[str, str], jobs: Mapping[str, Job]) -> None:
    """split.json and CREDITS.md of what is there."""
    sides = {asset.id: asset.split for asset in assets}
    split: dict[str, object] = {
        side: [name for name, asset in sorted(objects.items()) if sides[asset] == side] for side in SPLITS
    }
    write_json(root / "split.json", split | {"families": {name: jobs[name].family for name in objects}})
    write_text(root / "CREDITS.md", credits(asset for asset in assets if asset.id in set(objects.values())))
