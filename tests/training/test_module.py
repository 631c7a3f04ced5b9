"""What trains, what stays, and what is written of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning import Trainer
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from sculpt4d.model.denoiser import is_temporal
from sculpt4d.training.module import FlowModule
from sculpt4d.training.optim import Optimisation
from sculpt4d.training.resume import TrainedOnly
from sculpt4d.training.run import build_module
from sculpt4d.types import EncodedClip

Configure = Callable[..., DictConfig]


def batch(clips: int = 2, frames: int = 4) -> EncodedClip:
    shape = (clips, frames, 32, 8)
    return EncodedClip(torch.randn(shape), torch.full(shape, -2.0), torch.rand(clips, frames, 3, 16, 16))


def build(configure: Configure, *overrides: str) -> FlowModule:
    torch.manual_seed(0)
    module, _ = build_module(configure("train", "model=nano", "output=none", *overrides))
    assert isinstance(module, FlowModule)
    return module


def names(module: torch.nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def step(module: FlowModule, callbacks: list[Any], folder: Any, steps: int = 2) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, DataLoader([batch()] * steps, batch_size=None))
    return trainer


def test_only_temporal_layers_train_by_default(configure: Configure):
    module = build(configure)
    assert names(module) and all(is_temporal(name) for name in names(module))
    whole = names(build(configure, "stage=base"))
    assert whole and not any(name.startswith("vae.") for name in whole)
    assert any(name.startswith("conditioner.") for name in whole)
    both = names(build(configure, "stage.train_base=true"))
    assert both == whole | names(module)


def test_frozen_parts_are_in_eval_mode_after_train(configure: Configure):
    module = build(configure).train()
    assert not module.vae.training and not module.conditioner.training
    for name, part in module.denoiser.named_modules():
        if name:
            assert part.training == is_temporal(f"{name}."), name
    assert not any(part.training for part in module.eval().modules())
    base = build(configure, "stage=base").train()
    assert not base.vae.training and base.denoiser.blocks[2].moe.training and base.conditioner.training


def test_frozen_weights_do_not_move_and_are_not_in_checkpoints(configure: Configure, tmp_path: Any):
    module = build(configure, "stage.optimisation.warmup=0")
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    trained = names(module)
    trainer = step(module, [TrainedOnly({"model": "nano"})], tmp_path)
    moved = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert moved and moved <= trained
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    kept = torch.load(tmp_path / "some.ckpt", weights_only=True)
    assert set(kept["state_dict"]) & set(before) == trained
    assert kept["sculpt4d"] == {"model": "nano"}


def test_the_same_step_has_the_same_loss_and_another_step_or_rank_has_not(configure: Configure):
    module, clips = build(configure), batch()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    losses = [module.training_step(clips, index).item() for index in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


def test_shared_noise_is_what_the_frames_see(configure: Configure):
    still = EncodedClip(*(x[:, :1].expand(-1, 4, *x.shape[2:]) for x in batch()))
    for shared in (True, False):
        module = build(configure, f"flow.shared={str(shared).lower()}").eval()
        seen = []
        module.denoiser.forward = lambda noised, now, context, seen=seen: seen.append(noised) or noised
        module.clip_losses(still, torch.full((2,), 0.3), torch.Generator().manual_seed(0))
        assert torch.allclose(seen[0], seen[0][:, :1].expand_as(seen[0])) == shared


def test_context_is_dropped_in_training_alone(configure: Configure):
    module = build(configure, "stage.dropout=1.0")
    seen: list[torch.Tensor] = []
    module.denoiser.forward = lambda noised, now, context: seen.append(context) or noised
    for training in (True, False):
        module.train(training)
        module.clip_losses(batch(), torch.full((2,), 0.5), torch.Generator().manual_seed(0))
    assert not seen[0].any() and seen[1].any()


def test_the_learning_rate_warms_up_and_decays():
    weight = torch.nn.Parameter(torch.zeros(1))
    built = Optimisation(rate=1.0, warmup=10, final=0.1).build([weight], 110)
    factor = built["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert factor(0) == pytest.approx(1e-6)
    assert factor(10) == pytest.approx(1.0)
    assert factor(60) == pytest.approx(0.55)
    assert factor(110) == factor(500) == pytest.approx(0.1)
