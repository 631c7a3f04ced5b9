"""What one training step of the temporal layers costs with each attention backend, and that all give one loss.

python -m benchmarks.training_step --frames 8 16 32 --backends reference,merged experiment=demo

Backends step in turns from the same weights on the same batches, random latents and pictures of the model's sizes. On
the CPU seconds are process time of one thread, medians over the steps after the first.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from hydra import compose, initialize_config_dir
from rich.progress import track
from torch.optim.lr_scheduler import LRScheduler

from benchmarks.record import BenchmarkRecord, add_record, command_line, record
from experiments.report import FORMATS, Table
from sculpt4d.attention.timing import seconds
from sculpt4d.training.module import FlowModule
from sculpt4d.training.optim import step_generator
from sculpt4d.training.run import build_module
from sculpt4d.types import EncodedClip

ROOT = Path(__file__).resolve().parents[1]
DEMO = ("experiment=demo",)


@dataclass
class TrainingCurve:
    """A module on its way through the steps, and the loss and seconds of each."""

    module: FlowModule
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler
    losses: list[float]
    taken: list[float]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser("python -m benchmarks.training_step", description=__doc__)
    found.formatter_class = argparse.RawDescriptionHelpFormatter
    found.add_argument("overrides", nargs="*", help="of conf/train.yaml; experiment=demo without any")
    found.add_argument("--frames", type=int, nargs="+", default=[8, 16, 32])
    found.add_argument("--backends", default="reference,merged", help="with commas between; ratios are to the first")
    found.add_argument("--batch", type=int, default=2, help="clips of a step")
    found.add_argument("--steps", type=int, default=6)
    found.add_argument("--threads", type=int, default=1)
    found.add_argument("--device", default="cpu")
    add_record(found)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    options = parser()
    given = options.parse_args(arguments)
    if min(given.frames) < 1 or given.batch < 1 or given.steps < 2:
        options.error("frames and batch are 1 or more, steps 2 or more (the first is not timed)")
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    rows: list[tuple[str, ...]] = []
    for frames in given.frames:
        courses = {name: course(name, frames, given.overrides, device) for name in given.backends.split(",")}
        first = next(iter(courses.values()))
        for step in track(range(given.steps), f"{frames} frames"):
            batch = clips(first.module, frames, given.batch, step, device)
            for each in courses.values():
                each.taken.append(seconds(partial(advance, each, batch, step), device))
        rows += described(frames, courses)
    sizes = " ".join(given.overrides or DEMO)
    title = f"Seconds of a training step of {given.batch} clips: {sizes}, torch {torch.__version__}, {device.type}"
    header = ("frames", "backend", "seconds", "ratio", "largest relative difference of the loss")
    print(FORMATS["markdown"](Table(title, header, tuple(rows))))
    if given.record is not None:
        first, *_ = given.backends.split(",")
        others = [row for row in rows if row[1] != first]
        ratios = {f"{name} / {first}, seconds at {frames} frames": float(ratio) for frames, name, _, ratio, _ in others}
        gaps = {
            f"{name}, relative difference of the loss at {frames} frames": float(row[-1])
            for frames, name, *row in others
        }
        line = command_line("benchmarks.training_step", arguments)
        print(record(BenchmarkRecord("training step", line, 0, ratios, gaps), given.record))


def course(backend: str, frames: int, overrides: Sequence[str], device: torch.device) -> TrainingCurve:
    """The temporal stage of a configuration, in float32, with one backend."""
    chosen = [*(overrides or DEMO), "stage=temporal", f"backend={backend}", f"frames={frames}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=[f"paths.root={ROOT}", *chosen])
    torch.manual_seed(cfg.seed)
    module, _ = build_module(cfg)
    assert isinstance(module, FlowModule)
    module.to(device).train()
    built = module.configure_optimizers()
    return TrainingCurve(module, built["optimizer"], built["lr_scheduler"]["scheduler"], [], [])


def clips(module: FlowModule, frames: int, count: int, step: int, device: torch.device) -> EncodedClip:
    """Random posteriors and pictures of the model's sizes."""
    generator = step_generator(module.seed, step)
    vae, size = module.vae, getattr(module.conditioner, "size", 518)
    latents = (count, frames, vae.num_latents, vae.embed_dim)
    mean, logvar = torch.randn(latents, generator=generator), torch.full(latents, -4.0)
    images = torch.rand((count, frames, 3, size, size), generator=generator)
    return EncodedClip(mean.to(device), logvar.to(device), images.to(device))


def advance(course: TrainingCurve, batch: EncodedClip, step: int) -> None:
    """One step of the optimiser."""
    generator = step_generator(course.module.seed, step)
    time = course.module.time(len(batch.mean), generator)
    loss = course.module.clip_losses(batch, time, generator).mean()
    course.optimiser.zero_grad()
    loss.backward()
    course.optimiser.step()
    course.schedule.step()
    course.losses.append(loss.item())


def described(frames: int, courses: dict[str, TrainingCurve]) -> Iterator[tuple[str, ...]]:
    """A row for each backend."""
    first = next(iter(courses.values()))
    for name, each in courses.items():
        taken = median(each.taken[1:])
        gap = max(abs(a - b) / abs(b) for a, b in zip(each.losses, first.losses, strict=True))
        yield str(frames), name, f"{taken:.3f}", f"{taken / median(first.taken[1:]):.3f}", f"{gap:.1e}"


if __name__ == "__main__":
    main()
