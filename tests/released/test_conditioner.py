"""The image encoder: picture, what the encoder is given, tokens (base spec 3.2)."""

import pytest
import torch

from sculpt4d.checkpoints.released import dino_name
from sculpt4d.model.condition import DinoConditioner, drop_context

from .folder import MODULE, config, entry, gap, instances, same, tensors

ELSEWHERE = ("model_type", "torch_dtype", "dtype", "architectures", "transformers_version")  # says nothing of layers
PREFIX = "main_image_encoder.model."


def conditioner(name: str) -> DinoConditioner:
    """The encoder of the folder's configuration with the tensors of NAME, loaded strictly."""
    held = config()
    layers = held.get(entry("cond_cfg", name), held["cond_cfg"])
    built = {key: value for key, value in layers.items() if key not in ELSEWHERE}
    found = DinoConditioner(held.get("conditioner_image_size", built["image_size"]), **built)
    weights = {f"model.{dino_name(key.removeprefix(PREFIX))}": value for key, value in tensors(name).items()}
    found.load_state_dict(weights)
    return found.eval()


@pytest.mark.parametrize("name", instances("conditioner"))
def test_pictures_are_resized_cropped_and_normalised_as_in_the_release(name: str) -> None:
    io = tensors(f"{name}_io")
    assert gap(conditioner(name).pixel_values((io["image"] + 1) / 2), io["pixel_values"]) <= MODULE


@pytest.mark.parametrize("name", instances("conditioner"))
def test_image_tokens_equal_the_released_ones(name: str) -> None:
    io = tensors(f"{name}_io")
    with torch.no_grad():
        assert gap(conditioner(name)((io["image"] + 1) / 2), io["out"]) <= MODULE


@pytest.mark.parametrize("name", instances("conditioner"))
def test_the_condition_that_is_dropped_is_the_released_unconditional_one(name: str) -> None:
    io = tensors(f"{name}_io")
    with torch.no_grad():
        context = conditioner(name)((io["image"] + 1) / 2)[None]
    assert same(drop_context(context, 1.0, None)[0], io["unconditional"])
