"""The result file of one run of a sweep: small, without paths, everything a table row needs and says of itself."""

import json
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from sculpt4d.compute import count_evaluation
from sculpt4d.data.files import file_digest
from sculpt4d.evaluation.holdout import write_json
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.sweeps.plan import Job, Run, plain, portable
from sculpt4d.training.recipe import PLACES

TERA = 1e12


def is_finished(run: Run) -> bool:
    """Whether the run's result was made with its present settings and weights."""
    return run.result.is_file() and json.loads(run.result.read_text()).get("key") == run.key


def write_result(job: Job, run: Run, cfg: DictConfig, weights: Path | None) -> None:
    """Gathers `run.result` from what training and evaluation left.

    mean, error, floor: by quantity, error over the objects. families: the same of seen and unseen ones. loss: of the
    held-out clips at the end of training, by bin of flow time. seconds: wall time; of training since it was last
    resumed. weights: SHA-256 of the temporal layers, null for a baseline.
    """
    measured = json.loads((Path(run.config.output) / "metrics.json").read_text())
    trained = json.loads((weights.parent / "metrics.json").read_text()) if weights else None
    record: dict[str, Any] = {
        "sweep": job.sweep,
        "variant": run.variant,
        "seed": run.seed,
        "key": run.key,
        "model": cfg.model.name,
        "steps": trained["steps"] if trained else 0,
        "frames": cfg.frames,
        "trained_frames": trained["config"]["frames"] if trained else None,
        "overrides": {
            "train": portable(job.training.config.overrides) if job.training else [],
            "evaluate": portable(run.config.overrides),
        },
        "protocol": measured["protocol"],
        "data": plain(cfg.data, PLACES),
        "objects": measured["objects"],
        "names": [entry["name"] for entry in measured["per_object"]],
        "mean": measured["mean"],
        "error": measured["error"],
        "floor": measured["floor"],
        "families": measured["splits"],
        "failures": measured["failures"],
        "objects_with_failures": measured["objects_with_failures"],
        "failed_objects": measured["failed_objects"],
        "loss": trained["metrics"] if trained else {},
        "attention": attention(cfg),
        "seconds": {"train": trained["seconds"] if trained else 0.0, "evaluate": measured["seconds"]},
        "hardware": measured["hardware"],
        "versions": measured["versions"],
        "weights": file_digest(weights) if weights else None,
        "frozen": {part: measured["settings"]["weights"][part] for part in ("vae", "denoiser")},
        "command": run.command,
    }
    write_json(run.result, record)


def attention(cfg: DictConfig) -> dict[str, Any]:
    """What frames see of each other, and what one evaluation of the denoiser computes, in TMAC; counted."""
    temporal = cfg.baseline is None
    pattern = instantiate(cfg.attention) if temporal else None
    with torch.device("meta"):
        denoiser: Denoiser = instantiate(cfg.model.denoiser, _partial_=True)(pattern=pattern)
        conditioner = instantiate(cfg.model.conditioner)
        size = cfg.model.image_size
        seen = conditioner(torch.zeros(1, 3, size, size)).shape[1]
    count = count_evaluation(denoiser, cfg.frames, cfg.model.latents, seen)
    density = pattern.density(cfg.frames, pattern.blocks(cfg.model.latents)) if pattern is not None else 0.0
    return {"pattern": repr(pattern), "density": density, "tmac": count.total / TERA}
