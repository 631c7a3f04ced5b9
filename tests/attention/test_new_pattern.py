"""A pattern that the package does not know: one class here and one configuration value, and everything runs it."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from jaxtyping import Bool
from omegaconf import OmegaConf
from torch import Tensor

from benchmarks.attention import compare, configured
from sculpt4d.attention import block_sparse
from sculpt4d.attention.backends import BACKENDS, AttentionCase, attend, choose
from sculpt4d.attention.patterns import Pattern, StridedPattern, Structure
from sculpt4d.compute import count_evaluation, pairs
from sculpt4d.flow import flow_loss
from sculpt4d.model.denoiser import Denoiser

from .judge import assert_exact, heads, written_out
from .test_backends import stand_in

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"in_channels": 8, "hidden_size": 32, "context_dim": 16, "depth": 3, "num_heads": 2}


@dataclass(frozen=True)
class CausalPattern(Pattern):
    """Every frame sees itself and earlier frames within `reach`; an arbitrary mask to every backend."""

    reach: int = 2
    block_size: int = 2

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        frame = torch.arange(frames).repeat_interleave(blocks)
        distance = frame[:, None] - frame
        return (distance >= 0) & (distance <= self.reach)


@dataclass(frozen=True)
class AlternatingPattern(Pattern):
    """Frames of equal parity see each other whole, all others at `stride`; the merged backend runs its table."""

    stride: int = 2
    block_size: int = 2

    def table(self, frames: int) -> list[int]:
        return [1 if (i - j) % 2 == 0 else self.stride for i in range(frames) for j in range(frames)]

    def mask(self, frames: int, blocks: int) -> Bool[Tensor, "q k"]:
        frame, block = torch.arange(frames).repeat_interleave(blocks), torch.arange(blocks).repeat(frames)
        stride = torch.tensor(self.table(frames)).view(frames, frames)[frame[:, None], frame]
        return block[:, None] % stride == block % stride

    def structure(self, frames: int) -> Structure:
        return Structure("pairwise", tuple(self.table(frames)))


def option(kind: type[Pattern], **values: Any) -> Any:
    """What a file of conf/attention would hold."""
    return OmegaConf.create({"_target_": f"{__name__}.{kind.__name__}", "block_size": 2, **values})


CAUSAL, ALTERNATING = option(CausalPattern, reach=1), option(AlternatingPattern, stride=3)


@pytest.fixture(params=[CAUSAL, ALTERNATING], ids=["arbitrary", "structured"])
def pattern(request: pytest.FixtureRequest) -> Pattern:
    """The option instantiated as the commands do."""
    return instantiate(request.param)


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("backend", ["reference", "merged", "auto"])
def test_backends_are_exact_with_gradients(pattern: Pattern, frames: int, backend: str):
    if backend == "merged" and pattern.structure(frames) is None:
        with pytest.raises(ValueError, match=r"merged cannot run .*: it has no dense pieces"):
            attend(*heads(frames, 12), pattern, frames, backend)
    else:
        assert_exact(pattern, frames, 12, backend)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_runs_it(pattern: Pattern):
    inputs = heads(5, 12, width=16, grad=False)
    assert (attend(*inputs, pattern, 5, "flex") - written_out(*inputs, pattern, 5)).abs().max() < 2e-6


@pytest.mark.parametrize("kind", [CausalPattern, AlternatingPattern])
def test_block_sparse_runs_it_on_blocks_of_its_own_size(kind: type[Pattern], monkeypatch: pytest.MonkeyPatch):
    package = stand_in()
    monkeypatch.setitem(BACKENDS, "block_sparse", lambda *inputs: block_sparse.run(package, *inputs))
    assert_exact(kind(block_size=128), 3, 512, "block_sparse", torch.float64)  # type: ignore[call-arg]


def test_auto_takes_the_backend_that_the_mask_allows():
    case = AttentionCase(CausalPattern(), 8, 256, 1, 8, torch.float32, CPU, True)
    assert choose("auto", case)[0] == "reference"
    assert choose("auto", case._replace(device=torch.device("cuda")))[0] == "flex"
    assert choose("auto", case._replace(pattern=AlternatingPattern()))[0] == "merged"


def denoiser(pattern: Pattern, backend: str = "auto") -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(**SIZES, num_moe_layers=0, pattern=pattern, backend=backend)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_a_denoiser_trains_with_it(pattern: Pattern):
    generator = torch.Generator().manual_seed(1)
    data, noise = (torch.randn(2, 4, 12, 8, generator=generator) for _ in range(2))
    time, context = torch.rand(2, generator=generator), torch.randn(2, 4, 5, 16, generator=generator)
    model, losses = denoiser(pattern), []
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    for _ in range(2):
        loss = flow_loss(lambda noised, at: model(noised, at, context), data, noise, time).mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(block.temporal.to_k.weight.grad.any() for block in model.blocks)  # type: ignore[union-attr]
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    with torch.no_grad():
        projected = model(noise, time, model.project(context))
        torch.testing.assert_close(projected, model(noise, time, context), atol=1e-5, rtol=0)
        dense = denoiser(StridedPattern((1,), anchor=False, block_size=2))
        dense.load_state_dict(model.state_dict())
        assert (dense(noise, time, context) - model(noise, time, context)).abs().max() > 1e-4  # the mask counts


def test_its_products_are_counted(pattern: Pattern):
    kept = int(pattern.mask(4, 6).sum()) * 4  # blocks of two tokens
    assert pairs(pattern, 4, 12) == kept
    counted = count_evaluation(denoiser(pattern), 4, 12, 5)
    assert counted.temporal_scores == 2 * SIZES["hidden_size"] * kept * SIZES["depth"]


def test_the_benchmark_measures_it(pattern: Pattern):
    case = AttentionCase(pattern, 4, 12, 2, 16, torch.float32, CPU, True)
    report = compare(case, None, 1)
    assert report["density"] == pattern.density(4, 6)
    ran = [row["backend"] for row in report["rows"]]
    assert ran == (["reference"] if pattern.structure(4) is None else ["reference", "merged"])
    assert all(row["error"] < 2e-6 for row in report["rows"])


def test_options_of_the_package_are_patterns_too():
    assert isinstance(configured("blockmask_decay", 2), Pattern)
