"""The page: complete in itself, small, and true to the meshes."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from sculpt4d.generation.page import FRAME_FACES, decimate, picture_uri, quantise, write_page
from sculpt4d.types import Mesh, MeshSequence

NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))
PICTURE = np.full((32, 32, 3), 200, np.uint8)


def ball(subdivisions: int, radius: float = 0.7) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(sphere.vertices.astype(np.float32), sphere.faces)


def data_of(path: Path) -> dict:
    return json.loads(re.search(r'type="application/json">(.*?)</script>', path.read_text(), re.S).group(1))


def decoded(data: dict, frame: int) -> tuple[np.ndarray, np.ndarray]:
    positions, faces = (
        np.frombuffer(base64.b64decode(data["frames"][frame][key]), "<u2").reshape(-1, 3)
        for key in ("positions", "indices")
    )
    return positions / 65535 * data["extent"] + data["lower"], faces


def test_the_page_asks_nothing_of_the_network(tmp_path):
    write_page(tmp_path / "index.html", MeshSequence((ball(1),)), [PICTURE])
    text = (tmp_path / "index.html").read_text()
    assert "default-src 'none'; img-src data:" in text
    program = re.sub(r'(?s)<script id="data".*?</script>', "", text)
    assert not re.search(r"https?:|//[a-z]|@import|<link|<iframe|src=\"|fetch\(|XMLHttpRequest|WebSocket", program)
    pictures = data_of(tmp_path / "index.html")["pictures"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert "{{" not in text


def test_meshes_come_back_within_a_step(tmp_path):
    sequence = MeshSequence((ball(2), ball(1, 0.4)))
    write_page(tmp_path / "index.html", sequence, [PICTURE] * 2)
    data = data_of(tmp_path / "index.html")
    for index, mesh in enumerate(sequence.frames):
        vertices, faces = decoded(data, index)
        shown = np.sort(vertices[faces].reshape(-1, 9), axis=0)
        np.testing.assert_allclose(shown, np.sort(mesh.vertices[mesh.faces].reshape(-1, 9), axis=0), atol=2e-5)
        assert trimesh.Trimesh(vertices, faces, process=False).volume == pytest.approx(
            trimesh.Trimesh(mesh.vertices, mesh.faces).volume, rel=1e-3
        )


def test_the_largest_page_stays_small_and_says_that_it_is_decimated(tmp_path):
    mesh = ball(6)
    noisy = Image.fromarray(np.random.default_rng(0).integers(150, 255, (360, 360, 3)).astype(np.uint8))
    write_page(tmp_path / "index.html", MeshSequence((mesh,) * 32), [np.asarray(noisy)] * 32)
    path = tmp_path / "index.html"
    assert path.stat().st_size < 15e6
    vertices, faces = decoded(data_of(path), 5)
    assert len(faces) <= FRAME_FACES
    assert np.linalg.norm(vertices, axis=1).min() > 0.69
    assert data_of(path)["frames"][0]["faces"] == len(mesh.faces)
    assert "at most 20,000 faces a frame" in path.read_text()


def test_loose_triangles_are_thinned():
    corners = np.random.default_rng(0).random((9000, 3)).astype(np.float32)
    thinned = decimate(Mesh(corners, np.arange(9000).reshape(-1, 3)), 1000)
    assert 0 < len(thinned.faces) <= 1000


def test_flat_faces_and_unused_vertices_are_dropped():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1e-7, 0, 0], [9, 9, 9]], np.float32)
    positions, faces = quantise(Mesh(vertices, np.array([[0, 1, 2], [0, 3, 1]])), np.zeros(3), 1.0)
    assert len(positions) == 3
    assert faces.shape == (1, 3)


@pytest.mark.parametrize("frames", [(NOTHING,), (NOTHING, ball(1), NOTHING)])
def test_frames_without_a_mesh_are_told(tmp_path, frames):
    write_page(tmp_path / "index.html", MeshSequence(frames), [PICTURE] * len(frames))
    shown = [frame["faces"] for frame in data_of(tmp_path / "index.html")["frames"]]
    assert shown == [len(mesh.faces) for mesh in frames]


def test_names_cannot_break_the_page(tmp_path):
    facts = {"<b>": "{{data}} & </script>"}
    write_page(tmp_path / "index.html", MeshSequence((ball(0),)), [PICTURE], "<script>{{facts}}", facts)
    text = (tmp_path / "index.html").read_text()
    assert "<title>&lt;script&gt;{{facts}}</title>" in text
    assert "{{data}} &amp; &lt;/script&gt;" in text
    assert text.count('"positions"') == 1


def test_pictures_are_small_jpegs():
    uri = picture_uri(np.full((900, 600, 3), 90, np.uint8))
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert image.size == (240, 360)
