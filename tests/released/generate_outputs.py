"""Every output of a golden folder's tensor files, computed by the formulas from the inputs in the same file."""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from .folder import entry
from .formulas_autoencoder import CLOSING, decode, encoder_outputs, occupancy
from .formulas_conditioner import conditioner_outputs
from .formulas_denoiser import denoiser_outputs
from .formulas_experts import Mixture, mixture
from .formulas_flash import flash
from .formulas_layers import Weights, fourier, layer_norm, rms_norm, sinusoid, time_token, under
from .formulas_schedule import sample_outputs
from .formulas_surface import extract, grid, near_surface
from .generate_config import Config, complete

OPENCV = find_spec("cv2") is not None
BOUNDS = 1.01  # the cube that every golden decoder looks at
Tensors = dict[str, Tensor]
Load = Callable[[str], Tensors]


def outputs(name: str, config: Config, io: Tensors, load: Load) -> Tensors:
    """What NAME.safetensors can hold besides its inputs `io`; `load` reads the weights it belongs to."""
    model, kind = name.removesuffix("_io"), name.split("_")[0]
    if kind == "dit":
        return denoiser_outputs(load(model), complete(config, entry("dit", model)), io)
    if kind == "sample":
        model = model.replace("sample", "dit", 1)
        return sample_outputs(load(model), complete(config, entry("dit", model)), io)
    if kind == "moe":
        return mixture_outputs(load(model), config["moe"][model]["K"], io)
    if kind == "vae" and model.endswith("_nosharp"):
        model = model.removesuffix("_nosharp")
        return encoder_outputs(load(model), complete(config, f"{entry('vae', model)}_nosharp"), io)
    if kind == "vae":
        settings = complete(config, entry("vae", model))
        return encoder_outputs(load(model), settings, io) | decoder_outputs(load(model), settings, config["flash"], io)
    if kind == "conditioner":
        return conditioner_outputs(load(model), config["cond_cfg"], config["conditioner_image_size"], io)
    if name == "image_preproc":
        from .formulas_images import image_outputs  # needs OpenCV

        return image_outputs(io, config["image_processor"]["size"], config["image_processor"]["border_ratio"])
    if name == "norm_probe":
        return norm_outputs({kind: load(f"{kind}_tiny") for kind in ("dit", "vae")}, io["input"])
    return FEATURES[name](io)


def mixture_outputs(weights: Weights, top_k: int, io: Tensors) -> Tensors:
    """Everything a `moe_*_io` file can hold; gradients are those of sum(out * upstream) plus the balance term."""
    leaves = {name: value.clone().requires_grad_() for name, value in (*weights.items(), ("x", io["x"]))}
    mixed = mixture(leaves, leaves["x"], top_k)
    objective = (mixed.out * io["train.upstream_grad"]).sum()

    def gradients(of: Tensor, prefix: str) -> Tensors:
        found = torch.autograd.grad(
            of, list(leaves.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return {f"{prefix}.{name}": gradient for name, gradient in zip(leaves, found, strict=True)}

    both = gradients(objective + mixed.balance, "train.grad") | gradients(objective, "train.grad_no_aux")
    mixed = Mixture(*(part.detach() for part in mixed))
    return both | {
        "out_eval": mixed.out,
        "out_train": mixed.out,
        "gate_logits": mixed.logits,
        "gate_probs": mixed.probabilities,
        "topk_idx_desc": mixed.chosen,
        "topk_weight_desc": mixed.weight,
        "aux_loss": mixed.balance,
    }


def decoder_outputs(weights: Weights, config: Config, sparse: list[int], io: Tensors) -> Tensors:
    """The decoder's part of a `vae_*_io` file: free queries, dense grids with their meshes, sparse grids."""
    decoded = decode(weights, config, io["latents"])
    found = {"decoded": decoded, "logits": occupancy(weights, config, io["queries"], decoded)}
    for name in (name.removesuffix("_mc_level") for name in io if name.endswith("_mc_level")):
        resolution = int(name.removeprefix("grid"))
        points = grid(BOUNDS, resolution).to(decoded.dtype)
        values = occupancy(weights, config, points.view(1, -1, 3), decoded[:1]).view(1, *points.shape[:3])
        vertices, faces = extract(values[0], float(io[f"{name}_mc_level"]), BOUNDS, resolution)
        found |= {f"{name}_logits": values, f"{name}_vertices": vertices, f"{name}_faces": faces}
    asked, minimum = sparse
    for mode in ("mean", "merge"):
        key = f"flash_{mode}_r{asked}_min{minimum}"
        found[key] = flash(weights, config, decoded[:1], asked, minimum, mode, BOUNDS, 0.0)
    return found


def norm_outputs(models: dict[str, Tensors], given: Tensor) -> Tensors:
    """Every norm layer of the models applied to the first columns of a small input."""
    found = {}
    for kind, weights in models.items():
        for name in (name.removesuffix(".weight") for name in weights if name.endswith(".weight")):
            part, last = under(weights, f"{name}."), name.rsplit(".", 1)[-1]
            if part["weight"].ndim != 1:
                continue
            columns = given[:, : len(part["weight"])]
            layer = {f"norm.{key}": value for key, value in part.items()}
            eps = CLOSING if last == "ln_post" else 1e-6
            found[f"out.{kind}.{name}"] = (
                layer_norm(layer, "norm", columns, eps) if "bias" in part else rms_norm(layer, "norm", columns, eps)
            )
    return found


def fourier_outputs(io: Tensors) -> Tensors:
    """Every combination of bands, pi and raw coordinates that `fourier` may ask for."""
    found = {}
    for bands in range(1, 11):
        for pi in (True, False):
            for raw in (True, False):
                name = f"embed_f{bands}_{'pi' if pi else 'nopi'}{'' if raw else '_noinput'}"
                found[name] = fourier(io["points"], bands, pi, raw)
    return found


def time_outputs(io: Tensors) -> Tensors:
    """Sinusoids at the widths in the names, and the small embedder."""
    found = {"embedder_out": time_token(under(io, "embedder."), io["t"])}
    for name in (name.removesuffix(".t") for name in io if name.startswith("sinusoid_") and name.endswith(".t")):
        found[name] = sinusoid(io[f"{name}.t"], int(name.split("_")[1]))
    return found


def near_outputs(io: Tensors) -> Tensors:
    """Near-surface masks of `field_N` for the offsets in OFFSETS."""
    found = {}
    for name, field in io.items():
        if name.startswith("field_"):
            for offset in OFFSETS:
                key = f"near_mask_{name.removeprefix('field_')}_alpha{offset:g}"
                found[key] = near_surface(field, offset).to(torch.uint8)
    return found


OFFSETS = (0.0, 0.05, 0.1, 0.25)
FEATURES = {"fourier": fourier_outputs, "timestep_embedding": time_outputs, "near_surface_mask": near_outputs}
