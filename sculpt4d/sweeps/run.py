"""What train.py does: one training, or all runs of a sweep, side by side; finished runs are not repeated."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sculpt4d.jobs.pool import local
from sculpt4d.sweeps.plan import Composed, Job, Run, plan_sweep
from sculpt4d.sweeps.result import is_finished
from sculpt4d.training.run import fit

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> float:
    """Trains one model and returns its validation loss, or runs the sweep that `cfg.sweep` describes."""
    if "sweep" not in cfg:
        return fit(cfg)
    given = [text for text in HydraConfig.get().overrides.task if not text.startswith("sweep")]
    return run_sweep(cfg, given)


def run_sweep(cfg: DictConfig, given: Sequence[str] = ()) -> float:
    """Trains and evaluates every variant of `cfg.sweep` with every seed; returns the best mean Chamfer distance.

    given: further overrides of every run. A run whose result file was made with the same settings is not repeated, one
    that was cut off goes on. Raises ValueError at the end when runs failed, naming them and their logs.
    """
    from sculpt4d.sweeps.job import perform  # evaluates too: a single training starts without it

    sweep, started = cfg.sweep, time.monotonic()
    jobs = plan_sweep(cfg, given)
    runs = [run for job in jobs for run in job.runs]
    missing = [job for job in jobs if not all(is_finished(run) for run in job.runs)]
    log.info(
        "sweep %s: %d runs, %d of %d trainings with their evaluations to do, results in %s",
        *(sweep.name, len(runs), len(missing), len(jobs), sweep.results),
    )
    build_all(missing)
    failed: dict[str, str] = {}
    logs = {job.name: job.log for job in missing}
    for done, outcome in enumerate(local(sweep.workers).run(missing, perform, Path(sweep.folder)), 1):
        told = f"{done} of {len(missing)}, {(time.monotonic() - started) / 60:.0f} minutes"
        if outcome.status == "failed":
            failed[outcome.name] = f"{outcome.reason} (log: {logs[outcome.name]})"
            log.warning("%s failed: %s; %s", outcome.name, outcome.reason, told)
        else:
            log.info("%s done in %.0f minutes; %s", outcome.name, outcome.seconds / 60, told)
    best = tell([run for run in runs if is_finished(run)])
    if failed:
        listed = "".join(f"\n  {name}: {reason}" for name, reason in failed.items())
        raise ValueError(f"{len(failed)} jobs of sweep {sweep.name} failed, the same command tries them again{listed}")
    if "table" in sweep:
        log.info("the table: %s", sweep.table)
    return best


def build_all(jobs: Sequence[Job]) -> None:
    """Every data set that the jobs read, once, before several processes ask for it."""
    from sculpt4d.evaluation.run import build_data

    configs = [config for job in jobs for config in _configs(job)]
    built: set[str] = set()
    for config in dict.fromkeys(configs):
        cfg = config.build()
        if str(cfg.data.root) not in built:
            built.add(str(cfg.data.root))
            build_data(cfg)


def _configs(job: Job) -> list[Composed]:
    return [*([job.training.config] if job.training else []), *(run.config for run in job.runs)]


def tell(runs: Sequence[Run]) -> float:
    """One line a variant: means over the seeds, with the standard error over seeds; the smallest mean Chamfer."""
    best = float("inf")
    for variant in dict.fromkeys(run.variant for run in runs):
        records = [json.loads(run.result.read_text()) for run in runs if run.variant == variant]
        cells = []
        for name in ("chamfer", "iou", "fscore"):
            values = [record["mean"][name] for record in records]
            error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
            cells.append(f"{name} {np.mean(values):.4f} +- {error:.4f}")
        best = min(best, float(np.mean([record["mean"]["chamfer"] for record in records])))
        log.info("%-32s %s, %d seeds", variant, ", ".join(cells), len(records))
    return best
