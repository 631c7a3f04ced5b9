"""The scripts of `examples/` run and give what they promise."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from examples import measure_meshes, own_mask, video_to_mesh


def test_a_folder_of_images_becomes_a_mesh_per_frame(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(2):
        image = np.full((64, 64, 3), 255, np.uint8)
        image[16 + 8 * number : 48, 16:48] = (200, 30, 30)
        Image.fromarray(image).save(frames / f"{number}.png")
    video_to_mesh.main(str(frames), str(tmp_path / "out"), "frames=2", "sampler.steps=2", "resolution=16")
    made = [trimesh.load(path) for path in sorted((tmp_path / "out").iterdir())]
    assert len(made) == 2
    assert all(len(mesh.faces) > 0 for mesh in made)


def test_the_mask_hides_far_frames(capsys: pytest.CaptureFixture[str]) -> None:
    """Its attention equals dense attention with the hidden tokens left out."""
    torch.manual_seed(0)
    found = own_mask.main()
    torch.manual_seed(0)
    tokens = torch.randn(1, 2, 8 * 64, 32)
    frame = torch.arange(8).repeat_interleave(64)
    visible = ((frame[:, None] - frame).abs() <= 1) | (frame == 0)
    expected = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=visible)
    assert torch.allclose(found, expected, atol=1e-5)
    assert capsys.readouterr().out == "density 43.8%\n"  # 28 of 64 pairs of frames


def test_a_turned_and_scaled_copy_measures_as_equal(tmp_path: Path) -> None:
    turn = trimesh.transformations.rotation_matrix(np.pi / 2, [0, 1, 0])
    for side in ("prediction", "truth"):
        (tmp_path / side).mkdir()
        for number in range(2):
            mesh = trimesh.creation.box((1.0, 0.6 + 0.1 * number, 0.4))
            if side == "prediction":
                mesh.apply_transform(turn)
                mesh.apply_scale(2.0)
            mesh.export(tmp_path / side / f"{number}.ply")
    scores = measure_meshes.main(str(tmp_path / "prediction"), str(tmp_path / "truth"), points=2000)
    assert scores["iou"] > 0.9
    assert scores["chamfer"] < 0.1
