"""Latents to meshes: the dense grid's surface for a fraction of its queries, frames together as frames alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from hydra.utils import instantiate
from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import Tensor

from sculpt4d.generation.surface import TOGETHER, DecodedClip, Surface
from sculpt4d.geometry.fps import farthest_points
from sculpt4d.model.vae import ShapeVAE

Configure = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def tiny(configure: Configure) -> ShapeVAE:
    """The shipped autoencoder."""
    cfg = configure("generate", "model=tiny", "input=none")
    vae: ShapeVAE = instantiate(cfg.model.vae)
    vae.load_state_dict(load_file(str(cfg.paths.weights) + "/tiny/vae.safetensors"))
    return vae.eval()


@pytest.fixture(scope="module")
def boxes(tiny: ShapeVAE) -> Tensor:
    """Latents of three boxes, the last as thin as two cells of a grid of 64."""
    surfaces, queries = [], []
    for size in ((1.2, 0.8, 0.6), (0.5, 1.5, 0.4), (1.4, 1.0, 0.06)):
        points, faces = trimesh.sample.sample_surface(trimesh.creation.box(size), 512, seed=0)
        normals = trimesh.creation.box(size).face_normals[faces]
        surfaces.append(torch.from_numpy(np.hstack([points, normals, np.zeros((512, 1))])).float())
        queries.append(torch.from_numpy(farthest_points(points, 64)))
    with torch.no_grad():
        return tiny.encode(torch.stack(surfaces), torch.stack(queries)).mean


@pytest.fixture(scope="module")
def random() -> tuple[ShapeVAE, Tensor]:
    """An untrained autoencoder whose field has both signs, and latents of a clip longer than what is asked together."""
    torch.manual_seed(0)
    vae = ShapeVAE(8, 6, 16, 2, num_encoder_layers=1, num_decoder_layers=1, num_freqs=2).eval()
    torch.nn.init.zeros_(vae.geo_decoder.output_proj.bias)
    return vae, torch.randn(TOGETHER + 2, 8, 6)


def same(one: DecodedClip, other: DecodedClip, tolerance: float) -> bool:
    """Equal faces, and vertices no farther apart than `tolerance`, in every frame."""
    pairs = list(zip(one.sequence.frames, other.sequence.frames, strict=True))
    return all(
        np.array_equal(a.faces, b.faces) and np.abs(a.vertices - b.vertices).max(initial=0) <= tolerance
        for a, b in pairs
    )


def test_the_dense_grids_surface_takes_a_tenth_of_its_queries(tiny: ShapeVAE, boxes: Tensor):
    fast, dense = Surface(64, coarse=16).decode(tiny, boxes), Surface(64, coarse=64).decode(tiny, boxes)
    assert all(len(mesh.faces) > 1000 for mesh in dense.sequence.frames)
    assert same(fast, dense, 0.1 * 2.02 / 64)
    assert dense.queries == dense.dense == fast.dense == 3 * 65**3
    assert fast.queries < dense.queries / 10


def test_frames_together_are_the_frames_alone_and_every_one_is_told(random: tuple[ShapeVAE, Tensor]):
    vae, latents = random
    told: list[tuple[str, int, int]] = []
    surface = Surface(16, coarse=8)
    clip = surface.decode(vae, latents, lambda *now: told.append(now))
    assert told == [("decoding", frame, len(latents)) for frame in range(1, len(latents) + 1)]
    assert any(len(mesh.faces) for mesh in clip.sequence.frames)
    alone = [surface.decode(vae, frame[None]) for frame in latents]
    assert sum(one.queries for one in alone) == clip.queries
    for index, one in enumerate(alone):
        mesh, together = one.sequence.frames[0], clip.sequence.frames[index]
        assert np.array_equal(mesh.faces, together.faces)
        assert np.abs(mesh.vertices - together.vertices).max(initial=0) < 1e-4


def test_the_first_grid_is_embedded_once_for_frames_together_and_no_call_exceeds_the_chunk(
    random: tuple[ShapeVAE, Tensor],
):
    vae, latents = random
    embedded, read = [], []
    hooks = [
        vae.geo_decoder.query_proj.register_forward_hook(lambda _, inputs, out: embedded.append(out.shape[:2].numel())),
        vae.geo_decoder.output_proj.register_forward_hook(lambda _, inputs, out: read.append(out.shape[:2].numel())),
    ]
    clip = Surface(8, coarse=8, chunk=100).decode(vae, latents)
    for hook in hooks:
        hook.remove()
    assert sum(read) == clip.queries == len(latents) * 9**3
    assert sum(embedded) == 2 * 9**3  # of the first frames that go together, then of the others
    assert max(read) <= 100


@pytest.mark.parametrize("mode", ["flash_mean", "flash_merge"])
def test_the_sparse_decoder_comes_near_the_exact_one(tiny: ShapeVAE, boxes: Tensor, mode: str):
    exact, sparse = Surface(64).decode(tiny, boxes[:1]), Surface(64, decoder=mode).decode(tiny, boxes[:1])
    found = [
        trimesh.Trimesh(clip.sequence.frames[0].vertices, clip.sequence.frames[0].faces) for clip in (exact, sparse)
    ]
    assert found[1].is_watertight
    assert found[1].volume == pytest.approx(found[0].volume, rel=0.05)
    assert sparse.queries == 64**3  # its first grid has 63 cells for 64


def test_the_released_extractor_places_the_mesh_as_the_official_program_does(tiny: ShapeVAE, boxes: Tensor):
    true, released = (
        Surface(32, extractor=name).decode(tiny, boxes[:1]).sequence.frames[0] for name in ("mc", "release")
    )
    middle = [(mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2 for mesh in (true, released)]
    assert middle[1] == pytest.approx((middle[0] + 1.01) * 32 / 33 - 1.01, abs=1e-3)


@torch.no_grad()
def test_a_decoder_in_half_precision_takes_float32_latents(tiny: ShapeVAE, boxes: Tensor, configure: Configure):
    half: ShapeVAE = instantiate(configure("generate", "model=tiny", "input=none").model.vae)
    half.load_state_dict(tiny.state_dict())
    rounded = Surface(32).decode(half.to(torch.bfloat16).eval(), boxes[:1]).sequence.frames[0]
    exact = Surface(32).decode(tiny, boxes[:1]).sequence.frames[0]
    volumes = [trimesh.Trimesh(mesh.vertices, mesh.faces).volume for mesh in (rounded, exact)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.02)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"resolution": 0}, "surface.resolution=0"),
        ({"coarse": 0}, "surface.coarse=0"),
        ({"suspicion": -1.0}, "surface.suspicion=-1.0"),
        ({"chunk": 0}, "surface.chunk=0"),
        ({"extractor": "dmc"}, "mc, lewiner, release"),
        ({"decoder": "flash"}, "exact, flash_mean, flash_merge"),
    ],
)
def test_impossible_settings_are_refused_with_what_is_possible(options: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        Surface(**options)
