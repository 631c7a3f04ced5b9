"""The autoencoder's view of a data set is computed once, however many runs ask for it."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from sculpt4d.data.asset import Job, PrepareSettings, prepare_object
from sculpt4d.data.dataset import ClipDataset, ClipSettings, split_names
from sculpt4d.data.synthetic import write_object
from sculpt4d.model.posterior import Posterior
from sculpt4d.model.vae import ShapeVAE
from sculpt4d.training.latents import LatentDataset, encode_dataset


def test_two_runs_that_ask_at_once_encode_once_and_read_the_same(
    nano_data: Path, configure: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = nano_data / "synthetic"
    settings = ClipSettings(frames=2, latents=32, points=96, sharp_points=32, image_size=8)
    dataset = ClipDataset(root, split_names(root, "train"), settings, fixed=True)
    vae: ShapeVAE = instantiate(configure("train", "model=nano").model.vae)
    encode, asked, read = ShapeVAE.encode, list[int](), dict[int, dict[str, Tensor]]()

    def counted(self: ShapeVAE, surface: Tensor, queries: Tensor) -> Posterior:
        asked.append(len(surface))
        return encode(self, surface, queries)

    def ask(number: int) -> None:
        read[number] = encode_dataset(vae, dataset, 2, tmp_path)

    monkeypatch.setattr(ShapeVAE, "encode", counted)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [2] * (2 * len(dataset))
    assert all(torch.equal(read[0][name], read[1][name]) for name in ("mean", "logvar", "images"))
    assert len(list(tmp_path.glob("latents_*.safetensors"))) == 1


def test_every_view_has_latents_and_images_of_its_own_and_mirrored_ones_follow(
    configure: Callable[..., DictConfig], tmp_path: Path
):
    source = tmp_path / "walk.glb"
    write_object("walk", "quadruped", 1, source)
    settings = PrepareSettings(
        frames=2, points=96, sharp_points=32, distance_points=0, views=2, image_size=16, grid_res=24, world=True
    )
    prepare_object(Job("walk", source, tmp_path / "walk", settings))
    read = ClipSettings(
        frames=2, latents=32, points=64, sharp_points=0, image_size=8, views=2, frame="camera", mirror=True
    )
    clips = ClipDataset(tmp_path, ["walk"], read, fixed=True)
    vae: ShapeVAE = instantiate(configure("train", "model=nano").model.vae)
    tensors = encode_dataset(vae, clips, 4, tmp_path)
    assert tensors["mean"].shape[:3] == (4, 1, 2) and tensors["images"].shape[:3] == (2, 1, 2)
    drawn = LatentDataset(tensors, 2, 0, fixed=False, mirror=True)
    seen = set()
    for number in range(40):
        clip = drawn[number]
        variant = next(v for v in range(4) if torch.equal(clip.mean, tensors["mean"][v, 0].float()))
        torch.testing.assert_close(clip.images, clips[variant].images, atol=1 / 255, rtol=0)
        seen.add(variant)
    assert seen == {0, 1, 2, 3}
