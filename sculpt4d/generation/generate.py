"""Entry point of generate.py: a video to a folder of meshes."""

import logging
import time
from pathlib import Path
from typing import Any

from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress, TaskID

from sculpt4d.generation.export import check_folder, write_outputs
from sculpt4d.generation.video import read_frames

log = logging.getLogger(__name__)


class Phases:
    """Progress bar and duration of every phase."""

    def __init__(self, bars: Progress) -> None:
        self.bars, self.tasks, self.seconds = bars, dict[str, TaskID](), dict[str, float]()
        self.since = time.perf_counter()

    def step(self, phase: str, done: int, total: int) -> None:
        """Report `done` of `total` steps of `phase`."""
        if phase not in self.tasks:
            self.tasks[phase] = self.bars.add_task(phase, total=total)
        self.bars.update(self.tasks[phase], completed=done)
        if done == total:
            self.end(phase)

    def end(self, phase: str) -> None:
        """Record the time since the end of the last phase."""
        now = time.perf_counter()
        self.seconds[phase], self.since = round(now - self.since, 2), now


def generate(cfg: DictConfig) -> Path:
    """Write meshes, an animated GLB, preview, page and generation.json; return the folder.

    The input is read before torch is imported, so that an unusable file is reported at once.
    """
    source = Path(to_absolute_path(str(cfg.input)))
    output = Path(to_absolute_path(str(cfg.output))) if cfg.output else Path(cfg.paths.runs) / "generate" / source.stem
    check_folder(output, cfg.overwrite)
    with Progress() as bars:
        phases = Phases(bars)
        phases.step("reading", 0, cfg.frames)
        video = read_frames(source, cfg.frames, stride=cfg.stride, background=cfg.background)
        phases.step("reading", cfg.frames, cfg.frames)
        import torch

        from sculpt4d.data.images import compose
        from sculpt4d.generation.pipeline import load_pipeline, peak_memory
        from sculpt4d.generation.recentre import recentre_clip

        phases.end("loading libraries")
        if cfg.threads:
            torch.set_num_threads(cfg.threads)
        # the release prepares images of 512 pixels, which its image encoder enlarges
        images = compose(video.frames, cfg.model.image_size) if cfg.crop == "clip" else recentre_clip(video.frames)
        phases.end("cropping")
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
