"""Configuration to objects, and the objects run: what train.py calls."""

import json
import logging
import platform
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, ListConfig, OmegaConf

from sculpt4d.data.datamodule import ClipDataModule
from sculpt4d.data.dataset import ClipDataset
from sculpt4d.data.files import write_json
from sculpt4d.generation.parts import STAGE, base_names, build_denoiser, build_vae, find_weights, temporal_names
from sculpt4d.model.layout import PARTS
from sculpt4d.model.weights import save_weights
from sculpt4d.training.autoencoder import AutoencoderModule
from sculpt4d.training.callbacks import LastLosses, TrainedAverage, whole
from sculpt4d.training.latents import LatentDataset, encode_dataset
from sculpt4d.training.module import FlowModule
from sculpt4d.training.recipe import check_recipe, recipe
from sculpt4d.training.resume import KeepRecipe, TrainedOnly, last_checkpoint
from sculpt4d.training.steps import step_generator
from sculpt4d.training.strategies import keep_gathered

log = logging.getLogger(__name__)


def fit(cfg: DictConfig) -> float:
    """Trains the stages in `cfg.stages` one after the other; returns the last validation loss.

    A stage that finished is not repeated, one that was cut off goes on where its last checkpoint stands.
    """
    if cfg.frames < 1:
        raise ValueError(f"frames={cfg.frames}: a clip needs at least one frame")
    known = sorted(path.stem for path in (Path(cfg.paths.conf) / "stage").glob("*.yaml"))
    if unknown := [str(stage) for stage in cfg.stages or () if stage not in known]:
        raise ValueError(f"stages: there is no {', '.join(unknown)}; choose among {', '.join(known)}")
    loss = float("nan")
    weights = dict(cfg.model.weights)
    trained: list[str] = []
    for stage in cfg.stages or [cfg.stage.name]:
        staged = with_stage(cfg, stage, weights)
        if cfg.checkpoint is not None:  # what was just trained goes before what was given
            given = list(cfg.checkpoint) if isinstance(cfg.checkpoint, ListConfig) else [cfg.checkpoint]
            staged.checkpoint = [*trained, *given]
        loss, weights[stage] = fit_stage(staged)
        trained.insert(0, weights[stage])
    return loss


def with_stage(cfg: DictConfig, stage: str, weights: dict[str, Any]) -> DictConfig:
    """The configuration with another stage's options, the overrides in `cfg.stage_options`, and known weights."""
    staged = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    if stage != cfg.stage.name:
        staged.stage = OmegaConf.load(Path(cfg.paths.conf) / "stage" / f"{stage}.yaml")
    options = (cfg.stage_options or {}).get(stage, {})
    if unknown := sorted(options.keys() - staged.stage.keys()):
        raise ValueError(f"stage_options.{stage} has no {', '.join(unknown)}: choose among {', '.join(staged.stage)}")
    staged.stage = OmegaConf.merge(staged.stage, options)
    staged.model.weights = weights
    staged.output = str(Path(cfg.output) / stage) if cfg.stages else cfg.output
    assert isinstance(staged, DictConfig)
    return staged


def fit_stage(cfg: DictConfig) -> tuple[float, str]:
    """One stage: (validation loss, path of the exported weights)."""
    if cfg.stage.steps < 1:
        raise ValueError(f"stage.steps={cfg.stage.steps}: training needs at least one step")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    output = Path(cfg.output)
    exported = output / f"{cfg.stage.name}.safetensors"
    description = describe(cfg)
    resumed = last_checkpoint(output, description)
    if resumed is not None:
        check_recipe(output, cfg)
    known = finished_loss(output, exported, cfg.stage.steps) if resumed else None
    if known is not None:
        log.info("%s was trained to its end before: %s", cfg.stage.name, exported)
        return known, str(exported)
    module, encode = build_module(cfg)
    data: ClipDataModule = instantiate(cfg.data.module, encode=encode)
    average, measured = TrainedAverage(cfg.stage.average), LastLosses()
    kept = [TrainedOnly(description), KeepRecipe(output, cfg)]
    callbacks = [average, measured, *kept, *(instantiate(c) for c in (cfg.callbacks or {}).values())]
    logger = [instantiate(entry, save_dir=str(output)) for entry in (cfg.logger or {}).values()]
    trainer: lightning.Trainer = instantiate(
        cfg.trainer, callbacks=callbacks, logger=logger, max_steps=cfg.stage.steps, default_root_dir=str(output)
    )
    for entry in trainer.loggers:
        entry.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    if resumed is not None:
        log.info("resuming %s from %s", cfg.stage.name, resumed)
    started = time.perf_counter()
    try:
        trainer.fit(module, datamodule=data, ckpt_path=str(resumed) if resumed else None, weights_only=True)
    finally:
        close_loggers(trainer)
    seconds = time.perf_counter() - started
    average.swap(module)
    export(module, cfg, exported, description, trainer)
    if trainer.is_global_zero:
        write_metrics(output / "metrics.json", cfg, measured.losses, seconds, trainer)
    trainer.strategy.barrier("weights written")  # the next stage reads them in every process
    return measured.losses.get("val/loss", float("nan")), str(exported)


def finished_loss(output: Path, exported: Path, steps: int) -> float | None:
    """The validation loss of a run that ended with `steps` steps and wrote its weights; None for any other."""
    metrics = output / "metrics.json"
    if not exported.is_file() or not metrics.is_file():
        return None
    record = json.loads(metrics.read_text())
    return float(record["metrics"].get("val/loss", "nan")) if record["steps"] == steps else None


def close_loggers(trainer: lightning.Trainer) -> None:
    """Ends the W&B run, which would otherwise take in the next stage, or the next run of a multirun."""
    for entry in trainer.loggers:
        if isinstance(entry, WandbLogger) and trainer.is_global_zero:
            entry.experiment.finish()


def describe(cfg: DictConfig) -> dict[str, Any]:
    """What a weight file must agree with before it is loaded."""
    known = {"model": cfg.model.name, "stage": cfg.stage.name}
    return known | ({"attention": repr(instantiate(cfg.attention))} if cfg.stage.name == "temporal" else {})


def build_module(cfg: DictConfig) -> tuple[lightning.LightningModule, Any]:
    """The LightningModule of the stage, and how the data module turns clips into latents (None for stage vae)."""
    stage = cfg.stage
    optimisation = instantiate(stage.optimisation)
    needed = {"vae": PARTS[:1], "base": PARTS[:3], "temporal": PARTS}[stage.name]
    sources = find_weights(cfg, needed, trained=[part for part in needed if STAGE[part] == stage.name])
    vae = build_vae(cfg, sources)
    if stage.name == "vae":
        return AutoencoderModule(vae, optimisation, stage.steps, stage.truncation, stage.kl, cfg.seed), None
    temporal = stage.name == "temporal"
    bundle = build_denoiser(cfg, temporal, sources)
    bundle.denoiser.recompute = stage.recompute
    module = FlowModule(
        vae=vae,
        conditioner=bundle.conditioner,
        denoiser=bundle.denoiser,
        optimisation=optimisation,
        time=instantiate(cfg.flow.time),
        steps=stage.steps,
        train_base=not temporal or stage.train_base,
        shared=cfg.flow.shared,
        share=cfg.flow.share,
        dropout=stage.dropout,
        coupling=stage.coupling or cfg.model.coupling,
        seed=cfg.seed,
    )

    def encode(dataset: ClipDataset, split: str) -> LatentDataset:
        variants = stage.variants if split == "train" else 1
        tensors = encode_dataset(vae.eval(), dataset, variants, dataset.root)
        train = split == "train"
        return LatentDataset(
            tensors, stage.frames or cfg.frames, cfg.seed, fixed=not train, mirror=dataset.settings.mirror
        )

    return module, encode if stage.cache_latents else None


def export(
    module: lightning.LightningModule,
    cfg: DictConfig,
    path: Path,
    description: dict[str, Any],
    trainer: lightning.Trainer,
) -> None:
    """The averaged weights of the trained part, with what they are."""
    if isinstance(module, AutoencoderModule):
        if module.vae.channel_scale:
            fit_scale(module, trainer)
        tensors = module.vae.state_dict()
    else:
        assert isinstance(module, FlowModule)
        parts = {"conditioner": module.conditioner, "denoiser": module.denoiser}
        named = {f"{part}.{name}": v for part, net in parts.items() for name, v in net.state_dict().items()}
        bundle = torch.nn.ModuleDict(parts)
        wanted = temporal_names(bundle) if cfg.stage.name == "temporal" else base_names(bundle)
        tensors = {name: named[name] for name in wanted}
    tensors = {name: whole(value) for name, value in tensors.items()}
    if trainer.is_global_zero:
        save_weights(path, tensors, description | {"config": recipe(cfg)})
        log.info("weights: %s", path)


@torch.no_grad()
def fit_scale(module: AutoencoderModule, trainer: lightning.Trainer, clips: int = 256) -> None:
    """Mean and deviation of every latent channel, its own noise included, over `clips` readings of the training set."""
    data = trainer.datamodule.train  # type: ignore[attr-defined]
    vae = module.vae.eval()
    keep_gathered(vae)
    latents = []
    for number in range(clips):
        clip = data[number]
        frames = clip.surface.shape[0]
        surface = clip.surface.to(module.device)
        posterior = vae.encode(surface, clip.queries.to(module.device).expand(frames, -1))
        noise = torch.randn(posterior.mean.shape, generator=step_generator(module.seed, number)).to(module.device)
        latents.append(posterior.sample(noise).flatten(0, 1))
    vae.fit_scale(torch.cat(latents))


def write_metrics(
    path: Path, cfg: DictConfig, losses: dict[str, float], seconds: float, trainer: lightning.Trainer
) -> None:
    """metrics.json: losses, what they were measured with and on."""
    record = {
        "metrics": losses,
        "steps": trainer.global_step,
        "seconds": round(seconds, 1),
        "config": OmegaConf.to_container(cfg, resolve=True),
        "versions": {
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "python": platform.python_version(),
        },
        "hardware": {"machine": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
    }
    write_json(path, record)
