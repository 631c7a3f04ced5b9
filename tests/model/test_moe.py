import pytest
import torch

from sculpt4d.model.moe import BALANCE, MixtureOfExperts, balance_term


@pytest.fixture
def moe() -> MixtureOfExperts:
    """A small mixture with sharp choices."""
    torch.manual_seed(0)
    mixture = MixtureOfExperts(12, experts=5, top=2)
    torch.nn.init.normal_(mixture.gate.weight)
    return mixture


@torch.no_grad()
def test_every_token_gets_its_likeliest_experts_by_their_own_probability_and_the_shared_one(moe: MixtureOfExperts):
    tokens = torch.randn(2, 9, 12)
    out = moe(tokens)
    for row, token in zip(out.flatten(0, 1), tokens.flatten(0, 1), strict=True):
        probabilities = moe.gate(token[None])[0]
        best = probabilities.argsort(descending=True)[:2]
        wanted = moe.shared_experts(token) + sum(probabilities[index] * moe.experts[index](token) for index in best)
        assert torch.allclose(row, wanted, atol=1e-5)


def test_the_balance_term_is_injected_at_the_gate_alone_whatever_scales_the_loss(moe: MixtureOfExperts):
    tokens, gradients = torch.randn(2, 9, 12), []
    for scale in (0.0, 1.0):
        for training in (True, False):
            moe.train(training).zero_grad()
            (scale * moe(tokens)).sum().backward()
            gradients.append(moe.gate.weight.grad.clone())
            assert scale or not moe.experts[0].net[2].weight.grad.any()
    moe.zero_grad()
    probabilities = moe.gate(tokens.flatten(0, 1))
    balance_term(probabilities, probabilities.topk(2).indices).backward()
    assert moe.gate.weight.grad.abs().max() > 1e-5
    assert torch.allclose(gradients[0], moe.gate.weight.grad) and not gradients[1].any()
    assert torch.allclose(gradients[2] - gradients[3], moe.gate.weight.grad, atol=1e-5)  # of larger numbers


def test_balance_is_least_when_tokens_spread_evenly():
    even = torch.full((8, 4), 0.25)
    spread = torch.arange(8)[:, None] % 4
    assert balance_term(even, spread).item() == pytest.approx(BALANCE)
    skewed = torch.tensor([[0.7, 0.1, 0.1, 0.1]]).expand(8, 4)
    assert balance_term(skewed, torch.zeros(8, 1, dtype=torch.long)).item() == pytest.approx(BALANCE * 4 * 0.7)


def test_the_load_of_more_tokens_than_16_bits_can_count_is_counted():
    probabilities = torch.full((70_000, 2), 0.5, dtype=torch.float16)
    assert balance_term(probabilities, torch.zeros(70_000, 1, dtype=torch.long)).item() == pytest.approx(BALANCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_train_as_32_do_but_for_rounding(moe: MixtureOfExperts, dtype: torch.dtype):
    tokens = torch.randn(2, 9, 12).to(dtype)
    moe.to(dtype).float()  # numbers that both can hold
    out = moe(tokens.float())
    out.sum().backward()
    wanted = moe.gate.weight.grad.clone()
    moe.zero_grad()
    found = moe.to(dtype)(tokens)
    found.sum().backward()
    assert found.dtype == dtype and torch.allclose(found.float(), out, atol=0.05)
    assert (moe.gate.weight.grad.float() - wanted).abs().max() < 0.05 * wanted.abs().max()
