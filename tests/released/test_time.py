"""Features of flow time and of places (base spec 1.5 and 2.3)."""

import re

import torch
from torch import Tensor

from sculpt4d.model.layers import TimeEmbedding, time_features
from sculpt4d.model.vae_layers import fourier

from .folder import FEATURE, gap, tensors

FAR = 10 * FEATURE  # beyond time 1, where sines of larger angles lose digits


def near(found: Tensor, wanted: Tensor, time: Tensor) -> bool:
    """Within the tolerance of every time."""
    inside = time <= 1
    return gap(found[inside], wanted[inside]) <= FEATURE and gap(found, wanted) <= FAR


def test_sines_and_cosines_of_time_equal_the_released_ones():
    io = tensors("timestep_embedding")
    widths = [int(match[1]) for match in map(re.compile(r"sinusoid_(\d+)").fullmatch, io) if match]
    assert widths
    for width in widths:
        time = io[f"sinusoid_{width}.t"]
        assert near(time_features(time, width), io[f"sinusoid_{width}"], time), width


@torch.no_grad()
def test_the_time_token_equals_the_released_one():
    io = tensors("timestep_embedding")
    weights = {key.removeprefix("embedder."): value for key, value in io.items() if key.startswith("embedder.")}
    embedding = TimeEmbedding(weights["mlp.2.bias"].numel())
    embedding.load_state_dict(weights)
    assert near(embedding(io["t"]), io["embedder_out"], io["t"])


def test_fourier_features_of_places_equal_the_released_ones():
    io = tensors("fourier")
    names = [match for match in map(re.compile(r"embed_f(\d+)_(pi|nopi)(_noinput)?").fullmatch, io) if match]
    assert len(names) == len(io) - 1  # and the points
    for match in names:
        found = fourier(io["points"], int(match[1]), include_pi=match[2] == "pi")
        assert gap(found[:, 3:] if match[3] else found, io[match[0]]) <= FEATURE, match[0]
