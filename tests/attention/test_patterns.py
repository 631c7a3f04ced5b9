"""Masks against literal double loops and published densities."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from sculpt4d.attention.patterns import PackedPattern, RadialPattern, SameTokenPattern, StridedPattern

CONF = Path(__file__).resolve().parents[2] / "conf"
PERCENT = {  # kept products at 16 frames of 32 blocks
    "blockmask_decay": 35.23,
    "motion_adaptive": 35.23,
    "learned": 71.95,
    "no_anchor": 30.37,
    "fixed_stride": 29.69,
    "aggressive": 23.67,
    "conservative": 47.66,
    "full": 100,
    "rope": 100,
    "temporal_only": 100 / 32,
    "radial": 35.75,
    "framepack": 28.66,
    "shapegen4d": 100,
}


@pytest.mark.parametrize("frames, percent", [(8, 58.11), (16, 35.23), (32, 21.50)])
def test_density_is_the_one_of_table_a2(frames, percent):
    assert 100 * StridedPattern().density(frames, blocks=32) == pytest.approx(percent, abs=0.005)


@pytest.mark.parametrize("name", PERCENT)
def test_every_option_builds_with_the_models_block_size_and_has_its_density(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+attention={name}", "++model.block_size=4"])
    pattern = instantiate(config.attention)
    assert pattern.blocks(32) == (32 if name in ("temporal_only", "shapegen4d") else 8)
    assert 100 * pattern.density(16, 32) == pytest.approx(PERCENT[name], abs=0.01)


def test_there_is_a_density_for_every_option():
    assert {path.stem for path in (CONF / "attention").glob("*.yaml")} == set(PERCENT)


@pytest.mark.parametrize(
    "decay, percents", [(1.0, (79.20, 59.94, 42.08)), (0.5, (64.70, 44.74, 29.64))]
)  # of the code of arXiv 2506.19852 at 4096 tokens a frame
def test_radial_density_is_the_one_of_its_release(decay, percents):
    found = [100 * RadialPattern(decay).density(frames, 32) for frames in (8, 16, 32)]
    assert found == pytest.approx(percents, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 6),
    blocks=st.integers(1, 7),
    strides=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    anchor=st.booleans(),
)
def test_strided_mask_is_its_definition(frames, blocks, strides, anchor):
    mask = StridedPattern(strides, anchor).mask(frames, blocks)
    assert mask.shape == (frames * blocks, frames * blocks)
    for i in range(frames):
        for j in range(frames):
            stride = strides[min(abs(i - j), len(strides) - 1)]
            for u in range(blocks):
                for v in range(blocks):
                    visible = (anchor and j == 0) or u % stride == v % stride
                    assert mask[i * blocks + u, j * blocks + v] == visible


@pytest.mark.parametrize("frames, blocks, decay, anchor", [(5, 6, 0.5, True), (9, 2, 1.0, False), (10, 1, 1.0, True)])
def test_radial_mask_is_its_definition(frames, blocks, decay, anchor):
    mask = RadialPattern(decay, anchor).mask(frames, blocks)
    for i in range(frames):
        for j in range(frames):
            d, band = abs(i - j), 1
            while 2 * band <= d:
                band *= 2
            for u in range(blocks):
                for v in range(blocks):
                    near = abs(u - v) <= max(1, decay * blocks / band)
                    visible = (anchor and j == 0) or d <= 1 or (near and d % max(1, band // blocks) == 0)
                    assert mask[i * blocks + u, j * blocks + v] == visible


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("distance", [0, 1, 2, 5, 8, 33, 64, 96, 100])
def test_radial_blocks_are_those_of_the_token_rule_of_its_release(decay, distance):
    """Token by token at 4096 tokens; a block survives if enough of its columns are filled by more than a third."""
    size, tokens = 128, torch.arange(4096)
    band = max(distance, 1).bit_length() - 1
    reach = 8192 / 2 ** (band + 1)  # of the next power of two above the tokens of a frame
    near = (tokens[:, None] - tokens).abs() <= (max(size, decay * reach) if distance > 1 else 4096)
    if reach < size and distance % (size / reach):
        near = torch.zeros_like(near)
    filled = near.view(32, size, 32, size).sum(1, dtype=torch.int32)
    survives = (3 * filled > size).sum(2) > 0.6 * (filled > 0).sum(2)
    row = RadialPattern(decay, anchor=False).mask(distance + 1, 32)[:32]
    assert torch.equal(row[:, 32 * distance :], survives)


def test_a_radial_band_thinner_than_a_block_keeps_frame_pairs_at_its_period():
    row = RadialPattern(1.0, anchor=False).mask(9, 1)[0]
    assert row.nonzero().flatten().tolist() == [0, 1, 2, 4, 8]


def test_same_token_mask_is_its_definition():
    mask = SameTokenPattern().mask(3, 4)
    assert all(mask[q, k] == (q % 4 == k % 4) for q in range(12) for k in range(12))


@pytest.mark.parametrize("strides, anchor", [((1, 2, 4), True), ((2, 4), False), ((4, 1, 2), True)])
def test_packed_queries_see_exactly_one_level_of_every_frame(strides, anchor):
    frames, tokens = 4, 8
    pattern = PackedPattern(strides, anchor, block_size=1)
    levels = sorted(set(strides) | ({1} if anchor else set()))
    columns = [(j, p) for p in levels for j in range(frames) for _ in range(tokens // p)]
    mask = pattern.mask(frames, tokens)
    assert mask.shape == (frames * tokens, len(columns))
    for row in range(frames * tokens):
        for column, (j, level) in enumerate(columns):
            wanted = strides[min(abs(row // tokens - j), len(strides) - 1)]
            assert mask[row, column] == (level == (1 if anchor and j == 0 else wanted))


def test_packed_keys_are_averages_in_the_column_order_of_the_mask():
    tokens = torch.arange(8.0).view(1, 1, 8, 1)
    pooled = PackedPattern((1, 2), anchor=True, block_size=1).keys(tokens, tokens.shape[2])
    assert pooled.flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0.5, 2.5, 4.5, 6.5]


def test_lists_of_yaml_become_tuples_so_that_patterns_hash():
    listed = StridedPattern(OmegaConf.create([1, 1, 2]))
    assert listed == StridedPattern((1, 1, 2)) and hash(listed) == hash(StridedPattern((1, 1, 2)))
    assert hash(PackedPattern([1, 2])) == hash(PackedPattern((1, 2)))


@pytest.mark.parametrize("pattern", [StridedPattern(), RadialPattern(), PackedPattern(block_size=128)])
def test_tokens_that_do_not_divide_are_refused_with_the_remedy(pattern):
    with pytest.raises(ValueError, match=r"4097 tokens do not split into .*: set attention\.\w+ to"):
        pattern.blocks(4097)
    assert pattern.blocks(4096) == 32


@pytest.mark.parametrize("strides", [[], [0, 1]])
def test_strides_that_count_nothing_are_refused(strides):
    with pytest.raises(ValueError, match=r"attention\.strides"):
        StridedPattern(strides)


def test_a_negative_radial_decay_is_refused():
    with pytest.raises(ValueError, match=r"attention\.decay"):
        RadialPattern(decay=-1.0)
