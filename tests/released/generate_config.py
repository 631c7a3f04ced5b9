"""Two configurations of a golden folder, unlike the published one in every size and in most options.

Even seeds take the first, odd seeds the second. Together they have odd and even depths, all, some and no blocks with
experts, one to three experts a token, every combination of projection bias and q/k norm, Fourier bands with and without
pi, a narrower geometry decoder, one without its closing norm, unequal point counts, one and several Euler steps, two
and three sparse levels, and the one small latent count that has its own rule for the keys kept (512).
"""

from typing import Any

Config = dict[str, Any]

DEFAULTS: dict[str, Config] = {  # of the reference's constructors, where an entry may leave a key out
    "dit": {"qkv_bias": True, "qk_norm": False, "num_moe_layers": 6, "num_experts": 8, "moe_top_k": 2},
    "vae": {
        "qkv_bias": True,
        "qk_norm": False,
        "include_pi": True,
        "num_freqs": 8,
        "num_encoder_layers": 8,
        "point_feats": 3,
        "downsample_ratio": 20,
        "geo_decoder_mlp_expand_ratio": 4,
        "geo_decoder_downsample_ratio": 1,
        "geo_decoder_ln_post": True,
    },
}
SWITCHES = {
    "qk_norm_type": "rms",
    "use_pos_emb": False,
    "use_attention_pooling": False,
    "with_decoupled_ca": False,
}
ENCODER = {
    "attention_probs_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-06,
    "layerscale_value": 1.0,
    "model_type": "dinov2",
    "num_channels": 3,
    "qkv_bias": True,
    "torch_dtype": "float32",
    "use_swiglu_ffn": False,
}


def complete(config: Config, key: str) -> Config:
    """The entry `key` of a folder's configuration, with the defaults of its kind."""
    return DEFAULTS.get(key.split("_")[0].removesuffix("2"), {}) | config[key]


def denoiser(width: int, heads: int, depth: int, channels: int, context: tuple[int, int], tokens: int) -> Config:
    """Sizes of a denoiser; `context` is token count and width."""
    sizes = {"input_size": tokens, "in_channels": channels, "hidden_size": width, "context_dim": context[1]}
    return sizes | {"depth": depth, "num_heads": heads, "text_len": context[0]} | SWITCHES


def experts(layers: int, count: int, chosen: int) -> Config:
    """The mixture of experts of a denoiser."""
    return {"num_moe_layers": layers, "num_experts": count, "moe_top_k": chosen}


def autoencoder(latents: int, channels: int, width: int, heads: int, layers: tuple[int, int]) -> Config:
    """Sizes of an autoencoder; `layers` are those of the encoder and of the decoder."""
    sizes = {"num_latents": latents, "embed_dim": channels, "width": width, "heads": heads}
    return sizes | {"num_encoder_layers": layers[0], "num_decoder_layers": layers[1], "point_feats": 4}


def points(uniform: int, sharp: int, ratio: float) -> Config:
    """Point counts of an autoencoder and the input points of each latent."""
    return {"pc_size": uniform, "pc_sharpedge_size": sharp, "downsample_ratio": ratio}


def geometry(expand: int, narrower: int, closed: bool) -> Config:
    """The geometry decoder of an autoencoder."""
    names = ("mlp_expand_ratio", "downsample_ratio", "ln_post")
    return {f"geo_decoder_{name}": value for name, value in zip(names, (expand, narrower, closed), strict=True)}


def mixture(width: int, count: int, chosen: int) -> Config:
    """A stand-alone mixture."""
    return {"dim": width, "E": count, "K": chosen, "inner": 4 * width}


def first() -> Config:
    """No bias and q/k norm beside bias and no q/k norm; the narrower geometry decoder has no closing norm."""
    vae = autoencoder(12, 6, 48, 3, (1, 2)) | {"num_freqs": 5, "include_pi": False, "scale_factor": 1.25}
    vae |= {"qkv_bias": False, "qk_norm": True} | geometry(2, 1, True)
    vae2 = autoencoder(20, 4, 64, 4, (3, 1)) | {"num_freqs": 4, "include_pi": True, "scale_factor": 0.9}
    vae2 |= {"qkv_bias": True, "qk_norm": True} | geometry(3, 2, False)
    dit = denoiser(48, 3, 4, 6, (7, 20), 18) | {"qkv_bias": False, "qk_norm": True} | experts(3, 3, 1)
    dit2 = denoiser(40, 5, 7, 4, (9, 24), 11) | experts(2, 5, 3)  # the defaults: bias, no q/k norm
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3, "patch_size": 8, "mlp_ratio": 3}
    return {
        "dit": dit,
        "dit2": dit2,
        "vae": vae | points(300, 100, 20),
        "vae2": vae2 | points(256, 384, 10),
        "vae_nosharp": vae | points(240, 0, 20),
        "vae2_nosharp": vae2 | points(230, 0, 10),
        "cond_cfg": ENCODER | sizes | {"image_size": 24},
        "conditioner_image_size": 24,
        "moe": {"moe_tiny": mixture(20, 5, 3), "moe_tiny_top1": mixture(12, 2, 1), "moe_tiny_top2": mixture(16, 6, 2)},
        "flash": [28, 7],
        "sample_steps": [3, 6],
        "image_processor": {"size": 30, "border_ratio": 0.15},
    }


def second() -> Config:
    """Defaults left out, experts in every block and in none, 512 latents, a closing norm missing at full width."""
    vae = autoencoder(512, 3, 32, 2, (1, 1)) | {"num_freqs": 3, "include_pi": True, "scale_factor": 1.0}
    vae |= {"qkv_bias": True, "qk_norm": False} | geometry(4, 1, True)
    vae |= {"use_ln_post": True, "drop_path_rate": 0.0, "label_type": "binary"}
    vae2 = autoencoder(10, 8, 40, 5, (2, 3)) | {"num_freqs": 4, "scale_factor": 1.1}
    vae2 |= {"qk_norm": True, "point_feats": 3} | geometry(1, 1, False)  # bias and pi are the defaults
    dit = denoiser(32, 4, 3, 3, (5, 12), 14) | {"qkv_bias": True, "qk_norm": True} | experts(3, 4, 2)
    dit |= {"mlp_ratio": 4.0, "norm_type": "layer", "guidance_cond_proj_dim": None}
    dit2 = denoiser(48, 2, 6, 8, (6, 16), 9) | {"qkv_bias": False, "qk_norm": False} | experts(0, 4, 2)
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 1, "patch_size": 14, "mlp_ratio": 4}
    return {
        "dit": dit,
        "dit2": dit2,
        "vae": vae | points(1152, 384, 2),
        "vae2": vae2 | points(160, 240, 15),
        "vae_nosharp": vae | points(1024, 0, 2),
        "vae2_nosharp": vae2 | points(160, 0, 15),
        "cond_cfg": ENCODER | sizes | {"image_size": 42},
        "conditioner_image_size": 42,
        "moe": {"moe_tiny": mixture(32, 2, 2), "moe_tiny_top1": mixture(16, 5, 1), "moe_tiny_top3": mixture(8, 4, 3)},
        "flash": [24, 12],
        "sample_steps": [1, 4],
        "image_processor": {"size": 44, "border_ratio": 0.1},
    }


def folder_config(seed: int) -> Config:
    """The configuration of the folder with this seed."""
    return second() if seed % 2 else first()
