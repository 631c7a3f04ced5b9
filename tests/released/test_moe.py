"""The mixture of experts alone: routing, output, balance term, gradients with and without it (base spec 1.6)."""

import pytest
import torch

from sculpt4d.model.moe import MixtureOfExperts, balance_term

from .folder import FEATURE, GRADIENT, MODULE, config, gap, instances, same, tensors


def mixture(name: str) -> MixtureOfExperts:
    """The mixture of NAME.safetensors."""
    sizes = config()["moe"][name]
    found = MixtureOfExperts(sizes["dim"], sizes["E"], sizes["K"], sizes["inner"])
    found.load_state_dict(tensors(name))
    return found


@pytest.mark.parametrize("name", instances("moe"))
@torch.no_grad()
def test_routing_and_output_equal_the_released_ones(name: str):
    moe, io = mixture(name), tensors(f"{name}_io")
    tokens = io["x"].flatten(0, -2)
    assert gap(tokens @ moe.gate.weight.T, io["gate_logits"]) <= MODULE
    probabilities = moe.gate(tokens)
    assert gap(probabilities, io["gate_probs"]) <= FEATURE
    weights, chosen = probabilities.topk(moe.top, dim=-1)
    assert same(chosen, io["topk_idx_desc"])
    assert gap(weights, io["topk_weight_desc"]) <= FEATURE
    assert gap(moe.eval()(io["x"]), io["out_eval"]) <= MODULE


@pytest.mark.parametrize("name", instances("moe"))
def test_gradients_with_the_balance_term_equal_the_released_ones(name: str):
    moe, io = mixture(name), tensors(f"{name}_io")
    wanted = io["aux_loss"].item()
    assert balance_term(io["gate_probs"], io["topk_idx_desc"]).item() == pytest.approx(wanted, rel=GRADIENT)
    tokens = io["x"].clone().requires_grad_()
    out = moe.train()(tokens)
    assert gap(out.detach(), io["out_train"]) <= MODULE
    (out * io["train.upstream_grad"]).sum().backward()
    check(moe, io, "train.grad.", {"x": tokens.grad})


@pytest.mark.parametrize("name", instances("moe"))
def test_in_eval_mode_the_gradients_are_the_released_ones_without_the_balance_term(name: str):
    moe, io = mixture(name), tensors(f"{name}_io")
    (moe.eval()(io["x"]) * io["train.upstream_grad"]).sum().backward()
    check(moe, io, "train.grad_no_aux.", {})


def check(moe: MixtureOfExperts, io: dict[str, torch.Tensor], prefix: str, others: dict[str, torch.Tensor]) -> None:
    """Every gradient stored under the prefix."""
    found = {name: parameter.grad for name, parameter in moe.named_parameters()} | others
    wanted = {key.removeprefix(prefix): value for key, value in io.items() if key.startswith(prefix)}
    assert wanted
    for name, gradient in wanted.items():
        assert gap(found[name], gradient) <= GRADIENT * gradient.abs().max(), name
