"""Single norm layers on an input so small that an epsilon of 1e-5 and one of 1e-6 are told apart (base spec 2.2)."""

import pytest
import torch

from .folder import FOLDER, MODULE, gap, listed, tensors
from .networks import autoencoder, denoiser

BUILD = {"dit": denoiser, "vae": autoencoder}


@pytest.mark.parametrize(
    "kind", listed(list(BUILD) if (FOLDER / "norm_probe.safetensors").is_file() else [], "norm_probe")
)
@torch.no_grad()
def test_norms_have_the_released_epsilons(kind: str):
    probe = tensors("norm_probe")
    network = BUILD[kind](f"{kind}_tiny")
    wanted = {key.removeprefix(f"out.{kind}."): value for key, value in probe.items() if key.startswith(f"out.{kind}.")}
    if not wanted:
        pytest.skip(f"norm_probe holds no layers of the {kind}")
    for name, out in wanted.items():
        layer = network.get_submodule(name)
        assert gap(layer(probe["input"][:, : len(layer.weight)]), out) <= MODULE, name


@torch.no_grad()
def test_the_probe_tells_the_two_epsilons_apart():
    probe = tensors("norm_probe")["input"]
    near, far = (torch.nn.functional.layer_norm(probe, probe.shape[1:], eps=eps) for eps in (1e-6, 1e-5))
    assert gap(near, far) > 100 * MODULE
