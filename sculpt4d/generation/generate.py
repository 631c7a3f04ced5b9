"""A video to a folder of meshes: what generate.py calls."""

import logging
import resource
import time
from pathlib import Path
from typing import Any

import torch
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress, TaskID

from sculpt4d.data.images import compose
from sculpt4d.generation.export import check_folder, write_outputs
from sculpt4d.generation.pipeline import load_pipeline
from sculpt4d.generation.recentre import recentre_clip
from sculpt4d.generation.video import read_frames

log = logging.getLogger(__name__)

CROPS = ("clip", "frame")


class Phases:
    """One progress bar a phase, and the seconds each took."""

    def __init__(self, bars: Progress) -> None:
        self.bars, self.tasks, self.seconds = bars, dict[str, TaskID](), dict[str, float]()
        self.since = time.perf_counter()

    def step(self, phase: str, done: int, total: int) -> None:
        """`done` of `total` of `phase`."""
        if phase not in self.tasks:
            self.tasks[phase] = self.bars.add_task(phase, total=total)
        self.bars.update(self.tasks[phase], completed=done)
        if done == total:
            self.end(phase)

    def end(self, phase: str) -> None:
        """Books the time since the last phase ended."""
        now = time.perf_counter()
        self.seconds[phase], self.since = round(now - self.since, 2), now


def peak_memory(device: torch.device) -> dict[str, int]:
    """Most bytes that this process held so far: resident on the host, and allocated on a CUDA device."""
    host = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    return host | ({"device": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {})


def generate(cfg: DictConfig) -> Path:
    """Writes meshes, one animated GLB, preview, page and generation.json; returns the folder."""
    source = Path(to_absolute_path(str(cfg.input)))
    output = Path(to_absolute_path(str(cfg.output))) if cfg.output else Path(cfg.paths.runs) / "generate" / source.stem
    if cfg.fps <= 0:
        raise ValueError(f"fps={cfg.fps}: frames per second must be positive")
    if cfg.crop not in CROPS:
        raise ValueError(f"crop={cfg.crop} is not one of {', '.join(CROPS)}")
    check_folder(output, cfg.overwrite)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    with Progress() as bars:
        phases = Phases(bars)
        video = read_frames(source, cfg.frames, stride=cfg.stride, background=cfg.background)
        # the release prepares pictures of 512 pixels, which its image encoder enlarges
        images = compose(video.frames, cfg.model.image_size) if cfg.crop == "clip" else recentre_clip(video.frames)
        phases.end("reading")
        pipeline = load_pipeline(cfg, phases.step)
        phases.end("loading")
        decoded = pipeline.decode(pipeline.sample(images, cfg.seed, phases.step), phases.step)
        record: dict[str, Any] = {
            "input": str(source),
            "frames": list(video.names),
            "background": video.background,
            "seed": cfg.seed,
            "seconds": phases.seconds,
            "peak_memory": peak_memory(pipeline.device),
            "queries": {"asked": decoded.queries, "of_dense_grids": decoded.dense},
            "config": OmegaConf.to_container(cfg, resolve=True),
            "versions": {"torch": torch.__version__},
        }
        write_outputs(decoded.sequence, video.frames, output, record, fps=float(cfg.fps), overwrite=cfg.overwrite)
    log.info("%d frames in %s: open index.html, or animated.glb in Blender", len(decoded.sequence.frames), output)
    return output
