import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sculpt4d.flow import COUPLINGS, LogitNormalTime, UniformTime, clip_noise, couple, flow_loss

SHAPE = (2, 5, 64, 16)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shared_noise_is_the_same_in_every_frame():
    noise = clip_noise(SHAPE, 1.0, seeded())
    assert torch.equal(noise, noise[:, :1].expand(SHAPE))
    assert not torch.equal(noise[0], noise[1])


def test_without_sharing_frames_are_independent():
    noise = clip_noise(SHAPE, 0.0, seeded()).flatten(2)
    correlation = torch.corrcoef(noise.flatten(0, 1))
    assert correlation.fill_diagonal_(0).abs().max() < 0.15


@pytest.mark.parametrize("shared", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_any_sharing_keeps_unit_variance_and_correlates_frames_by_the_share(shared: float):
    noise = clip_noise((4, 2, 256, 64), shared, seeded())
    assert noise.var().item() == pytest.approx(1, abs=0.02)
    assert (noise[:, 0] * noise[:, 1]).mean().item() == pytest.approx(shared, abs=0.02)


def test_a_seed_means_the_same_common_noise_for_every_share():
    whole, part, none = (clip_noise(SHAPE, shared, seeded(7)) for shared in (1.0, 0.36, 0.0))
    assert torch.allclose(part, 0.6 * whole + 0.8 * none, atol=1e-6)


@pytest.mark.parametrize("shared", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(shared: float):
    with pytest.raises(ValueError, match="outside 0"):
        clip_noise(SHAPE, shared)


def test_the_true_velocity_costs_zero():
    data, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    time = torch.tensor([0.2, 0.9])
    losses = flow_loss(lambda noised, now: data - noise, data, noise, time)
    assert torch.equal(losses, torch.zeros(2))


def test_the_path_starts_at_noise_and_ends_at_data():
    data, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    seen = {}

    def predict(noised: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        seen.update(zip(now.tolist(), noised, strict=True))
        return noised

    flow_loss(predict, data, noise, torch.tensor([0.0, 1.0]))
    assert torch.equal(seen[0.0], noise[0])
    assert torch.equal(seen[1.0], data[1])


def test_the_loss_is_the_mean_square_of_every_clip_on_its_own():
    data, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    off = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    losses = flow_loss(lambda noised, now: data - noise + off, data, noise, torch.tensor([0.1, 0.5]))
    assert losses.tolist() == pytest.approx([1.0, 9.0], rel=1e-5)


def test_noise_of_one_frame_serves_the_whole_clip():
    data, noise = torch.randn(SHAPE), torch.randn(2, 1, 64, 16)
    predict = lambda noised, now: noised  # noqa: E731
    time = torch.tensor([0.3, 0.6])
    assert torch.equal(flow_loss(predict, data, noise, time), flow_loss(predict, data, noise.expand(SHAPE), time))


@pytest.mark.parametrize("mode", [mode for mode in COUPLINGS if mode != "none"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_coupling_keeps_each_frames_set_of_tokens_and_never_costs_more(mode: str, seed: int):
    data, noise = torch.randn(2, 3, 12, 5, generator=seeded(seed)), clip_noise((2, 3, 12, 5), 1.0, seeded(seed + 1))
    moved = couple(data, noise, mode)
    for before, after in zip(data.flatten(0, 1).tolist(), moved.flatten(0, 1).tolist(), strict=True):
        assert sorted(before) == sorted(after)
    places, seeds = data[..., :3], noise[..., :3]
    assert (moved[..., :3] - seeds).square().sum() <= (places - seeds).square().sum() + 1e-4


def test_frame_coupling_finds_a_hidden_order():
    noise = torch.randn(1, 2, 20, 6)
    hidden = torch.stack([torch.randperm(20), torch.randperm(20)])
    data = torch.stack([noise[0, frame, hidden[frame]] for frame in range(2)])[None]
    assert torch.equal(couple(data, noise, "frame"), noise)


def test_clip_coupling_uses_one_order_for_all_frames():
    data = torch.randn(2, 4, 16, 6)
    marked = data.clone()
    marked[..., 5] = torch.arange(16)  # the token's number, outside the channels that are matched
    order = couple(marked, clip_noise((2, 4, 16, 6), 0.0, seeded()), "clip")[..., 5]
    assert torch.equal(order, order[:, :1].expand_as(order))
    assert not torch.equal(order[0, 0], torch.arange(16.0))


def test_no_coupling_is_the_identity_and_an_unknown_one_names_the_choices():
    data = torch.randn(1, 2, 4, 3)
    assert couple(data, data, "none") is data
    with pytest.raises(ValueError, match="none, frame, clip"):
        couple(data, data, "frames")


def test_uniform_time_covers_the_unit_interval():
    time = UniformTime()(20000, seeded())
    assert time.min() >= 0 and time.max() < 1
    assert time.histc(10, 0, 1).div(2000).tolist() == pytest.approx([1.0] * 10, abs=0.1)


def test_logit_normal_time_crowds_the_middle_and_shift_moves_it():
    plain, shifted = LogitNormalTime()(20000, seeded()), LogitNormalTime(shift=9.0)(20000, seeded())
    assert plain.median().item() == pytest.approx(0.5, abs=0.02)
    middle = ((plain > 0.25) & (plain < 0.75)).float().mean().item()
    assert middle == pytest.approx(0.728, abs=0.02)  # P(|N(0, 1)| < ln 3)
    assert torch.allclose(shifted, 3 * plain / (1 + 2 * plain))
