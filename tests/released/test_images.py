"""The release's preparation of single pictures, pixel by pixel (base spec 3.1 and 5.3)."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from sculpt4d.generation.recentre import BORDER, Picture, View, inference_view, recentre, recentre_clip, training_crop
from sculpt4d.generation.recentre import training_view as resize_training_crop

from .folder import FEATURE, FOLDER, config, gap, listed, same, tensors

FILE = "image_preproc"
VIEW, CASE = r"train_view\w*\.rgba", r"(?!train_view)\w+\.rgba"  # the file's keys


def groups(pattern: str) -> list[str]:
    """Prefixes of the file's keys that match."""
    held = tensors(FILE) if (FOLDER / f"{FILE}.safetensors").is_file() else {}
    found = {name.split(".")[0] for name in held if re.match(pattern, name)}
    return listed(sorted(found), f"{pattern} in {FILE}")


def equal_pixels(found: Picture, rgb: Tensor, mask: Tensor) -> bool:
    """Both the same in every element; a mask may have a last axis of one."""
    return same(torch.from_numpy(found.rgb), rgb) and same(torch.from_numpy(found.mask), mask.reshape(mask.shape[:2]))


def held(group: str) -> dict[str, Tensor]:
    """The file's tensors of one group, by the rest of their names."""
    return {name.removeprefix(f"{group}."): v for name, v in tensors(FILE).items() if name.startswith(f"{group}.")}


def assert_close(found: View, image: Tensor, mask: Tensor) -> None:
    """Image and mask within the tolerance; either may come as a batch of one."""
    assert gap(found.image, image.reshape(image.shape[-3:])) <= FEATURE
    assert gap(found.mask, mask.reshape(mask.shape[-3:])) <= FEATURE


@pytest.mark.parametrize("case", groups(CASE))
def test_inference_pictures_equal_the_released_ones(case: str) -> None:
    pytest.importorskip("cv2")
    numbers, settings = held(case), config().get("image_processor", {})
    picture = recentre(numbers["rgba"].numpy(), settings.get("border_ratio", BORDER))
    assert equal_pixels(picture, numbers["recentred_rgb"], numbers["recentred_mask"])
    assert_close(inference_view(picture, numbers["image"].shape[-1]), numbers["image"], numbers["mask"])


@pytest.mark.parametrize("case", groups(CASE))
def test_a_clip_of_one_frame_is_that_picture_from_0_to_1(case: str) -> None:
    pytest.importorskip("cv2")
    numbers = held(case)
    if config().get("image_processor", {}).get("border_ratio", BORDER) != BORDER:
        pytest.skip("another border than the release's")
    frame: np.ndarray = numbers["rgba"].numpy()
    size = numbers["image"].shape[-1]
    clip = recentre_clip([frame, frame[:, ::-1]], size)
    assert gap(2 * clip[:1] - 1, numbers["image"].reshape(1, 3, size, size)) <= FEATURE


@pytest.mark.parametrize("view", groups(VIEW))
def test_training_views_equal_the_released_ones(view: str) -> None:
    numbers = held(view)
    crop = training_crop(numbers["rgba"].numpy())
    assert equal_pixels(crop, numbers["padded_rgb"], numbers["padded_mask"])
    resized = resize_training_crop(crop, numbers["image"].shape[-1])
    assert_close(resized, numbers["image"], numbers["mask"])
