"""Attention by distance and stride, the schedule fitted to it, and the motion that image tokens tell."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from benchmarks.studies import fit_strides, motion_signal
from benchmarks.studies.fit_strides import LADDER, by_distance, fit
from sculpt4d.attention.patterns import StridedPattern

PAPER = StridedPattern()
SOME = (*range(1, 11), 16, 23, 32, 48)  # frames


def test_attention_is_counted_at_its_distance_and_for_every_stride_that_keeps_it():
    frames, blocks = 4, 8
    weights = torch.zeros(32, 32)
    weights[2 * blocks + 1, 3 * blocks + 5] = 3  # distance 1, blocks 4 apart: strides 1, 2 and 4 keep it
    weights[0, 0] = 1  # the first frame's keys are left out, though not their share
    found = by_distance(weights, frames, blocks)
    assert found[1].tolist() == [0.75, 0.75, 0.75, 0, 0, 0] and not found[[0, 2, 3]].any()


def test_even_attention_leaves_every_stride_its_share():
    found = by_distance(torch.ones(6 * 32, 6 * 32), 6, 32).numpy()
    np.testing.assert_allclose(found, found[:, :1] / np.array(LADDER), rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_fitted_schedule_never_has_more_products_than_the_papers_and_keeps_no_less(seed):
    rng = np.random.default_rng(seed)
    mass = rng.random((8, 1)) * np.array([1, *np.sort(rng.random(5))[::-1]])
    found = fit(mass, PAPER, SOME, 32)
    assert found.kept >= found.paper
    for frames in SOME:
        assert StridedPattern(found.strides).density(frames, 32) <= PAPER.density(frames, 32)


def test_products_go_where_strides_lose_attention():
    """Here not to the near frames, of which any stride keeps all."""
    mass = np.array([[1.0, 1, 1, 1, 1, 1]] * 2 + [[1.0, 0.5, 0.25, 0.1, 0.1, 0.1]] * 6)
    found = fit(mass, PAPER, [8], 32)
    assert found.strides[1] > 1 and found.kept > found.paper + 0.05


def test_the_learned_schedule_has_the_products_of_blockmask_decay_at_the_length_it_was_fitted_at(configure):
    learned = instantiate(configure("train", "model=tiny", "attention=learned").attention)
    assert 0.95 * PAPER.density(8, 32) < learned.density(8, 32) <= PAPER.density(8, 32)


def test_a_dense_model_is_watched_on_its_training_clips(nano, configure, tmp_path: Path, capsys):
    from sculpt4d.training.run import fit as train

    quiet = ["logger=none", "callbacks=none", "stage.steps=1", "stage.val_every=1", "checkpoint=random"]
    train(configure("train", *nano, *quiet, "attention=full", f"output={tmp_path}"))
    fit_strides.main([f"{tmp_path}/temporal.safetensors", *nano, "checkpoint=random", "--batches", "1"])
    told = capsys.readouterr().out
    assert "| distance | attention |" in told and "strides: [" in told


def test_the_signal_of_held_out_objects_is_told(nano, capsys):
    motion_signal.main([*nano, "checkpoint=random"])
    told = capsys.readouterr().out
    assert "3 held-out objects" in told and "| median |" in told
