"""Configuration to a source, its objects measured, one metrics.json and one table: what evaluate.py calls."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate, to_absolute_path
from omegaconf import DictConfig, OmegaConf

from sculpt4d import identity
from sculpt4d.checkpoints.build import find_weights
from sculpt4d.checkpoints.names import PARTS
from sculpt4d.data.dataset import choose_held_out, read_held_out, split_names
from sculpt4d.data.store import read_record
from sculpt4d.evaluation.appearance.compare import AppearanceMetrics
from sculpt4d.evaluation.appearance.source import NAME as APPEARANCE
from sculpt4d.evaluation.appearance.source import plan_appearance
from sculpt4d.evaluation.folders import plan_folders
from sculpt4d.evaluation.holdout import EXECUTOR, Case, HeldOut
from sculpt4d.evaluation.measure import Family, Measurement, Source, measure
from sculpt4d.evaluation.metrics.geometry import FAILED_CHAMFER
from sculpt4d.evaluation.metrics.nearest import choose
from sculpt4d.evaluation.protocols.actionbench import ActionBench
from sculpt4d.evaluation.protocols.protocol import Protocol
from sculpt4d.evaluation.provenance import hardware, tell_replaced, versions
from sculpt4d.evaluation.show import show
from sculpt4d.evaluation.summary import Summary, summarize_results
from sculpt4d.files import file_digest, file_lock, write_json
from sculpt4d.generation.pipeline import load_pipeline, pick_device
from sculpt4d.types import Clip, MeshSequence

log = logging.getLogger(__name__)

TEMPORAL = "4d"  # the method's name when it is no baseline and none is given


def evaluate(cfg: DictConfig) -> float:
    """Measures what `cfg` describes, writes `<output>/metrics.json` and prints its table.

    That is any method's output where `predictions` are given, else a model or baseline on the holdout. Returns the mean
    of the first quantity (the Chamfer distance). An object that is already measured is not measured again. Raises
    ValueError for settings that cannot run or when no object can be measured, and FileNotFoundError for missing data.
    """
    started = time.perf_counter()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    source = plan(cfg)
    found = measure(source)
    summary = summarize_results(found, source)
    path = source.output / "metrics.json"
    tell_replaced(path, source.settings.get("weights"))
    write_json(path, record_of(source, found, summary, time.perf_counter() - started))
    for name, reason in found.failed.items():
        log.warning("%s was not measured: %s", name, reason)
    show(found, summary, source.title, len(source.seeds))
    log.info("metrics: %s", path)
    found.refuse_nothing(path)
    counts = {"failures": summary.failures, "failed_objects": len(found.failed)}
    log_metrics(cfg, source.output, {**summary.mean, **counts})
    return next(iter(summary.mean.values()))


def plan(cfg: DictConfig) -> Source:
    """The source that a configuration chooses. Raises ValueError for options that do not apply to it."""
    if measures_appearance(cfg):
        return appearance_source(cfg)
    if cfg.predictions is not None or cfg.ground_truth is not None:
        return folder_source(cfg)
    return holdout_source(cfg)


def measures_appearance(cfg: DictConfig) -> bool:
    """Whether `metrics` is `appearance` rather than the geometry of meshes."""
    target = AppearanceMetrics
    return OmegaConf.select(cfg, "metrics._target_") == f"{target.__module__}.{target.__qualname__}"


def holdout_source(cfg: DictConfig) -> Source:
    """The 4D model or a baseline on held-out objects."""
    if cfg.limit is not None and (not isinstance(cfg.limit, int) or cfg.limit < 1):
        raise ValueError(f"limit={cfg.limit}: must be a whole number of objects from 1, or null for all")
    if useless := [name for name in ("objects", "pattern") if cfg[name] is not None]:
        raise ValueError(f"{' and '.join(useless)}: of predictions=DIR; limit=N takes the first N held out")
    seeds = list(cfg.seeds)
    if not seeds:
        raise ValueError("seeds=[]: at least one sampling seed is needed")
    protocol = instantiate(cfg.protocol)
    if not isinstance(protocol, Protocol):
        raise ValueError(
            f"protocol={protocol.name} measures folders, not the holdout: generate the clips (python generate.py), "
            "then give predictions=... ground_truth=..."
        )
    metrics = instantiate(cfg.metrics)
    torch.manual_seed(cfg.seed)
    pipeline = load_pipeline(cfg)
    root, reading = Path(cfg.data.root), instantiate(cfg.data.settings)
    train, holdout = build_data(cfg)
    names = choose_held_out(holdout, cfg.limit)
    if not names:
        raise ValueError("the holdout is empty: prepare data with a holdout")
    settings = resolved(cfg)
    method = cfg.method or cfg.baseline or TEMPORAL  # display name only; not part of the result's hash

    def read(name: str) -> Case:
        return Case(*read_held_out(root / name, reading))

    def predict(clip: Clip, seed: int) -> MeshSequence:
        if cfg.baseline == "reconstruction":
            return pipeline.reconstruct(clip, seed)
        return pipeline.generate(clip.images, seed)

    return Source(
        method=method,
        title=f"{method}, protocol {protocol.name}",
        output=output_folder(cfg),
        jobs=[HeldOut(name, read, predict, protocol, metrics) for name in names],
        executor=EXECUTOR,
        seeds=seeds,
        identity={"source": "holdout", **settings},
        settings=settings,
        protocol={**settings["protocol"], "failed_chamfer": FAILED_CHAMFER, "definitions": protocol.definitions()},
        facts={
            "checkpoint": OmegaConf.to_container(cfg.checkpoint)
            if OmegaConf.is_config(cfg.checkpoint)
            else cfg.checkpoint
        },
        families=families_of(root, train, names),
    )


def folder_source(cfg: DictConfig) -> Source:
    """`predictions` against `ground_truth`, object by object of the same name."""
    if cfg.predictions is None or cfg.ground_truth is None:
        raise ValueError("predictions and ground_truth belong together: give both, or neither for the holdout")
    if useless := [name for name in ("limit", "baseline", "checkpoint") if cfg[name] is not None]:
        raise ValueError(f"{' and '.join(useless)}: of the holdout; choose objects of folders with objects=[NAME,...]")
    protocol = instantiate(cfg.protocol)
    predictions, truth = (Path(to_absolute_path(str(side))) for side in (cfg.predictions, cfg.ground_truth))
    method = cfg.method or predictions.name
    engine = choose(cfg.neighbours)
    log.info("nearest neighbours: %s", engine)
    if isinstance(protocol, ActionBench):
        seconds = protocol.expected_seconds(cfg.moments, engine)
        log.info("alignment: about %.0f s for each object of %d frames", seconds, cfg.moments)
    source = plan_folders(
        predictions,
        truth,
        protocol,
        output_folder(cfg, f"{method}_{protocol.name}"),
        instantiate(cfg.executor),
        method=method,
        moments=cfg.moments,
        engine=engine,
        pattern=cfg.pattern,
        names=chosen_names(cfg.objects, truth),
        constants=constants_of(cfg),
    )
    return with_paths(source, cfg)


def appearance_source(cfg: DictConfig) -> Source:
    """Images of `predictions` beside images of `ground_truth`."""
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
    predictions, truth = (Path(to_absolute_path(str(side))) for side in (cfg.predictions, cfg.ground_truth))
    method = cfg.method or predictions.name
    source = plan_appearance(
        predictions,
        truth,
        protocol,
        settings,
        output_folder(cfg, f"{method}_{APPEARANCE}"),
        instantiate(cfg.executor),
        method=method,
        moments=cfg.moments,
        pattern=cfg.pattern,
        names=chosen_names(cfg.objects, truth),
        device=str(pick_device(cfg.device)),
        placement=constants_of(cfg),
    )
    return with_paths(source, cfg)


def record_of(source: Source, found: Measurement, summary: Summary, seconds: float) -> dict[str, Any]:
    """The content of metrics.json."""
    record: dict[str, Any] = {
        "method": source.method,
        **asdict(summary),
        "success_rate": found.success_rate,
        "failed_objects": dict(found.failed),
        "without_ground_truth": list(found.without_ground_truth),
        "seeds": list(source.seeds),
        "protocol": source.protocol,
        "settings": source.settings,
        "seconds": round(seconds, 1),
        "versions": versions(),
        "hardware": hardware(),
        **source.facts,
        "per_object": [],
    }
    for result in found.measured:
        entry = asdict(result) | {
            "values": result.values,
            "absent": result.absent,
            "failed_frames": result.failed_frames,
        }
        del entry["features"]
        if family := source.families.get(result.name):
            entry |= {"family": family.name, "seen": family.seen}
        record["per_object"].append(entry)
    return record


def output_folder(cfg: DictConfig, name: str | None = None) -> Path:
    """The folder of metrics.json and of kept results: `output`, or one that is the same for the same command.

    name: inside runs/evaluate; None names it after the model and the method, and takes a multirun's own folder.
    """
    if cfg.output:
        return Path(to_absolute_path(str(cfg.output)))
    if name is None:
        running = HydraConfig.get()
        if running.mode == RunMode.MULTIRUN:
            return Path(running.runtime.output_dir)
        name = f"{cfg.model.name}_{cfg.baseline or running.runtime.choices['attention']}"
    return Path(to_absolute_path(str(cfg.paths.runs))) / "evaluate" / name


def constants_of(cfg: DictConfig) -> dict[str, Any]:
    """The protocol as the configuration has it, with no interpolation left."""
    constants = OmegaConf.to_container(cfg.protocol, resolve=True)
    assert isinstance(constants, dict)
    return {str(key): value for key, value in constants.items()}


def with_paths(source: Source, cfg: DictConfig) -> Source:
    """The source of two folders, whose paths metrics.json states as they were given."""
    settings = {**source.settings, "data": {"ground_truth": str(cfg.ground_truth)}, "frames": None}
    return replace(source, settings=settings, facts={**source.facts, "predictions": str(cfg.predictions)})


def chosen_names(objects: str | Sequence[str] | None, truth: Path) -> tuple[str, ...] | None:
    """The objects to measure: a list of names, or a part of the ground truth's split.json; None for all.

    Raises ValueError for another word and FileNotFoundError when the ground truth has no split.
    """
    if not isinstance(objects, str):
        return None if objects is None else tuple(map(str, objects))
    if objects not in ("train", "holdout"):
        raise ValueError(f"objects={objects}: must be a list of names, holdout or train")
    return split_names(truth, objects)


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
    with file_lock(root):
        instantiate(cfg.data.module.build)(root)
        return split_names(root, "train"), split_names(root, "holdout")


def families_of(root: Path, train: Sequence[str], names: Sequence[str]) -> dict[str, Family]:
    """The family of each held-out object; it is seen when a training object has it."""
    trained = {read_record(root / name)["family"] for name in train}
    families = {name: read_record(root / name)["family"] for name in names}
    return {name: Family(family, family in trained) for name, family in families.items()}


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Everything the numbers depend on except data and seeds, with no interpolation left."""
    return identity.counted(cfg, "evaluate", identity.GENERATED) | {"weights": weight_hashes(cfg)}


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
