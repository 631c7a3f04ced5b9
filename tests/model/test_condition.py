from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sculpt4d.model.condition import DinoConditioner, PatchConditioner, drop_context

RELEASED = "main_image_encoder."
BUILT = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "mlp_ratio", "layerscale_value")


def test_image_features_equal_the_golden_ones(
    golden_config: dict[str, Any], golden: Callable[[str], dict[str, Tensor]]
):
    config, io = golden_config["cond_cfg"], golden("conditioner_tiny_io")
    conditioner = DinoConditioner(config["image_size"], **{key: config[key] for key in BUILT})
    tensors = {name.removeprefix(RELEASED): tensor for name, tensor in golden("conditioner_tiny").items()}
    missing, unused = conditioner.load_state_dict(current_names(tensors, conditioner), strict=False)
    assert not missing and not unused
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        out = conditioner.eval()(io["pixel_values"] * deviation + mean)
    assert torch.allclose(out, io["out"], atol=2e-5)


def current_names(tensors: dict[str, Tensor], conditioner: DinoConditioner) -> dict[str, Tensor]:
    """Released names are those of an older transformers; shapes and order of the layers did not change."""
    wanted = set(conditioner.state_dict())
    if set(tensors) == wanted:
        return tensors
    renamed = {}
    for name, tensor in tensors.items():
        found = name
        for old, new in (
            ("attention.attention.query", "attention.q_proj"),
            ("attention.attention.key", "attention.k_proj"),
            ("attention.attention.value", "attention.v_proj"),
            ("attention.output.dense", "attention.o_proj"),
        ):
            found = found if found in wanted else found.replace(old, new)
        renamed[found] = tensor
    return renamed


def test_dino_is_frozen_unless_asked_otherwise():
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14}
    assert not any(parameter.requires_grad for parameter in DinoConditioner(28, **small).parameters())
    assert all(parameter.requires_grad for parameter in DinoConditioner(28, trainable=True, **small).parameters())


def test_patches_become_tokens_and_any_size_is_resized():
    conditioner = PatchConditioner(size=16, width=16, layers=1, heads=2).eval()
    assert conditioner(torch.rand(2, 3, 16, 16)).shape == (2, 4, 16)
    assert conditioner(torch.rand(2, 3, 40, 40)).shape == (2, 4, 16)


@pytest.mark.parametrize("probability, kept", [(0.0, 1.0), (1.0, 0.0), (0.3, 0.7)])
def test_context_is_dropped_by_whole_clips_at_the_given_rate(probability: float, kept: float):
    context = torch.ones(4000, 2, 3, 1)
    left = drop_context(context, probability, torch.Generator().manual_seed(0)).flatten(1)
    assert ((left == 1).all(1) | (left == 0).all(1)).all()
    assert left[:, 0].mean().item() == pytest.approx(kept, abs=0.03)
