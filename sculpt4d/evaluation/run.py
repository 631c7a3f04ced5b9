"""Configuration to objects, the holdout or foreign output measured, one metrics.json: what evaluate.py calls."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate, to_absolute_path
from omegaconf import DictConfig, OmegaConf

from sculpt4d.checkpoints.build import find_weights
from sculpt4d.checkpoints.names import PARTS
from sculpt4d.data.dataset import ClipSettings, holdout_clips, split_names
from sculpt4d.data.files import file_digest
from sculpt4d.data.lock import alone
from sculpt4d.data.store import read_record
from sculpt4d.evaluation.appearance_run import evaluate_appearance, measures_appearance
from sculpt4d.evaluation.folders import measure_folders, record_of, refuse_nothing, summarize_measured
from sculpt4d.evaluation.holdout import Case, evaluate_cases, write_json
from sculpt4d.evaluation.metrics.geometry import FAILED_CHAMFER
from sculpt4d.evaluation.metrics.nearest import choose
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.evaluation.provenance import hardware, tell_replaced, versions
from sculpt4d.evaluation.show import show, show_folders
from sculpt4d.evaluation.summary import summarize_results
from sculpt4d.evaluation.timing import seconds_per_clip
from sculpt4d.generation.pipeline import load_pipeline
from sculpt4d.types import Clip, MeshSequence

log = logging.getLogger(__name__)

TEMPORAL = "4d"  # the method's name when it is no baseline and none is given


def evaluate(cfg: DictConfig) -> float:
    """Measures what `cfg` describes, prints a table and writes `<output>/metrics.json`.

    That is the output of any method where `predictions` are given, else a model or baseline on the holdout. Returns the
    mean of the first quantity (the Chamfer distance). A finished object is not computed again. Raises ValueError for
    settings that cannot run and FileNotFoundError for data that are not there.
    """
    if measures_appearance(cfg):
        truth = cfg.ground_truth
        names = None if truth is None else chosen_names(cfg.objects, Path(to_absolute_path(str(truth))))
        output, means = evaluate_appearance(cfg, names)
        log_metrics(cfg, output, means)
        return next(iter(means.values()))
    if cfg.predictions is not None or cfg.ground_truth is not None:
        return evaluate_folders(cfg)
    return evaluate_holdout(cfg)


def evaluate_folders(cfg: DictConfig) -> float:
    """`predictions` against `ground_truth`, object by object of the same name."""
    if cfg.predictions is None or cfg.ground_truth is None:
        raise ValueError("predictions and ground_truth belong together: give both, or neither for the holdout")
    if useless := [name for name in ("limit", "baseline", "checkpoint") if cfg[name] is not None]:
        raise ValueError(f"{' and '.join(useless)}: of the holdout; choose objects of folders with objects=[NAME,...]")
    started = time.perf_counter()
    protocol = instantiate(cfg.protocol)
    predictions, truth = (Path(to_absolute_path(str(side))) for side in (cfg.predictions, cfg.ground_truth))
    method = cfg.method or predictions.name
    chosen = Path(to_absolute_path(str(cfg.output))) if cfg.output else None
    output = chosen or Path(cfg.paths.runs) / "evaluate" / f"{method}_{protocol.name}"
    constants = OmegaConf.to_container(cfg.protocol, resolve=True)
    assert isinstance(constants, dict)
    settings = {"protocol": constants, "moments": cfg.moments}
    engine = choose(cfg.neighbours)
    log.info("nearest neighbours: %s", engine)
    found = measure_folders(
        predictions,
        truth,
        protocol,
        output,
        settings,
        instantiate(cfg.executor),
        cfg.moments,
        engine,
        cfg.pattern,
        chosen_names(cfg.objects, truth),
    )
    numbers = summarize_measured(found.measured)
    record = {
        **record_of(found, numbers, method, protocol.seed),
        "open_frames": sum(entry.open_frames for entry in found.measured),
        "protocol": {**constants, "failed_chamfer": FAILED_CHAMFER, "definitions": protocol.definitions()},
        "settings": {**settings, "data": {"ground_truth": str(cfg.ground_truth)}, "frames": None},
        "predictions": str(cfg.predictions),
        "seconds_per_clip": seconds_per_clip(predictions),
        "neighbours": engine,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
        "hardware": hardware(),
    }
    write_json(output / "metrics.json", record)
    for name, reason in found.failed.items():
        log.warning("%s was not measured: %s", name, reason)
    show_folders(found, numbers, f"{method}, protocol {protocol.name}")
    log.info("metrics: %s", output / "metrics.json")
    refuse_nothing(found, output / "metrics.json")
    log_metrics(cfg, output, {**numbers["mean"], "failures": record["failures"], "failed_objects": len(found.failed)})
    return next(iter(numbers["mean"].values()))


def chosen_names(objects: str | Sequence[str] | None, truth: Path) -> tuple[str, ...] | None:
    """The objects to measure: a list of names, or a part of the ground truth's split.json; None for all.

    Raises ValueError for another word and FileNotFoundError when the ground truth has no split.
    """
    if not isinstance(objects, str):
        return None if objects is None else tuple(map(str, objects))
    if objects not in ("train", "holdout"):
        raise ValueError(f"objects={objects}: must be a list of names, holdout or train")
    return split_names(truth, objects)


def evaluate_holdout(cfg: DictConfig) -> float:
    """The 4D model or a baseline on held-out objects."""
    if cfg.limit is not None and (not isinstance(cfg.limit, int) or cfg.limit < 1):
        raise ValueError(f"limit={cfg.limit}: must be a whole number of objects from 1, or null for all")
    if useless := [name for name in ("objects", "pattern") if cfg[name] is not None]:
        raise ValueError(f"{' and '.join(useless)}: of predictions=DIR; limit=N takes the first N held out")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    started = time.perf_counter()
    output = Path(cfg.output) if cfg.output else Path(HydraConfig.get().runtime.output_dir)
    protocol = instantiate(cfg.protocol)
    if not isinstance(protocol, Protocol):
        raise ValueError(
            f"protocol={protocol.name} measures folders, not the holdout: generate the clips (python generate.py), "
            "then give predictions=... ground_truth=..."
        )
    metrics = instantiate(cfg.metrics)
    torch.manual_seed(cfg.seed)
    pipeline = load_pipeline(cfg)

    def predict(clip: Clip, seed: int) -> MeshSequence:
        if cfg.baseline == "reconstruction":
            return pipeline.reconstruct(clip, seed)
        return pipeline.generate(clip.images, seed)

    split = build_data(cfg)
    settings = resolved(cfg)
    seeds = list(cfg.seeds)
    total = len(split[1][: cfg.limit])
    found = evaluate_cases(read_cases(cfg, *split), predict, protocol, seeds, output, settings, metrics, total)
    summary = summarize_results(found.measured)
    method = cfg.method or cfg.baseline or TEMPORAL  # a name alone: no setting, so that no hash of a run knows it
    record = {
        "method": method,
        **asdict(summary),
        "success_rate": summary.objects / (summary.objects + len(found.failed)),
        "failed_objects": found.failed,
        "checkpoint": OmegaConf.to_container(cfg.checkpoint) if OmegaConf.is_config(cfg.checkpoint) else cfg.checkpoint,
        "seeds": seeds,
        "protocol": {**settings["protocol"], "failed_chamfer": FAILED_CHAMFER, "definitions": protocol.definitions()},
        "settings": settings,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
        "hardware": hardware(),
        "per_object": [asdict(result) for result in found.measured],
    }
    tell_replaced(output / "metrics.json", settings["weights"])
    write_json(output / "metrics.json", record)
    show(summary, found.failed, method, len(seeds))
    log.info("metrics: %s", output / "metrics.json")
    log_metrics(cfg, output, {**summary.mean, "failures": summary.failures, "failed_objects": len(found.failed)})
    return summary.mean["chamfer"]


def log_metrics(cfg: DictConfig, output: Path, values: Mapping[str, float]) -> None:
    """The numbers as `test/...` to the configured loggers."""
    for entry in (cfg.logger or {}).values():
        logger = instantiate(entry, save_dir=str(output))
        logger.log_metrics({f"test/{name}": value for name, value in values.items()})
        logger.finalize("success")


def build_data(cfg: DictConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of training and held-out objects; the data are made when the configured set knows how and they are missing.

    The names are read before another process may ask for another set of the same folder.
    """
    root = Path(cfg.data.root)
    if cfg.data.module.get("build") is None:
        return split_names(root, "train"), split_names(root, "holdout")
    with alone(root):
        instantiate(cfg.data.module.build)(root)
        return split_names(root, "train"), split_names(root, "holdout")


def read_cases(cfg: DictConfig, train: Sequence[str], holdout: Sequence[str]) -> Iterator[Case]:
    """The held-out objects; a family is seen when a training object has it."""
    root = Path(cfg.data.root)
    reading: ClipSettings = instantiate(cfg.data.settings)
    trained = {read_record(root / name)["family"] for name in train}
    for name, family, clip, truth in holdout_clips(root, reading, cfg.limit, holdout):
        yield Case(name, family, family in trained, clip, truth)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Everything the numbers depend on except data and seeds, with no interpolation left."""
    names = ("baseline", "frames", "backend", "precision", "attention", "sampler", "surface", "protocol", "metrics")
    chosen: dict[str, Any] = {}
    for name in names:
        chosen[name] = OmegaConf.to_container(cfg[name], resolve=True) if OmegaConf.is_config(cfg[name]) else cfg[name]
    model = OmegaConf.to_container(cfg.model, resolve=True)
    assert isinstance(model, dict)
    chosen["model"] = {key: value for key, value in model.items() if key not in ("training", "weights")}
    chosen["data"] = {"name": cfg.data.name, "settings": OmegaConf.to_container(cfg.data.settings, resolve=True)}
    chosen["weights"] = weight_hashes(cfg)
    return chosen


def weight_hashes(cfg: DictConfig) -> dict[str, dict[str, str] | None]:
    """SHA-256 of the files that every part is read from; None where a part runs as initialised."""
    parts = PARTS if cfg.baseline is None else tuple(part for part in PARTS if part != "temporal")
    digests: dict[Path, str] = {}
    hashes: dict[str, dict[str, str] | None] = {}
    for part, source in find_weights(cfg, parts).items():
        files = sorted({tensor.file for tensor in source[1].tensors.values()}) if source else []
        for file in files:
            if file not in digests:
                digests[file] = file_digest(file)
        hashes[part] = {file.name: digests[file] for file in files} if source else None
    return hashes
