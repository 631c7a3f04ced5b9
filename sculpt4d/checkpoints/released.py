"""Convert the released program's constructor arguments, row order and tensor names (base spec 1.1, 1.4, 2.1, 3.4)."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sculpt4d.model.layers import SelfAttention

PREFIX = {
    "vae": "vae.",
    "conditioner": "conditioner.main_image_encoder.",
    "denoiser": "model.",
    "temporal": "model.",
}
PACKED = re.compile(r"(.*\b(attn1|attn2|temporal))\.to_k\.(weight|bias)")


def reference_tensors(tensors: Mapping[str, Tensor], part: str, module: nn.Module) -> dict[str, Tensor]:
    """Convert `tensors` of a part, named as in `module`, to the reference's names and row order.

    Raises ValueError for an image encoder other than DINOv2: the reference has none.
    """
    if part == "conditioner" and not all(name.startswith("model.") for name in tensors):
        raise ValueError("the reference's image encoder is DINOv2: this one cannot be written in its layout")
    ordered = {old_dino_name(name) if part == "conditioner" else name: tensor for name, tensor in tensors.items()}
    if part in ("denoiser", "temporal"):
        for name in tensors:
            if match := PACKED.fullmatch(name):
                letters = "kv" if match[2] == "attn2" else "qkv"
                names = [f"{match[1]}.to_{letter}.{match[3]}" for letter in letters]
                heads = cast(SelfAttention, module.get_submodule(match[1])).heads
                ordered |= zip(names, reference_rows([tensors[n] for n in names], heads), strict=True)
    return {PREFIX[part] + name: tensor for name, tensor in ordered.items()}


REQUIRED = object()  # marks arguments without a default in the reference

# Arguments that define the network, with the reference's defaults, which differ from those of the release.
DENOISER = {
    **{"in_channels": 4, "hidden_size": 1024, "context_dim": 1024, "depth": 24, "num_heads": 16},
    **{"qkv_bias": True, "qk_norm": False, "num_moe_layers": 6, "num_experts": 8, "moe_top_k": 2},
}
VAE = {
    **dict.fromkeys(("num_latents", "embed_dim", "width", "heads", "num_decoder_layers"), REQUIRED),
    **{"num_encoder_layers": 8, "point_feats": 3, "num_freqs": 8, "include_pi": True, "qkv_bias": True},
    **{"qk_norm": False, "geo_decoder_mlp_expand_ratio": 4, "geo_decoder_downsample_ratio": 1},
    **{"geo_decoder_ln_post": True, "scale_factor": 1.0},
}
# Branches not implemented here: the reference's default, and the value that disables them.
DENOISER_BRANCHES = {
    **{"use_attention_pooling": (True, False), "use_pos_emb": (False, False), "with_decoupled_ca": (False, False)},
    **{"guidance_cond_proj_dim": (None, None), "norm_type": ("layer", "layer")},
}
QK_NORM = {"qk_norm_type": ("rms", "rms")}  # checked only if there are such norms
VAE_BRANCHES = {"use_ln_post": (True, True)}
# Arguments without parameters and effect on the output: data sizes, and those the reference ignores.
DENOISER_DROPPED = ("input_size", "text_len", "mlp_ratio", "qk_norm_type")
VAE_DROPPED = ("pc_size", "pc_sharpedge_size", "downsample_ratio", "drop_path_rate", "label_type")

DINO = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "image_size", "num_channels"),
    *("mlp_ratio", "hidden_act", "qkv_bias", "layer_norm_eps", "layerscale_value", "use_swiglu_ffn"),
    *("attention_probs_dropout_prob", "hidden_dropout_prob", "drop_path_rate", "initializer_range"),
)
DINO_BRANCHES = {"model_type": ("dinov2", "dinov2")}
DINO_DROPPED = ("torch_dtype", "dtype", "architectures", "transformers_version", "_name_or_path")

DINO_ATTENTION = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def denoiser_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the reference's arguments to those of `Denoiser`.

    Raises ValueError for arguments that are unknown or not implemented.
    """
    branches = DENOISER_BRANCHES | (QK_NORM if params.get("qk_norm", DENOISER["qk_norm"]) else {})
    return _translated("denoiser", params, DENOISER, branches, DENOISER_DROPPED)


def vae_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the reference's arguments to those of `ShapeVAE`.

    Raises ValueError for arguments that are unknown, missing or not implemented.
    """
    return _translated("vae", params, VAE, VAE_BRANCHES, VAE_DROPPED)


def conditioner_arguments(params: Mapping[str, Any], size: int | None = None) -> dict[str, Any]:
    """Convert a DINOv2 configuration of Transformers to arguments of `DinoConditioner`; absent keys keep its defaults.

    `size`: image size in pixels, by default the native one. Raises ValueError for unknown keys.
    """
    kept = {key: params[key] for key in DINO if key in params}
    native = kept.setdefault("image_size", 518)
    return {"size": native if size is None else size} | _translated(
        "conditioner", params, kept, DINO_BRANCHES, DINO_DROPPED
    )


def differences(part: str, params: Mapping[str, Any], built: Mapping[str, Any]) -> list[str]:
    """Differences between the reference's `params` of "denoiser" or "vae" and our arguments in `built`.

    Keys unknown to both are ignored, as the reference ignores them. Absent keys have the reference's defaults.
    """
    kept, branches = (DENOISER, DENOISER_BRANCHES) if part == "denoiser" else (VAE, VAE_BRANCHES)
    said = {key: params.get(key, default) for key, default in kept.items() if key in params or default is not REQUIRED}
    found = [f"{key}={value}, here {built[key]}" for key, value in said.items() if value != built[key]]
    off = {key: (params.get(key, default), needed) for key, (default, needed) in branches.items()}
    return found + [f"{key}={value}, here {needed}" for key, (value, needed) in off.items() if value != needed]


def _translated(
    part: str,
    params: Mapping[str, Any],
    kept: Mapping[str, Any],
    branches: Mapping[str, tuple[Any, Any]],
    dropped: Collection[str],
) -> dict[str, Any]:
    """The arguments `kept` (key: default), after all others were recognised."""
    if unknown := sorted(params.keys() - kept.keys() - branches.keys() - set(dropped)):
        raise ValueError(
            f"{part}: unknown argument {', '.join(unknown)}: this is not a configuration of Hunyuan3D-2.1, or it is of "
            "a later version; remove what does not change the network"
        )
    for key, (default, needed) in branches.items():
        if (found := params.get(key, default)) != needed:
            told = "" if key in params else " (its default)"
            raise ValueError(f"{part}: {key}={found}{told} is not supported: weights with {key}={needed} are")
    if lacking := [key for key, default in kept.items() if default is REQUIRED and key not in params]:
        raise ValueError(f"{part}: the configuration lacks {', '.join(lacking)}: add what the weights were made with")
    return {key: params.get(key, default) for key, default in kept.items()}


def natural_rows(parts: Sequence[Tensor], heads: int) -> list[Tensor]:
    """Convert to_q, to_k, to_v (or to_k, to_v) of the reference, weights or biases, to matrices with whole heads each.

    The reference stacks its projections and splits the stack into heads, each with its rows of q, then k, then v. So
    its to_q also produces keys and values, those of the first heads.
    """
    rows = torch.cat(tuple(parts)).unflatten(0, (heads, len(parts), -1))
    return [rows[:, index].flatten(0, 1) for index in range(len(parts))]


def reference_rows(parts: Sequence[Tensor], heads: int) -> list[Tensor]:
    """Inverse of `natural_rows`."""
    rows = torch.stack([part.unflatten(0, (heads, -1)) for part in parts], dim=1).flatten(0, 2)
    return [part.clone() for part in rows.chunk(len(parts))]  # not views: each may be saved separately


def dino_name(name: str) -> str:
    """Name of a DINOv2 tensor in Transformers 5; other names are kept.

    The release uses the names of Transformers 4 (base spec 3.4).
    """
    for old, new in DINO_ATTENTION.items():
        name = name.replace(f".{old}.", f".{new}.")
    return name


def old_dino_name(name: str) -> str:
    """Inverse of `dino_name`."""
    for old, new in DINO_ATTENTION.items():
        name = name.replace(f".{new}.", f".{old}.")
    return name
