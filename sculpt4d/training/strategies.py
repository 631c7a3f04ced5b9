"""Sharding: FSDP2 over the denoiser's blocks, DeepSpeed where it is installed."""

from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from sculpt4d.model.denoiser import Denoiser
from sculpt4d.optional import require


def shard(module: nn.Module, denoiser: Denoiser, mesh: DeviceMesh) -> None:
    """Shards every block on its own, then what remains; parameters become DTensors in place."""
    for block in denoiser.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def deepspeed(stage: int, **options: Any) -> Any:
    """Lightning's DeepSpeed strategy at ZeRO `stage` 1, 2 or 3 (the release trains under DeepSpeed ZeRO).

    Raises ImportError with the way to get DeepSpeed, ValueError for another stage.
    """
    if stage not in (1, 2, 3):
        raise ValueError(f"ZeRO stage {stage}: choose 1, 2 or 3")
    require("deepspeed")
    from lightning.pytorch.strategies import DeepSpeedStrategy

    return DeepSpeedStrategy(config=deepspeed_config(stage), **options)


def deepspeed_config(stage: int) -> dict[str, Any]:
    """ZeRO as DeepSpeed reads it; the optimiser is torch's fused AdamW, which ZeRO has to be told to accept."""
    config: dict[str, Any] = {
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": stage,
            "contiguous_gradients": True,
            "overlap_comm": True,
            "reduce_bucket_size": 200_000_000,
        },
    }
    if stage == 3:
        config["zero_optimization"] |= {
            "stage3_prefetch_bucket_size": 50_000_000,
            "stage3_param_persistence_threshold": 100_000,
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return config
