"""Images to meshes: repeatable, shared noise, baselines, and weights that must fit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from sculpt4d.checkpoints.build import base_names, build_denoiser, build_vae, find_weights, temporal_names
from sculpt4d.checkpoints.stored import save_weights
from sculpt4d.generation.pipeline import Pipeline, load_pipeline
from sculpt4d.generation.surface import DecodedClip
from sculpt4d.types import Clip, MeshSequence

Configure = Callable[..., DictConfig]
FAST = ("model=nano", "input=none", "sampler.steps=2", "resolution=16")


@pytest.fixture(scope="module")
def weights(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weight files of all three stages, the temporal layers moved off zero."""
    folder, cfg = tmp_path_factory.mktemp("weights"), configure("generate", *FAST)
    torch.manual_seed(1)
    fresh = find_weights(cfg)
    vae, bundle = build_vae(cfg, fresh), build_denoiser(cfg, True, fresh)
    for block in bundle.denoiser.blocks:
        torch.nn.init.normal_(block.temporal.out_proj.weight)
    tensors, known = bundle.state_dict(), {"model": "nano"}
    save_weights(folder / "vae.safetensors", vae.state_dict(), known | {"stage": "vae"})
    save_weights(folder / "base.safetensors", {n: tensors[n] for n in base_names(bundle)}, known | {"stage": "base"})
    attention = repr(bundle.denoiser.blocks[0].temporal.pattern)
    described = known | {"stage": "temporal", "attention": attention}
    save_weights(folder / "temporal.safetensors", {n: tensors[n] for n in temporal_names(bundle)}, described)
    return folder


@pytest.fixture(scope="module")
def load(weights: Path, configure: Configure) -> Callable[..., Pipeline]:
    return lambda *overrides: load_pipeline(configure("generate", *FAST, f"checkpoint={weights}", *overrides))


def latents(pipeline: Pipeline, run: Callable[[], object]) -> torch.Tensor:
    """Of the clip that `run` would have decoded."""
    seen: list[torch.Tensor] = []
    nothing = DecodedClip(MeshSequence(()), 0, 1)
    object.__setattr__(pipeline, "decode", lambda found, progress=None: (seen.append(found), nothing)[1])
    run()
    return seen[0]


def generated(pipeline: Pipeline, images: torch.Tensor, seed: int) -> torch.Tensor:
    return latents(pipeline, lambda: pipeline.generate(images, seed))


def test_equal_seeds_give_equal_latents_and_other_seeds_others(load: Callable[..., Pipeline]):
    images = torch.rand(4, 3, 16, 16)
    first, again, other = (generated(load(), images, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)


def test_equal_images_without_time_give_equal_frames_only_where_noise_is_shared(load: Callable[..., Pipeline]):
    images = torch.rand(1, 3, 16, 16).expand(4, -1, -1, -1)
    shared = generated(load("baseline=per_frame_shared_noise"), images, 0)
    own = generated(load("baseline=per_frame"), images, 0)
    assert torch.allclose(shared, shared[:1].expand_as(shared), atol=1e-5)
    assert not torch.allclose(own, own[:1].expand_as(own), atol=1e-2)


def test_the_baseline_treats_frames_alone_and_the_4d_model_does_not(load: Callable[..., Pipeline]):
    images = torch.rand(4, 3, 16, 16)
    changed = torch.cat([torch.rand(1, 3, 16, 16), images[1:]])
    for overrides, alone in ((["baseline=per_frame_shared_noise"], True), ([], False)):
        before, after = (generated(load(*overrides), clip, 0) for clip in (images, changed))
        assert not torch.allclose(before[0], after[0], atol=1e-4)
        assert torch.allclose(before[1:], after[1:], atol=1e-5) == alone


def test_every_frame_becomes_a_closed_mesh_inside_the_box_and_progress_is_told(load: Callable[..., Pipeline]):
    told: list[tuple[str, int, int]] = []
    pipeline = load()
    with torch.no_grad():
        pipeline.vae.geo_decoder.output_proj.bias.zero_()
    sequence = pipeline.generate(torch.rand(4, 3, 16, 16), 0, lambda *now: told.append(now))
    assert told == [("denoising", 1, 2), ("denoising", 2, 2), *[("decoding", frame, 4) for frame in range(1, 5)]]
    assert len(sequence.frames) == 4
    assert any(len(mesh.faces) for mesh in sequence.frames)
    for mesh in sequence.frames:
        edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
        assert len(edges) == 2 * len(np.unique(edges, axis=0)) or not len(mesh.faces)
        assert np.abs(mesh.vertices).max(initial=0) < 1.2


def test_a_still_clip_is_reconstructed_the_same_in_every_frame(load: Callable[..., Pipeline]):
    pipeline, points = load("baseline=reconstruction"), torch.rand(1, 128, 7).expand(3, -1, -1)
    clip = Clip(torch.zeros(3, 3, 0, 0), points, torch.arange(32), torch.zeros(3, 0, 3), torch.zeros(3, 0))
    found = latents(pipeline, lambda: pipeline.reconstruct(clip, seed=0))
    assert torch.allclose(found, found[:1].expand_as(found), atol=1e-5)


def test_a_loaded_pipeline_is_frozen_and_in_eval_mode(load: Callable[..., Pipeline]):
    pipeline = load()
    for network in (pipeline.vae, pipeline.conditioner, pipeline.denoiser):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_layers_of_another_attention_are_refused_by_both_names(load: Callable[..., Pipeline], weights: Path):
    with pytest.raises(ValueError, match=r"anchor=True.*anchor=False") as problem:
        load("attention=no_anchor")
    assert str(weights / "temporal.safetensors") in str(problem.value)


def test_an_unknown_baseline_and_a_missing_checkpoint_are_refused(configure: Configure, tmp_path: Path):
    with pytest.raises(ValueError, match="per_frame, per_frame_shared_noise"):
        load_pipeline(configure("generate", *FAST, "baseline=per_frames"))
    with pytest.raises(FileNotFoundError, match="absent"):
        load_pipeline(configure("generate", *FAST, f"checkpoint={tmp_path}/absent"))


@pytest.mark.parametrize("option", ["low_memory=true", "offload=true"])
def test_options_that_save_memory_do_not_change_the_latents(option: str, load: Callable[..., Pipeline]):
    images = torch.rand(4, 3, 16, 16)
    plain, saving = load("sampler.guidance=3.0"), load("sampler.guidance=3.0", option)
    assert torch.allclose(generated(plain, images, 5), generated(saving, images, 5), atol=1e-5)
    if option.startswith("low"):
        assert saving.denoiser.frames_at_once == 1 and saving.sampler.halves_in_turn and not saving.project
    else:
        assert saving.offload and not plain.offload


@pytest.mark.parametrize("name, dtype, bound", [("bf16", torch.bfloat16, 0.1), ("fp16", torch.float16, 0.02)])
def test_half_precision_runs_the_whole_path_near_the_full_one(
    name: str, dtype: torch.dtype, bound: float, load: Callable[..., Pipeline]
):
    images, half = torch.rand(4, 3, 16, 16), load(f"precision={name}")
    assert {value.dtype for value in half.denoiser.state_dict().values()} == {dtype}
    whole, rounded = generated(load(), images, 5), generated(half, images, 5)
    assert rounded.dtype == torch.float32
    assert 0 < (whole - rounded).abs().max() < bound * whole.abs().max()
    assert len(load(f"precision={name}").generate(images, 5).frames) == 4


def test_devices_and_precisions_that_are_not_there_are_refused(configure: Configure):
    with pytest.raises(ValueError, match=r"precision=int8 is not one of auto, fp32, bf16, fp16"):
        load_pipeline(configure("generate", *FAST, "precision=int8"))
    for device in ["warp", *([] if torch.cuda.is_available() else ["cuda"])]:
        with pytest.raises(ValueError, match=f"device={device} cannot be used"):
            load_pipeline(configure("generate", *FAST, f"device={device}"))


def test_a_base_without_temporal_layers_says_that_frames_do_not_see_each_other(
    configure: Configure, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for stage in ("vae", "base"):
        (tmp_path / f"{stage}.safetensors").symlink_to(weights / f"{stage}.safetensors")
    pipeline = load_pipeline(configure("generate", *FAST, f"checkpoint={tmp_path}"))
    assert "baseline=per_frame_shared_noise gives the same" in caplog.text
    baseline = load_pipeline(configure("generate", *FAST, f"checkpoint={tmp_path}", "baseline=per_frame_shared_noise"))
    images = torch.rand(4, 3, 16, 16)
    assert torch.allclose(generated(pipeline, images, 1), generated(baseline, images, 1), atol=1e-5)
