"""Where the weights of every part come from, and that foreign checkpoints reach a configured model."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from sculpt4d.checkpoints.build import build_denoiser, build_vae, find_weights
from sculpt4d.checkpoints.released import reference_tensors
from sculpt4d.checkpoints.stored import Stored, save_weights
from sculpt4d.model.denoiser import is_temporal

Configure = Callable[..., DictConfig]
SMALL = [  # a model of the released kind, DINOv2 included, small
    "model=hunyuan3d21",
    "model.latents=16",
    "model.vae.embed_dim=8",
    "model.vae.width=16",
    "model.vae.heads=2",
    "model.vae.num_encoder_layers=1",
    "model.vae.num_decoder_layers=1",
    "model.image_size=28",
    "model.conditioner.hidden_size=16",
    "model.conditioner.num_hidden_layers=1",
    "model.conditioner.num_attention_heads=2",
    *(f"+model.denoiser.{key}={value}" for key, value in {"in_channels": 8, "hidden_size": 32, "depth": 3}.items()),
    *(
        f"+model.denoiser.{key}={value}"
        for key, value in {"context_dim": 16, "num_heads": 4, "num_moe_layers": 1}.items()
    ),
    "+model.denoiser.num_experts=2",
    "model.block_size=4",
    "input=none",
]


@pytest.fixture(scope="module")
def release(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files in published layouts: the base with everything, and shards that add temporal layers."""
    folder = tmp_path_factory.mktemp("release")
    cfg = configure("generate", *SMALL, "checkpoint=random")
    torch.manual_seed(3)
    sources = find_weights(cfg)
    vae, bundle = build_vae(cfg, sources), build_denoiser(cfg, True, sources)
    for parameter in bundle.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    found = reference_tensors(vae.state_dict(), "vae", vae)
    found |= reference_tensors(bundle.conditioner.state_dict(), "conditioner", bundle.conditioner)
    layers = reference_tensors(bundle.denoiser.state_dict(), "denoiser", bundle.denoiser)
    base = {name: value for name, value in layers.items() if not is_temporal(name)}
    save_weights(folder / "base.ckpt.safetensors", found | base, None)
    save_weights(folder / "sculpt4d.safetensors", layers, None)
    return {"base": folder / "base.ckpt.safetensors", "temporal": folder / "sculpt4d.safetensors"}


def files(sources: dict[str, object]) -> dict[str, str | None]:
    """Part to the file it comes from."""
    found: dict[str, str | None] = {}
    for part, source in sources.items():
        stored: Stored | None = next(iter(source[1].tensors.values())) if source else None  # type: ignore[index]
        found[part] = stored.file.name if stored else None
    return found


def test_the_first_checkpoint_that_holds_a_part_gives_it(configure: Configure, release: dict[str, Path]):
    given = f"checkpoint=[{release['temporal']},{release['base']}]"
    assert files(find_weights(configure("generate", *SMALL, given))) == {
        "vae": release["base"].name,
        "conditioner": release["base"].name,
        "denoiser": release["temporal"].name,
        "temporal": release["temporal"].name,
    }


def test_what_no_checkpoint_holds_comes_from_the_models_own_files(configure: Configure, release: dict[str, Path]):
    sources = files(find_weights(configure("generate", "input=none")))
    assert sources == {
        "vae": "vae.safetensors",
        "conditioner": "base.safetensors",
        "denoiser": "base.safetensors",
        "temporal": "temporal.safetensors",
    }


def test_a_part_that_is_nowhere_is_named_with_what_the_files_hold(configure: Configure, release: dict[str, Path]):
    with pytest.raises(
        ValueError, match=r"hunyuan3d21 has no weights for the vae .*holds denoiser, temporal.*checkpoint="
    ):
        find_weights(configure("generate", *SMALL, f"checkpoint={release['temporal']}"))
    with pytest.raises(ValueError, match="checkpoint=random"):
        find_weights(configure("generate", "model=hunyuan3d21", "input=none"))


def test_an_autoencoder_given_as_the_denoiser_is_refused(
    configure: Configure, release: dict[str, Path], tmp_path: Path
):
    cfg = configure("generate", *SMALL, "checkpoint=random")
    vae = build_vae(cfg, find_weights(cfg))
    save_weights(tmp_path / "vae.safetensors", reference_tensors(vae.state_dict(), "vae", vae), None)
    with pytest.raises(ValueError, match=r"no weights for the conditioner .*holds vae"):
        find_weights(configure("generate", *SMALL, f"checkpoint={tmp_path / 'vae.safetensors'}"))


def test_random_stands_for_whatever_the_entries_before_it_lack(configure: Configure, release: dict[str, Path]):
    sources = files(find_weights(configure("generate", *SMALL, f"checkpoint=[{release['temporal']},random]")))
    assert sources["vae"] is None and sources["denoiser"] == release["temporal"].name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_release_fills_the_configured_model_in_the_asked_precision(
    dtype: torch.dtype, configure: Configure, release: dict[str, Path]
):
    cfg = configure("generate", *SMALL, f"checkpoint=[{release['temporal']},{release['base']}]")
    sources = find_weights(cfg)
    told: list[tuple[str, int, int]] = []
    vae = build_vae(cfg, sources, dtype, lambda *now: told.append(now))
    bundle = build_denoiser(cfg, True, sources, dtype, lambda *now: told.append(now))
    for module in (vae, bundle):
        assert all(value.dtype == dtype and not value.is_meta for value in module.state_dict().values())
    assert bundle.denoiser.blocks[0].temporal.out_proj.weight.any()
    assert [phase for phase, done, total in told if done == total] == [
        f"loading {part}" for part in ("vae", "conditioner", "denoiser", "temporal")
    ]


def test_without_temporal_layers_in_the_files_they_start_as_zeros(configure: Configure, release: dict[str, Path]):
    cfg = configure("generate", *SMALL, f"checkpoint={release['base']}")
    bundle = build_denoiser(cfg, True, find_weights(cfg))
    assert bundle.denoiser.blocks[0].attn1.to_q.weight.any()
    for block in bundle.denoiser.blocks:
        assert not block.temporal.out_proj.weight.any() and not block.temporal.out_proj.bias.any()
        assert block.temporal.to_q.weight.std() > 0.01 and (block.norm_temporal.weight == 1).all()


def test_training_reads_the_frozen_parts_from_the_checkpoint_and_starts_the_others_anew(
    configure: Configure, release: dict[str, Path]
):
    small = [entry for entry in SMALL if entry != "input=none"]
    cfg = configure("train", *small, f"checkpoint=[{release['temporal']},{release['base']}]")
    assert files(find_weights(cfg, trained=("temporal",)))["temporal"] is None
    cfg.start = str(release["temporal"])
    assert files(find_weights(cfg, trained=("temporal",)))["temporal"] == release["temporal"].name


RELEASED = {
    "model": {"in_channels": 8, "hidden_size": 32, "depth": 3, "context_dim": 16, "num_heads": 4, "num_moe_layers": 1}
    | {"num_experts": 2, "moe_top_k": 2, "qkv_bias": False, "qk_norm": True, "use_attention_pooling": False}
    | {"some_later_key": 3},
    "vae": {
        "num_latents": 16,
        "embed_dim": 8,
        "width": 16,
        "heads": 2,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
    }
    | {"include_pi": False, "qkv_bias": False, "qk_norm": True, "point_feats": 4, "scale_factor": 1.0039506158752403},
}


@pytest.mark.parametrize(
    "section, change, word",
    [
        (None, {}, None),
        ("model", {"moe_top_k": 1}, "moe_top_k=1, here 2"),
        ("model", {"use_pos_emb": True}, "use_pos_emb=True, here False"),
        ("vae", {"scale_factor": 1.0}, "scale_factor=1.0, here 1.0039506158752403"),
        ("vae", {"include_pi": True}, "include_pi=True, here False"),
    ],
)
def test_a_config_beside_the_weights_must_agree_where_shapes_do_not_tell(
    section: str | None,
    change: dict[str, object],
    word: str | None,
    configure: Configure,
    release: dict[str, Path],
    tmp_path: Path,
):
    (tmp_path / "model.safetensors").symlink_to(release["base"])
    said = {
        part: {"target": "x", "params": params | (change if part == section else {})}
        for part, params in RELEASED.items()
    }
    OmegaConf.save(OmegaConf.create(said), tmp_path / "config.yaml")
    cfg = configure("generate", *SMALL, f"checkpoint={tmp_path}")
    sources = find_weights(cfg)

    def build() -> None:
        build_vae(cfg, sources)
        build_denoiser(cfg, True, sources)

    if word is None:
        build()
    else:
        with pytest.raises(ValueError, match=re.escape(word)):
            build()
