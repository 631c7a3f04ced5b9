"""Configuration to networks, pictures drawn, objects compared, one metrics.json: evaluate.py metrics=appearance.

Networks are found before anything is drawn; pictures and results are kept, so the same command takes them up again.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate, to_absolute_path
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sculpt4d.data.files import file_digest
from sculpt4d.evaluation.appearance.compare import DEFINITIONS, PERFECT, Appearance, Judge
from sculpt4d.evaluation.appearance.draw import Drawing, draw_object
from sculpt4d.evaluation.appearance.fvd import TOO_FEW, frechet_distance
from sculpt4d.evaluation.appearance.i3d import SHORTEST
from sculpt4d.evaluation.appearance_objects import Looked, compare_object, find_sides, measured
from sculpt4d.evaluation.folders import UNKNOWN, Measurement, record_of, refuse_nothing, summarize_measured
from sculpt4d.evaluation.holdout import settings_key, write_json
from sculpt4d.evaluation.inputs.pairing import pair_objects
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.evaluation.provenance import hardware, versions
from sculpt4d.evaluation.show import show_folders
from sculpt4d.evaluation.timing import seconds_per_clip
from sculpt4d.jobs.progress import shown

log = logging.getLogger(__name__)

NAME = "appearance"
FORMAT = 1  # raised when the same files and constants would give other numbers
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def measures_appearance(cfg: DictConfig) -> bool:
    """Whether `metrics` is `appearance` rather than the geometry of meshes."""
    return OmegaConf.select(cfg, "metrics._target_") == f"{Appearance.__module__}.{Appearance.__qualname__}"


def evaluate_appearance(cfg: DictConfig, names: Sequence[str] | None = None) -> tuple[Path, dict[str, float]]:
    """Measures `predictions` beside `ground_truth`, or their objects of `names`; the folder of `metrics.json`, and the
    means that are in it.

    Raises ValueError for settings that cannot run, for networks that are missing, or when no object can be measured.
    """
    started = time.perf_counter()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if cfg.predictions is None or cfg.ground_truth is None:
        raise ValueError(
            "metrics=appearance compares folders: give predictions=... (clips of generate.py, meshes or pictures of "
            "any method) and ground_truth=..."
        )
    protocol, settings = instantiate(cfg.protocol), instantiate(cfg.metrics, _convert_="all")
    if not isinstance(protocol, Protocol):
        raise ValueError(
            f"protocol={protocol.name} places no meshes before they are drawn: use sculpt4d, holdout or none"
        )
    cameras, files = settings.views(), settings.find_networks()
    hashes = {name: {file.name: file_digest(file) for file in found} for name, found in files.items()}
    predictions, truth = (Path(to_absolute_path(str(side))) for side in (cfg.predictions, cfg.ground_truth))
    method = cfg.method or predictions.name
    output = Path(to_absolute_path(str(cfg.output or Path(cfg.paths.runs) / "evaluate" / f"{method}_{NAME}")))
    constants = _constants(cfg, settings, hashes, [asdict(camera) for camera in cameras])

    drawn_by = {name: constants[name] for name in ("placement", "cameras", "size")} | {"moments": cfg.moments}
    pictures = output.absolute() / "pictures" / settings_key({"drawing": FORMAT, **drawn_by})
    truths = find_sides(truth)
    pairs = pair_objects((predictions, find_sides(predictions, cfg.pattern)), (truth, truths), names)
    failed = {name: UNKNOWN for name in pairs.missing}
    tasks = [
        Drawing(name, *pair, protocol, cfg.moments, cameras, settings.size, pictures / name)
        for name, pair in pairs.found.items()
    ]
    failed |= _draw_all(cfg, tasks, pictures)
    device = cfg.device if cfg.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    judge = Judge(settings, files, device)
    kept = output / "objects" / settings_key({"appearance": FORMAT, "moments": cfg.moments, **constants})
    results = dict[str, Looked]()
    with Progress(*COLUMNS, transient=True) as progress:
        for task in progress.track([task for task in tasks if task.name not in failed], description="compared"):
            try:
                results[task.name] = compare_object(task, judge, kept / f"{task.name}.json")
            except (ValueError, OSError) as error:
                failed[task.name] = str(error)
    entries = [measured(task, results[task.name]) for task in tasks if task.name in results]
    found = Measurement(entries, dict(sorted(failed.items())), pairs.objects, pairs.without_ground_truth)
    numbers, absent = _numbers(found, list(results.values()), settings)
    record = {
        **record_of(found, numbers, method, protocol.seed),
        "absent": absent,
        "protocol": {**constants, "definitions": dict(DEFINITIONS)},
        "settings": {"protocol": constants, "data": {"ground_truth": str(cfg.ground_truth)}, "frames": None},
        "predictions": str(cfg.predictions),
        "seconds_per_clip": seconds_per_clip(predictions),
        "networks": {name: dict(settings.networks[name]) | {"files": hashes[name]} for name in files},
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
        "hardware": {**hardware(), "device": device},
    }
    write_json(output / "metrics.json", record)
    for name, reason in found.failed.items():
        log.warning("%s was not measured: %s", name, reason)
    show_folders(found, numbers, f"{method}, {NAME}")
    for name, reason in absent.items():
        log.warning("%s has no value: %s", name, reason)
    log.info("metrics: %s; pictures: %s", output / "metrics.json", pictures)
    refuse_nothing(found, output / "metrics.json")
    return output, numbers["mean"]


def _draw_all(cfg: DictConfig, tasks: Sequence[Drawing], folder: Path) -> dict[str, str]:
    """Draws what is meshes, an object per process. Objects that could not be drawn, with the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = instantiate(cfg.executor).run(tasks, draw_object, folder)
    return {o.name: o.reason for o in shown(outcomes, len(tasks), "Drawing") if o.status == "failed"}


def _constants(
    cfg: DictConfig,
    settings: Appearance,
    hashes: Mapping[str, Mapping[str, str]],
    cameras: Sequence[Mapping[str, float]],
) -> dict[str, Any]:
    """Everything the numbers depend on but the objects themselves, plain enough for JSON and for one hash."""
    placement = OmegaConf.to_container(cfg.protocol, resolve=True)
    of_fvd = ("window", "epsilon") if "fvd" in settings.measures else ()
    kept = {name: getattr(settings, name) for name in ("size", "crop", *of_fvd)}
    return {"name": NAME, "placement": placement, "cameras": list(cameras), **kept, "networks": dict(hashes)}


def _numbers(
    found: Measurement, looked: Sequence[Looked], settings: Appearance
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Means over the objects, FVD of the set among them, and why a quantity has no value."""
    numbers = summarize_measured(found.measured)
    if "fvd" not in settings.measures:
        return numbers, {}
    sides = [[row for entry in looked for row in getattr(entry, side)] for side in ("predicted", "truth")]
    count = len(sides[0])
    value = frechet_distance(*(np.array(side) for side in sides)) if count else float("nan")
    for kind, number in (("mean", value), ("error", float("nan")), ("floor", PERFECT["fvd"])):
        numbers[kind]["fvd"] = number
    numbers["measured"]["fvd"] = sum(bool(entry.predicted) for entry in looked)
    if count >= 2:
        return numbers, {}
    return numbers, {"fvd": f"{count} clips of {settings.window or SHORTEST} frames or more: {TOO_FEW}"}
