"""The autoencoder: which points it sees, encoder, posterior, decoder, field (base spec 2)."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sculpt4d.geometry.fps import Section, encoder_sections, input_rows, query_rows
from sculpt4d.model.vae import Posterior

from .folder import FOLDER, GRID, MODULE, config, entry, gap, instances, listed, same, tensors
from .networks import autoencoder

NO_SHARP = "_nosharp"
POINTS = {"pc_size": 5120, "pc_sharpedge_size": 5120, "downsample_ratio": 20}  # the reference's defaults


def clouds() -> list[Any]:
    """Names of all files with an encoder's inputs."""
    found = sorted(path.stem.removesuffix("_io") for path in FOLDER.glob("vae_*_io.safetensors"))
    return listed([name for name in found if (FOLDER / f"{weights(name)}.safetensors").is_file()], "vae_*")


def weights(name: str) -> str:
    """The weights that belong to a cloud."""
    return name.removesuffix(NO_SHARP)


def sections(name: str) -> tuple[tuple[Section, Section], tuple[int, int]]:
    """Queries and inputs of the uniform and the sharp section, and their points."""
    suffix = NO_SHARP if name.endswith(NO_SHARP) else ""
    settings = POINTS | config()[entry("vae", weights(name)) + suffix]
    points = settings["pc_size"], settings["pc_sharpedge_size"]
    return encoder_sections(settings["num_latents"], *points, float(settings["downsample_ratio"])), points


def chosen(name: str, io: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(surface rows that the encoder sees, rows of these that are its queries), from the recorded permutations."""
    cut, points = sections(name)
    orders = [io[f"perm_{part}"].numpy() if f"perm_{part}" in io else np.arange(0) for part in ("random", "sharp")]
    seen = io["surface"][:, input_rows(cut, orders, points)]
    return seen, torch.stack([torch.from_numpy(query_rows(one[:, :3].numpy(), cut)) for one in seen])


@pytest.mark.parametrize("name", clouds())
def test_inputs_and_queries_are_those_of_the_release(name: str):
    io = tensors(f"{name}_io")
    (uniform, sharp), _ = sections(name)
    assert uniform.inputs == len(io["perm_random"]) and sharp.inputs == len(io.get("perm_sharp", ()))
    seen, queries = chosen(name, io)
    assert same(seen[..., :3], io["input_points"])
    first, second = queries.split([uniform.queries, sharp.queries], dim=1)
    assert same(first, io["fps_random"])
    assert not sharp.queries or same(second - uniform.inputs, io["fps_sharp"])
    assert same(seen.gather(1, queries[..., None].expand(-1, -1, 3)), io["query_points"])


@pytest.mark.parametrize("name", clouds())
@torch.no_grad()
def test_encoder_and_moments_equal_the_released_ones(name: str):
    vae, io = autoencoder(weights(name)), tensors(f"{name}_io")
    seen, queries = chosen(name, io)
    encoded = vae.encoder(seen, queries)
    assert gap(encoded, io["encoder_out"]) <= MODULE
    assert gap(vae.pre_kl(encoded), io["moments"]) <= MODULE
    posterior = vae.encode(seen, queries)
    assert gap(posterior.mean, io["mean"]) <= MODULE
    assert gap(posterior.logvar, io["logvar"]) <= MODULE
    outside = (io["moments"].chunk(2, dim=-1)[1] - io["logvar"]).abs() > 1
    assert posterior.logvar[outside].unique().tolist() in ([-30, 20], [-30], [20], [])


@pytest.mark.parametrize("name", clouds())
def test_divergence_and_sample_equal_the_released_ones(name: str):
    io = tensors(f"{name}_io")
    posterior = Posterior(io["mean"], io["logvar"])
    wanted = io["kl_per_sample"]
    assert gap(posterior.divergence().mean(dim=(1, 2)), wanted) <= 1e-5 * float(wanted.abs().max())
    if "posterior_eps" in io:
        wanted = io["posterior_sample"]
        assert gap(posterior.sample(io["posterior_eps"]), wanted) <= 1e-6 * float(wanted.abs().max())


@pytest.mark.parametrize("name", instances("vae"))
@torch.no_grad()
def test_decoded_tokens_and_field_equal_the_released_ones(name: str):
    vae, io = autoencoder(name), tensors(f"{name}_io")
    decoded = vae.decode(io["latents"])
    assert gap(decoded, io["decoded"]) <= MODULE
    for shape in (decoded, vae.prepare(io["latents"])):
        assert gap(vae.field(io["queries"], shape), io["logits"][..., 0]) <= GRID
