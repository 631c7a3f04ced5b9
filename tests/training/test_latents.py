"""The autoencoder's view of a data set is computed once, however many runs ask for it."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from sculpt4d.data.dataset import ClipDataset, ClipSettings, split_names
from sculpt4d.model.vae import Posterior, ShapeVAE
from sculpt4d.training.latents import encode_dataset


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
