"""The rotary embedding of the frame index."""

import pytest
import torch

from sculpt4d.attention.rope import angles, rotate


def test_logits_depend_on_the_distance_of_frames_alone():
    one = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0)).expand(2, 1, 7, 1, 16)
    queries, keys = rotate(one[:1])[0, 0, :, 0], rotate(one[1:])[0, 0, :, 0]
    logits = queries @ keys.T
    for distance in range(-6, 7):
        diagonal = logits.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=0)
    assert logits[0].std() > 0.1


def test_a_pair_is_turned_by_its_angle():
    heads = torch.zeros(1, 1, 3, 1, 4)
    heads[..., 1] = 1  # the second pair is dimensions 1 and 3
    turned = rotate(heads)[0, 0, 2, 0]
    angle = torch.tensor(2 * 10000**-0.5)
    torch.testing.assert_close(turned, torch.stack((torch.zeros(()), angle.cos(), torch.zeros(()), angle.sin())))


def test_lengths_stay_and_the_first_frame_is_left_alone():
    heads = torch.randn(2, 3, 5, 4, 8, generator=torch.Generator().manual_seed(0))
    turned = rotate(heads)
    torch.testing.assert_close(turned.norm(dim=-1), heads.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], heads[:, :, 0])


def test_half_precision_is_rotated_in_float32():
    heads = torch.randn(1, 2, 64, 3, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(rotate(heads), rotate(heads.float()).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rotate(heads), rotate(heads.float()).bfloat16())
    assert angles(torch.arange(3).bfloat16(), 8).dtype == torch.float32


def test_positions_may_be_fractions_of_frames():
    heads = torch.randn(1, 1, 4, 2, 8, generator=torch.Generator().manual_seed(0))
    half = rotate(heads, torch.arange(4) / 2)
    torch.testing.assert_close(half[:, :, 2], rotate(heads, torch.ones(4))[:, :, 2])


def test_an_odd_head_is_refused():
    with pytest.raises(ValueError, match="no pairs to rotate"):
        rotate(torch.zeros(1, 1, 2, 1, 5))
