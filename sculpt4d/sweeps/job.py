"""One job of a sweep, as a worker process does it: train, or take the weights that are there, evaluate each run."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from omegaconf import ListConfig

from sculpt4d.data.lock import alone
from sculpt4d.evaluation.run import evaluate
from sculpt4d.sweeps.plan import Job, Run, Training
from sculpt4d.sweeps.result import is_finished, write_result
from sculpt4d.training.run import fit

log = logging.getLogger(__name__)


def perform(job: Job) -> None:
    """Leaves a result file for every run of the job that has none; everything it says goes into the job's log."""
    with logged(job.log):
        try:
            weights = train_once(job.training) if job.training else None
            for run in job.runs:
                if is_finished(run):
                    continue
                measure(job, run, weights)
        except Exception:
            log.exception("%s failed", job.name)
            raise


def train_once(training: Training) -> Path:
    """The trained temporal layers. Another process that trains the same is waited for."""
    folder = Path(training.config.output)
    cfg = training.config.build()
    with alone(folder):
        fit(cfg)
    return folder / f"{cfg.stage.name}.safetensors"


def measure(job: Job, run: Run, weights: Path | None) -> None:
    """Evaluates with the trained weights in front of those that are given, and writes the result file."""
    cfg = run.config.build()
    if weights is not None:
        given = list(cfg.checkpoint) if isinstance(cfg.checkpoint, ListConfig) else [cfg.checkpoint]
        cfg.checkpoint = [str(weights), *filter(None, given)]
    evaluate(cfg)
    write_result(job, run, cfg, weights)
    log.info("result: %s", run.result)


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Log records and everything printed are appended to `path`: several processes share one terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    with open(path, "a", encoding="utf-8", buffering=1) as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s"))
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
