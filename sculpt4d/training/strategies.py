"""Sharding strategies: FSDP2 over the denoiser's blocks, and DeepSpeed if it is installed."""

from collections.abc import Iterator
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from sculpt4d.optional import require


class Sharded(ModelParallelStrategy):
    """FSDP2 over all processes. A checkpoint is one file of whole tensors, as with the other strategies."""

    def __init__(self, **options: Any) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False, **options)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes  # Lightning's "auto" is one process per node
        super().setup_environment()


def shard_parts(network: nn.Module, mesh: DeviceMesh) -> None:
    """Shard every block of the network separately, then the remaining parameters.

    Parameters become DTensors in place. They are gathered during the `forward` they belong to.
    """
    for blocks in block_lists(network):
        for block in blocks:
            fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def reshard(network: nn.Module) -> None:
    """Shard all parameters again after a forward without backward, which leaves them gathered."""
    for part in network.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def keep_gathered(network: nn.Module) -> None:
    """Keep the network gathered from its next forward on, for many forwards without training."""
    for part in network.modules():
        if isinstance(part, FSDPModule):
            part.set_reshard_after_forward(False)


def block_lists(network: nn.Module) -> Iterator[nn.ModuleList]:
    """The outermost module lists: the blocks, not the experts inside them."""
    for child in network.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from block_lists(child)


def deepspeed(stage: int, **options: Any) -> Any:
    """Lightning's DeepSpeed strategy at ZeRO `stage` 1, 2 or 3 (the release trains under DeepSpeed ZeRO).

    Raises ImportError with installation instructions, and ValueError for another stage.
    """
    if stage not in (1, 2, 3):
        raise ValueError(f"ZeRO stage {stage}: choose 1, 2 or 3")
    require("deepspeed")
    from lightning.pytorch.strategies import DeepSpeedStrategy

    return DeepSpeedStrategy(config=deepspeed_config(stage), **options)


def deepspeed_config(stage: int) -> dict[str, Any]:
    """DeepSpeed's ZeRO configuration. It explicitly allows the optimiser, torch's fused AdamW."""
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
