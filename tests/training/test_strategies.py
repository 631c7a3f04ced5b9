from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from sculpt4d import optional
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.training.strategies import Sharded, block_lists, deepspeed, deepspeed_config


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_is_refused_with_the_install_line_where_it_is_missing(
    stage: int, configure: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(optional, "probe", lambda name: None)
    strategy = configure(
        "train", "trainer=deepspeed", f"trainer.strategy.stage={stage}", "output=none"
    ).trainer.strategy
    assert strategy.stage == stage
    with pytest.raises(Exception, match=r"pip install -e '.\[deepspeed\]'.*trainer=ddp"):
        instantiate(strategy)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_zero_configuration_is_what_deepspeed_reads(stage: int):
    config = deepspeed_config(stage)
    assert config["zero_optimization"]["stage"] == stage
    assert config["zero_allow_untested_optimizer"] is True
    assert ("stage3_gather_16bit_weights_on_model_save" in config["zero_optimization"]) == (stage == 3)


def test_another_zero_stage_is_refused():
    with pytest.raises(ValueError, match="choose 1, 2 or 3"):
        deepspeed(4)


def test_fsdp_builds_its_strategy_and_keeps_clipping(configure: Callable[..., DictConfig]):
    trainer = configure("train", "trainer=fsdp", "output=none").trainer
    assert isinstance(instantiate(trainer.strategy), Sharded)
    assert (
        trainer.gradient_clip_val == configure("train", "trainer=cpu", "output=none").trainer.gradient_clip_val == 1.0
    )


def test_blocks_are_sharded_and_their_experts_are_not():
    with torch.device("meta"):
        denoiser = Denoiser(depth=3, hidden_size=32, num_heads=2, num_moe_layers=1)
    lists = list(block_lists(nn.ModuleDict({"denoiser": denoiser})))
    assert [len(blocks) for blocks in lists] == [3]
    assert lists[0] is denoiser.blocks
