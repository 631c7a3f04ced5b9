"""Configuration to objects, the holdout measured, one metrics.json: what evaluate.py calls."""

import hashlib
import logging
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sculpt4d.data.dataset import ClipSettings, holdout_clips, split_names
from sculpt4d.data.store import read_record
from sculpt4d.evaluation.holdout import Case, evaluate_cases, write_json
from sculpt4d.evaluation.metrics import FAILED_CHAMFER
from sculpt4d.evaluation.protocol import DEFINITIONS, Protocol
from sculpt4d.evaluation.summary import Summary, summarize_results
from sculpt4d.generation.parts import find_weights
from sculpt4d.generation.pipeline import load_pipeline
from sculpt4d.model.layout import PARTS
from sculpt4d.types import Clip, MeshSequence

log = logging.getLogger(__name__)

TEMPORAL = "4d"  # the method's name when it is no baseline


def evaluate(cfg: DictConfig) -> float:
    """Measures what `cfg` describes on the holdout, prints a table and writes `<output>/metrics.json`.

    Returns the mean Chamfer distance. A finished object is not computed again. Raises ValueError for settings that
    cannot run and FileNotFoundError for data that are not there.
    """
    if cfg.limit is not None and cfg.limit < 1:
        raise ValueError(f"limit={cfg.limit}: at least one object is needed, or null for all")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    started = time.perf_counter()
    output = Path(cfg.output)
    protocol: Protocol = instantiate(cfg.protocol)
    metrics = instantiate(cfg.metrics)
    torch.manual_seed(cfg.seed)
    pipeline = load_pipeline(cfg)

    def predict(clip: Clip, seed: int) -> MeshSequence:
        if cfg.baseline == "reconstruction":
            return pipeline.reconstruct(clip, seed)
        return pipeline.generate(clip.images, seed)

    build_data(cfg)
    settings = resolved(cfg)
    seeds = list(cfg.seeds)
    total = len(split_names(Path(cfg.data.root), "holdout")[: cfg.limit])
    results = evaluate_cases(read_cases(cfg), predict, protocol, seeds, output, settings, metrics, total)
    summary = summarize_results(results)
    record = {
        "method": cfg.baseline or TEMPORAL,
        **asdict(summary),
        "seeds": seeds,
        "protocol": {**settings["protocol"], "failed_chamfer": FAILED_CHAMFER, "definitions": dict(DEFINITIONS)},
        "settings": settings,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
        "hardware": hardware(),
        "per_object": [asdict(result) for result in results],
    }
    write_json(output / "metrics.json", record)
    show(summary, cfg.baseline or TEMPORAL, len(seeds))
    log.info("metrics: %s", output / "metrics.json")
    logged = {f"test/{name}": value for name, value in {**summary.mean, "failures": summary.failures}.items()}
    for entry in (cfg.logger or {}).values():
        logger = instantiate(entry, save_dir=str(output))
        logger.log_metrics(logged)
        logger.finalize("success")
    return summary.mean["chamfer"]


def build_data(cfg: DictConfig) -> None:
    """Makes the data when the configured set knows how and they are missing."""
    if cfg.data.module.get("build") is not None:
        instantiate(cfg.data.module.build)(Path(cfg.data.root))


def read_cases(cfg: DictConfig) -> Iterator[Case]:
    """The held-out objects; a family is seen when a training object has it."""
    root = Path(cfg.data.root)
    reading: ClipSettings = instantiate(cfg.data.settings)
    trained = {read_record(root / name)["family"] for name in split_names(root, "train")}
    for name, family, clip, truth in holdout_clips(root, reading, cfg.limit):
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
                with open(file, "rb") as opened:
                    digests[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        hashes[part] = {file.name: digests[file] for file in files} if source else None
    return hashes


def versions() -> dict[str, str]:
    """Of Python and the packages the numbers pass through."""
    found = {"python": platform.python_version()}
    for package in ("sculpt4d", "torch", "numpy", "scipy", "libigl", "scikit-image"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> dict[str, str | int]:
    """What the numbers were computed on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"machine": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "gpu": device}


def show(summary: Summary, method: str, seeds: int) -> None:
    """The table a person reads: every quantity with its errors, and the sampling floor beside it."""
    title = f"{method}: {summary.objects} objects, {seeds} seeds, {summary.failures} of {summary.frames} frames failed"
    caption = "error: standard error over objects; spread: standard deviation over seeds; floor: truth against itself"
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD)
    splits: Mapping[str, Any] = summary.splits
    table.add_column("", no_wrap=True)
    for column in ("mean", "error", "spread", *splits, "floor"):
        table.add_column(column, justify="right")
    for name in summary.mean:
        numbers = [summary.mean[name], summary.error[name], summary.spread[name]]
        numbers += [split.mean[name] for split in splits.values()]
        table.add_row(name, *(f"{number:.4f}" for number in [*numbers, summary.floor[name]]))
    Console().print(table)
