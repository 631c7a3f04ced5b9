"""Writes a golden folder of other sizes than the published one: inputs, weights, and what the formulas make of them."""

import json
import zlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .formulas_schedule import lr_ema_numbers, scheduler_numbers
from .formulas_surface import surface_case
from .generate_config import Config, complete, folder_config
from .generate_inputs import (
    BATCH,
    autoencoder_inputs,
    cloud,
    denoiser_inputs,
    feature_inputs,
    gradient_names,
    lr_ema_skeleton,
    mixture_inputs,
    photographs,
    sample_inputs,
    scheduler_skeleton,
    surface_skeleton,
)
from .generate_outputs import OPENCV, outputs
from .generate_weights import autoencoder_weights, filled, model_shapes

FEATURES = ("embed_f5_nopi", "embed_f5_pi", "embed_f3_nopi_noinput")
MIXTURE_GRADIENTS = [f"experts.{index}.net.{part}" for index in (0, 1) for part in ("0.proj.weight", "2.bias")]
MIXTURE_GRADIENTS += ["gate.weight", "shared_experts.net.2.weight"]
Tensors = dict[str, Tensor]


def write_folder(folder: Path, seed: int) -> None:
    """All files of a golden folder but the full-size names; without OpenCV `image_preproc` is left out too."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder_config(seed)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    write_denoisers(folder, config, seed)
    write_mixtures(folder, config, seed)
    write_autoencoders(folder, config, seed)
    write_images(folder, config, seed)
    write_features(folder, config, seed)
    write_numbers(folder, seed)


def draws(seed: int, name: str) -> torch.Generator:
    """The random numbers of one file, the same whatever else is written."""
    return torch.Generator().manual_seed(seed * 2**32 + zlib.crc32(name.encode()))


def write(folder: Path, name: str, config: Config, inputs: Tensors, leave_out: tuple[str, ...] = ()) -> None:
    """A file of inputs and outputs; `leave_out` are the starts of outputs that it does not hold."""
    found = outputs(name, config, inputs, lambda model: load_file(folder / f"{model}.safetensors"))
    kept = {key: value for key, value in found.items() if not key.startswith(leave_out)}
    save(folder, name, inputs | kept)


def save(folder: Path, name: str, tensors: Tensors) -> None:
    """One safetensors file; copies, because tensors that share memory are refused."""
    copies = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    save_file(copies, folder / f"{name}.safetensors")


def write_denoisers(folder: Path, config: Config, seed: int) -> None:
    """Both denoisers and their sampling loops."""
    for key, name in (("dit", "tiny"), ("dit2", "tiny_bias")):
        settings, random = complete(config, key), draws(seed, f"dit_{name}")
        weights = filled(model_shapes(f"dit_{name}", config), random)
        save(folder, f"dit_{name}", weights)
        kept = {f"train.grad.{parameter}" for parameter in gradient_names(weights, settings["depth"])}
        dropped = [f"train.grad.{parameter}" for parameter in weights if f"train.grad.{parameter}" not in kept]
        dropped += [f"tap.{index}." for index in range(1, settings["depth"] - 1)]
        write(folder, f"dit_{name}_io", config, denoiser_inputs(settings, random), tuple(dropped))
        inputs = sample_inputs(settings, config["sample_steps"], draws(seed, f"sample_{name}"))
        write(folder, f"sample_{name}_io", config, inputs)


def write_mixtures(folder: Path, config: Config, seed: int) -> None:
    """The stand-alone mixtures."""
    for name, settings in config["moe"].items():
        random = draws(seed, name)
        weights = filled(model_shapes(name, config), random)
        save(folder, name, weights)
        dropped = [f"train.grad.{parameter}" for parameter in weights if parameter not in MIXTURE_GRADIENTS]
        dropped += [f"train.grad_no_aux.{parameter}" for parameter in (*weights, "x") if parameter != "gate.weight"]
        write(folder, f"{name}_io", config, mixture_inputs(settings, random), tuple(dropped))


def write_autoencoders(folder: Path, config: Config, seed: int) -> None:
    """Both autoencoders, each with and without a sharp section."""
    for key, name, resolution, level in (("vae", "vae_tiny", 9, 0.0), ("vae2", "vae_tiny_bias", 11, 0.25)):
        settings, random = complete(config, key), draws(seed, name)
        inputs = autoencoder_inputs(settings, resolution, level, random)
        save(folder, name, autoencoder_weights(settings, model_shapes(name, config), inputs["latents"], random))
        write(folder, f"{name}_io", config, inputs)
        inputs = cloud(complete(config, f"{key}_nosharp"), draws(seed, f"{name}_nosharp"))
        write(folder, f"{name}_nosharp_io", config, inputs)


def write_images(folder: Path, config: Config, seed: int) -> None:
    """The image encoder and, with OpenCV, the image preparation."""
    random = draws(seed, "conditioner_tiny")
    save(folder, "conditioner_tiny", filled(model_shapes("conditioner_tiny", config), random))
    shape = (BATCH, 3, 30, 21) if seed % 2 == 0 else (BATCH, 3, 20, 51)
    write(folder, "conditioner_tiny_io", config, {"image": 2 * torch.rand(shape, generator=random) - 1})
    if OPENCV:
        write(folder, "image_preproc", config, photographs(draws(seed, "image_preproc")))


def write_features(folder: Path, config: Config, seed: int) -> None:
    """Norm layers, Fourier and time features, near-surface masks."""
    probe = 2e-3 * torch.randn((4, 64), generator=draws(seed, "norm_probe"))
    write(folder, "norm_probe", config, {"input": probe})
    for name, inputs in feature_inputs(draws(seed, "features")).items():
        found = outputs(name, config, inputs, load_file)
        kept = FEATURES if name == "fourier" else tuple(found)
        save(folder, name, inputs | {key: found[key] for key in kept})


def write_numbers(folder: Path, seed: int) -> None:
    """The three number files."""
    found = {
        "scheduler": scheduler_numbers(scheduler_skeleton(draws(seed, "scheduler"))),
        "lr_ema": lr_ema_numbers(lr_ema_skeleton()),
        "surface_grid": {"cases": [surface_case(case) for case in surface_skeleton()["cases"]]},
    }
    for name, numbers in found.items():
        (folder / f"{name}.json").write_text(json.dumps(numbers, indent=1))
