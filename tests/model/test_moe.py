from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sculpt4d.model.moe import BALANCE, MixtureOfExperts, balance_term


@pytest.fixture
def io(golden: Callable[[str], dict[str, Tensor]]) -> dict[str, Tensor]:
    return golden("moe_tiny_io")


@pytest.fixture
def moe(golden_config: dict[str, Any], golden: Callable[[str], dict[str, Tensor]]) -> MixtureOfExperts:
    """The golden mixture."""
    config = golden_config["moe"]["moe_tiny"]
    mixture = MixtureOfExperts(config["dim"], config["E"], config["K"], config["inner"])
    mixture.load_state_dict(golden("moe_tiny"))
    return mixture


def test_output_and_routing_equal_the_golden_ones(moe: MixtureOfExperts, io: dict[str, Tensor]):
    with torch.no_grad():
        probabilities = moe.gate(io["x"].flatten(0, 1))
        assert torch.allclose(probabilities, io["gate_probs"], atol=1e-6)
        weights, chosen = probabilities.topk(moe.top, dim=-1)
        assert torch.equal(chosen, io["topk_idx_desc"])
        assert torch.allclose(weights, io["topk_weight_desc"], atol=1e-6)
        assert torch.allclose(moe.eval()(io["x"]), io["out_eval"], atol=2e-5)


def test_balance_term_and_its_gradients_equal_the_golden_ones(moe: MixtureOfExperts, io: dict[str, Tensor]):
    assert balance_term(io["gate_probs"], io["topk_idx_desc"]).item() == pytest.approx(io["aux_loss"].item(), rel=1e-5)
    x = io["x"].clone().requires_grad_()
    out = moe.train()(x)
    assert torch.allclose(out, io["out_train"], atol=2e-5)
    (out * io["train.upstream_grad"]).sum().backward()
    found = dict(moe.named_parameters()) | {"x": x}
    for name in [name.removeprefix("train.grad.") for name in io if name.startswith("train.grad.")]:
        wanted = io[f"train.grad.{name}"]
        assert (found[name].grad - wanted).abs().max() <= 1e-4 * wanted.abs().max(), name


def test_the_balance_term_is_injected_at_the_gate_alone_whatever_scales_the_loss(
    moe: MixtureOfExperts, io: dict[str, Tensor]
):
    injected = io["train.grad.gate.weight"] - io["train.grad_no_aux.gate.weight"]
    assert injected.abs().max() > 1e-5
    (0 * moe.train()(io["x"])).sum().backward()
    assert torch.allclose(moe.gate.weight.grad, injected, atol=5e-6)  # a difference of larger numbers
    assert not moe.experts[0].net[2].weight.grad.any()


def test_balance_is_least_when_tokens_spread_evenly():
    even = torch.full((8, 4), 0.25)
    spread = torch.arange(8)[:, None] % 4
    assert balance_term(even, spread).item() == pytest.approx(BALANCE)
    skewed = torch.tensor([[0.7, 0.1, 0.1, 0.1]]).expand(8, 4)
    assert balance_term(skewed, torch.zeros(8, 1, dtype=torch.long)).item() == pytest.approx(BALANCE * 4 * 0.7)


def test_without_training_no_balance_gradient_flows(moe: MixtureOfExperts, io: dict[str, Tensor]):
    (moe.eval()(io["x"]) * io["train.upstream_grad"]).sum().backward()
    assert torch.allclose(moe.gate.weight.grad, io["train.grad_no_aux.gate.weight"], atol=1e-5)
