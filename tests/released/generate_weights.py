"""Names and shapes of every state dict under the reference's names, and random values for all of them."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .folder import entry
from .formulas_autoencoder import decode, occupancy
from .formulas_conditioner import PREFIX
from .generate_config import Config, complete

Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, Tensor]


def model_shapes(name: str, config: Config) -> Shapes:
    """Names and shapes of the state dict that NAME.safetensors holds in a folder with this configuration."""
    kind = name.split("_")[0]
    if kind == "moe":
        settings = config["moe"][name]
        return mixture_shapes(settings["dim"], settings["E"], settings["inner"])
    if kind == "conditioner":
        return conditioner_shapes(config["cond_cfg"])
    shapes = {"dit": denoiser_shapes, "vae": autoencoder_shapes}[kind]
    return shapes(complete(config, entry(kind, name)))


def dense(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    """A linear layer."""
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int, bias: bool = True) -> Shapes:
    """A norm layer."""
    weight: Shapes = {f"{name}.weight": (width,)}
    return weight | ({f"{name}.bias": (width,)} if bias else {})


def prefixed(prefix: str, shapes: Shapes) -> Shapes:
    """The same shapes below `prefix`."""
    return {prefix + name: shape for name, shape in shapes.items()}


def merged(parts: Iterator[Shapes]) -> Shapes:
    """All shapes of the parts."""
    return {name: shape for part in parts for name, shape in part.items()}


def mixture_shapes(width: int, experts: int, inner: int) -> Shapes:
    """A mixture of experts."""
    names = [f"experts.{index}" for index in range(experts)] + ["shared_experts"]
    found = dense("gate", experts, width, bias=False)
    for name in names:
        found |= dense(f"{name}.net.0.proj", inner, width) | dense(f"{name}.net.2", width, inner)
    return found


def block_shapes(config: Config, index: int) -> Shapes:
    """One block of a denoiser."""
    width, bias = config["hidden_size"], config["qkv_bias"]
    found = norm("norm1", width) | norm("norm2", width) | norm("norm3", width)
    for name, source in (("attn1", width), ("attn2", config["context_dim"])):
        found |= dense(f"{name}.to_q", width, width, bias) | dense(f"{name}.out_proj", width, width)
        found |= dense(f"{name}.to_k", width, source, bias) | dense(f"{name}.to_v", width, source, bias)
        if config["qk_norm"]:
            for which in ("q_norm", "k_norm"):
                found |= norm(f"{name}.{which}", width // config["num_heads"], bias=False)
    if config["depth"] - index <= config["num_moe_layers"]:
        found |= prefixed("moe.", mixture_shapes(width, config["num_experts"], 4 * width))
    else:
        found |= dense("mlp.fc1", 4 * width, width) | dense("mlp.fc2", width, 4 * width)
    if index > config["depth"] // 2:
        found |= dense("skip_linear", width, 2 * width) | norm("skip_norm", width)
    return found


def denoiser_shapes(config: Config) -> Shapes:
    """A denoiser."""
    width, channels = config["hidden_size"], config["in_channels"]
    found = dense("x_embedder", width, channels) | norm("final_layer.norm_final", width)
    found |= dense("t_embedder.mlp.0", 4 * width, width) | dense("t_embedder.mlp.2", width, 4 * width)
    found |= dense("final_layer.linear", channels, width)
    return found | merged(prefixed(f"blocks.{i}.", block_shapes(config, i)) for i in range(config["depth"]))


def attention_shapes(width: int, head: int, inner: int, bias: bool, normed: bool, cross: bool) -> Shapes:
    """Attention, norms and MLP of an autoencoder block: widths of the block, a head and the MLP's hidden layer."""
    packed = {"c_q": 1, "c_kv": 2} if cross else {"c_qkv": 3}
    found = merged(dense(f"attn.{name}", times * width, width, bias) for name, times in packed.items())
    if normed:
        found |= norm("attn.attention.q_norm", head) | norm("attn.attention.k_norm", head)
    found |= merged(norm(f"ln_{number}", width) for number in range(1, 4 if cross else 3))
    found |= dense("mlp.c_fc", inner, width) | dense("mlp.c_proj", width, inner)
    return found | dense("attn.c_proj", width, width)


def autoencoder_shapes(config: Config) -> Shapes:
    """An autoencoder; its geometry decoder may be narrower and without its closing norm."""
    width, head, channels = config["width"], config["width"] // config["heads"], config["embed_dim"]
    bands = 3 * (2 * config["num_freqs"] + 1)

    def one(cross: bool) -> Shapes:
        return attention_shapes(width, head, 4 * width, config["qkv_bias"], config["qk_norm"], cross)

    found = dense("encoder.input_proj", width, bands + config["point_feats"]) | norm("encoder.ln_post", width)
    found |= prefixed("encoder.cross_attn.", one(cross=True))
    for prefix, layers in (("encoder.self_attn", "num_encoder_layers"), ("transformer", "num_decoder_layers")):
        for index in range(config[layers]):
            found |= prefixed(f"{prefix}.resblocks.{index}.", one(cross=False))
    found |= dense("pre_kl", 2 * channels, width) | dense("post_kl", width, channels)
    times, closed = config["geo_decoder_downsample_ratio"], config["geo_decoder_ln_post"]
    small, expanded = width // times, config["geo_decoder_mlp_expand_ratio"] * width // times
    block = attention_shapes(small, head, expanded, config["qkv_bias"], config["qk_norm"] and closed, cross=True)
    geometry = (
        prefixed("cross_attn_decoder.", block) | dense("query_proj", small, bands) | dense("output_proj", 1, small)
    )
    geometry |= norm("ln_post", small) if closed else {}
    geometry |= dense("latents_proj", small, width) if times != 1 else {}
    return found | prefixed("geo_decoder.", geometry)


def conditioner_shapes(config: Config) -> Shapes:
    """An image encoder under the older DINOv2 names."""
    width, patch = config["hidden_size"], config["patch_size"]
    tokens, inner = 1 + (config["image_size"] // patch) ** 2, int(config["hidden_size"] * config["mlp_ratio"])
    found: Shapes = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, width),
        "embeddings.position_embeddings": (1, tokens, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
    }
    layer = norm("norm1", width) | norm("norm2", width) | dense("attention.output.dense", width, width)
    layer |= merged(dense(f"attention.attention.{name}", width, width) for name in ("query", "key", "value"))
    layer |= dense("mlp.fc1", inner, width) | dense("mlp.fc2", width, inner)
    layer |= {"layer_scale1.lambda1": (width,), "layer_scale2.lambda1": (width,)}
    found |= merged(prefixed(f"encoder.layer.{i}.", layer) for i in range(config["num_hidden_layers"]))
    return prefixed(PREFIX, found | norm("layernorm", width))


def filled(shapes: Shapes, generator: torch.Generator) -> Tensors:
    """Random values for every name: scales around one, biases around zero, matrices that keep their input's size."""

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        values = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            return 0.3 * values if name.endswith("bias") else 1 + 0.2 * values
        return 0.5 * values if "embeddings." in name and len(shape) == 3 else values / math.sqrt(math.prod(shape[1:]))

    return {name: draw(name, shape) for name, shape in shapes.items()}


def autoencoder_weights(config: Config, shapes: Shapes, latents: Tensor, generator: torch.Generator) -> Tensors:
    """Random, with two clamped log-variances, and a field that is smooth enough to leave points out: mostly outside."""
    weights = filled(shapes, generator)
    channels, bands = config["embed_dim"], config["num_freqs"]
    weights["pre_kl.bias"][channels] -= 45.0
    weights["pre_kl.bias"][-1] += 35.0
    falling = 0.4 ** torch.arange(bands).repeat(6)
    weights["geo_decoder.query_proj.weight"] *= torch.cat([torch.ones(3), falling])
    points = 2 * torch.rand((len(latents), 500, 3), generator=generator) - 1
    field = occupancy(weights, config, points, decode(weights, config, latents))
    factor = 4.0 / float(field.std())
    output = "geo_decoder.output_proj"
    weights[f"{output}.weight"] *= factor
    weights[f"{output}.bias"] = factor * (weights[f"{output}.bias"] - field.quantile(0.7))
    return weights
