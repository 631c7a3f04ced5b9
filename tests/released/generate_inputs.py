"""The given entries of every golden file: random latents, clouds, images and the skeletons of the number files."""

import torch
from torch import Tensor

from .formulas_autoencoder import sections
from .generate_config import Config

BATCH = 2
Tensors = dict[str, Tensor]


def denoiser_inputs(config: Config, generator: torch.Generator) -> Tensors:
    """Inputs of a `dit_*_io` file; the last block's skip input is one more free state."""

    def normal(*shape: int) -> Tensor:
        return torch.randn((BATCH, *shape), generator=generator)

    tokens, width, last = config["input_size"], config["hidden_size"], config["depth"] - 1
    return {
        "x": normal(tokens, config["in_channels"]),
        "t": torch.rand(BATCH, generator=generator),
        "context": normal(config["text_len"], config["context_dim"]),
        "t_edge": torch.tensor([0.0, 1.0]),
        "tap.h": normal(tokens + 1, width),
        f"tap.{last}.skip": normal(tokens + 1, width),
        "train.target": normal(tokens, config["in_channels"]),
    }


def gradient_names(weights: Tensors, depth: int) -> list[str]:
    """The parameters whose gradients a `dit_*_io` file keeps: every kind of layer, each self-attention projection."""
    wanted = ["x_embedder.weight", "t_embedder.mlp.0.bias", "final_layer.norm_final.weight", "final_layer.linear.bias"]
    for index in (0, depth - 1):
        parts = [f"attn1.to_{which}.{kind}" for which in "qkv" for kind in ("weight", "bias")]
        parts += [f"attn2.to_{which}.weight" for which in "qkv"] + ["attn1.q_norm.weight", "attn2.k_norm.weight"]
        parts += ["moe.gate.weight", "moe.experts.0.net.2.bias", "mlp.fc1.bias", "skip_linear.bias"]
        wanted += [f"blocks.{index}.{part}" for part in parts]
    return [name for name in wanted if name in weights]


def sample_inputs(config: Config, steps: list[int], generator: torch.Generator) -> Tensors:
    """Inputs of a `sample_*_io` file."""
    found = {"context": torch.randn((BATCH, config["text_len"], config["context_dim"]), generator=generator)}
    for count in steps:
        shape = (BATCH, config["input_size"], config["in_channels"])
        found[f"n{count}.noise"] = torch.randn(shape, generator=generator)
    return found


def mixture_inputs(config: Config, generator: torch.Generator) -> Tensors:
    """Inputs of a `moe_*_io` file."""
    shape = (BATCH, 13, config["dim"])
    return {name: torch.randn(shape, generator=generator) for name in ("x", "train.upstream_grad")}


def cloud(config: Config, generator: torch.Generator) -> Tensors:
    """Surface points with unit normals, label 1 in the sharp section, and the permutations that choose among them."""
    total = config["pc_size"] + config["pc_sharpedge_size"]
    normals = torch.nn.functional.normalize(torch.randn((BATCH, total, 3), generator=generator), dim=-1)
    radius = 0.6 + 0.35 * torch.rand((BATCH, total, 1), generator=generator)
    label = (torch.arange(total) >= config["pc_size"]).float().expand(BATCH, total)[..., None]
    rows = torch.cat([radius * normals, normals, label], dim=-1)[..., : 3 + config["point_feats"]]
    found = {"surface": rows}
    for name, (_, size, queries) in sections(config).items():
        order = torch.randperm(size, generator=generator)
        found[f"perm_{name}"] = order[: int(queries * config["downsample_ratio"])]
    return found


def autoencoder_inputs(config: Config, resolution: int, level: float, generator: torch.Generator) -> Tensors:
    """Inputs of a `vae_*_io` file."""
    shape = (BATCH, config["num_latents"], config["embed_dim"])
    return cloud(config, generator) | {
        "posterior_eps": torch.randn(shape, generator=generator),
        "latents": torch.randn(shape, generator=generator),
        "queries": 2 * torch.rand((BATCH, 40, 3), generator=generator) - 1,
        f"grid{resolution}_mc_level": torch.tensor(level),
    }


def photographs(generator: torch.Generator) -> Tensors:
    """RGBA images with soft edges: landscape, portrait, a small object that is enlarged, and a training view."""
    sizes = {"case0": (40, 61), "case1": (57, 33), "case2": (70, 70), "train_view": (45, 38)}
    radii = {"case0": 0.7, "case1": 0.6, "case2": 0.2, "train_view": 0.5}
    found = {}
    for name, (height, width) in sizes.items():
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        distance = ((rows - 0.1).square() + (columns / 0.8 + 0.05).square()).sqrt()
        alpha = ((radii[name] - distance) * 12 + 0.5).clamp(0, 1)
        colour = torch.rand((height, width, 3), generator=generator)
        found[f"{name}.rgba"] = (torch.cat([colour, alpha[..., None]], dim=-1) * 255).to(torch.uint8)
    return found


def feature_inputs(generator: torch.Generator) -> dict[str, Tensors]:
    """Inputs of `fourier`, `timestep_embedding` and `near_surface_mask`."""
    width, times = 24, torch.rand(9, generator=generator)
    field = torch.randn((9, 9, 9), generator=generator).cumsum(0).cumsum(1) / 4
    field[torch.rand(field.shape, generator=generator) < 0.1] = -10000.0
    field[torch.rand(field.shape, generator=generator) < 0.05] = 0.0
    time = {"t": times, "sinusoid_32.t": times, "sinusoid_768.t": torch.tensor([0.0, 0.37, 1.0])}
    for name, shape in {"0": (4 * width, width), "2": (width, 4 * width)}.items():
        time[f"embedder.mlp.{name}.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5
        time[f"embedder.mlp.{name}.bias"] = torch.randn(shape[0], generator=generator)
    return {
        "fourier": {"points": 2 * torch.rand((21, 3), generator=generator) - 1},
        "timestep_embedding": time,
        "near_surface_mask": {"field_9": field},
    }


def surface_skeleton() -> Config:
    """Inputs of `surface_grid.json`: cubes and a box, off-centre spheres, levels on both sides of zero."""
    names = ("resolution", "bounds", "radius", "centre", "mc_level")
    rows = [
        (20, 1.01, 0.57, [0.03, 0.0, -0.02], 0.0),
        (27, 0.9, 0.41, [-0.13, 0.21, 0.11], 0.0123),
        (18, [-1.0, -0.7, -1.1, 0.9, 0.8, 1.3], 0.43, [0.1, 0.05, -0.2], -0.004),
    ]
    return {"cases": [dict(zip(names, row, strict=True)) for row in rows]}


def scheduler_skeleton(generator: torch.Generator) -> Config:
    """Inputs of `scheduler.json`."""

    def normal(*shape: int) -> list:
        return torch.randn(shape, generator=generator).tolist()

    def asked(counts: tuple[int, ...]) -> list[Config]:
        return [{"num_inference_steps": count, "shift": shift} for shift in (1.0, 2.5) for count in counts]

    return {
        "pipeline_schedules": asked((1, 2, 3, 8, 20)),
        "default_schedules": asked((3, 8)),
        "trajectories": [entry | {"states": [normal(4)]} for entry in asked((1, 3, 8))],
        "constructor": [{"shift": 1.0}, {"shift": 2.5}],
        "cfg": {"cond": normal(5), "uncond": normal(5), "guidance_scale": 3.5},
        "training_path": {"t": [0.0, 0.125, 0.7, 1.0], "data": normal(4, 3, 2), "noise": normal(4, 3, 2)},
        "training_loss": {"prediction": normal(4, 3, 2)},
        "logit_normal_option": {"mean": -0.2, "std": 0.7, "shift_scale": 2.0, "standard_normal_draws": normal(7)},
    }


def lr_ema_skeleton() -> Config:
    """Inputs of `lr_ema.json`."""
    shared = {"warm_up_steps": 20, "f_min": 0.01, "f_max": 1.0, "f_start": 1e-05, "step": [0, 1, 19, 20, 21, 300, 500]}
    pairs = [[[0.5 * count, 2.0 - count], None] for count in range(6)]
    return {
        "lr_factor": [shared | {"max_decay_steps": steps} for steps in (400, 10**6)],
        "ema": {"decay": 0.4, "initial": [0.5, -1.0], "param_then_shadow": pairs},
    }
