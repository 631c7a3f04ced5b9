"""Colours of a glTF file: factors, vertex colours and textures, corner by corner."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sculpt4d.gltf.materials import linear_to_srgb, srgb_to_linear
from sculpt4d.gltf.read import read_animation
from sculpt4d.types import AnimatedMesh

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
QUARTERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)  # red, green / blue, white


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def textured(
    document: Any,
    places: Any,
    info: dict[str, Any] | None = None,
    sampler: dict[str, int] | None = None,
    **surface: Any,
) -> None:
    """A triangle with texture coordinates `places` on the picture of four quarters."""
    coordinates = document.accessor(np.array(places, np.float32))
    document.slide({"attributes": {"POSITION": document.accessor(CORNERS), "TEXCOORD_0": coordinates}, "material": 0})
    document.json |= {
        "images": [{"bufferView": document.view(png(QUARTERS)), "mimeType": "image/png"}],
        "samplers": [sampler or {}],
        "textures": [{"source": 0, "sampler": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0, **(info or {})}, **surface}}],
    }


def read(document: Any, tmp_path: Path) -> AnimatedMesh:
    return read_animation(document.write(tmp_path / "a.gltf"), 2)


@pytest.mark.parametrize("place, color", [((0.2, 0.2), (1, 0, 0)), ((0.8, 0.2), (0, 1, 0)), ((1.2, -0.2), (0, 0, 1))])
def test_a_face_has_the_colour_of_its_place_on_the_texture(
    tmp_path: Path, document: Any, place: Any, color: Any
) -> None:
    textured(document, [place] * 3)
    found = read(document, tmp_path)
    np.testing.assert_allclose(found.colors, [color], atol=1e-6)
    assert found.appearance is not None
    np.testing.assert_array_equal(found.appearance.texture, [0])
    np.testing.assert_array_equal(found.appearance.textures[0], QUARTERS)
    np.testing.assert_allclose(found.appearance.texcoords, [[place] * 3])
    np.testing.assert_allclose(found.appearance.colors, 1)


@pytest.mark.parametrize(
    "transform, color",
    [
        ({"offset": [0.5, 0]}, (0, 1, 0)),
        ({"scale": [1, 4]}, (0, 0, 1)),
        ({"rotation": np.pi / 2}, (0, 0, 1)),  # (u, v) to (v, -u): from upper left to lower left, counter-clockwise
        ({"offset": [0.5, 0.5], "scale": [0.1, 0.1], "texCoord": 0}, (1, 1, 1)),
    ],
)
def test_a_texture_transform_moves_the_place(tmp_path: Path, document: Any, transform: Any, color: Any) -> None:
    textured(document, [(0.2, 0.2)] * 3, {"extensions": {"KHR_texture_transform": transform}})
    np.testing.assert_allclose(read(document, tmp_path).colors, [color], atol=1e-6)


@pytest.mark.parametrize("wrap, color", [(10497, (0, 0, 1)), (33071, (1, 1, 1)), (33648, (1, 1, 1))])
def test_outside_the_picture_it_repeats_stops_or_mirrors(tmp_path: Path, document: Any, wrap: int, color: Any) -> None:
    textured(document, [(1.2, 0.8)] * 3, sampler={"wrapS": wrap, "wrapT": wrap})
    np.testing.assert_allclose(read(document, tmp_path).colors, [color], atol=1e-6)


def test_factor_and_vertex_colours_multiply_in_linear_light(tmp_path: Path, document: Any) -> None:
    colors = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]], np.uint8)
    attributes = {
        "POSITION": document.accessor(CORNERS),
        "COLOR_0": document.accessor(colors, normalized=True),
    }
    document.slide({"attributes": attributes, "material": 0})
    document.json["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.5, 0.5, 1]}}]
    found = read(document, tmp_path)
    half = linear_to_srgb(np.full((1, 3), 0.5))[0, 0]
    assert found.appearance is not None
    np.testing.assert_allclose(found.appearance.colors[0], half * np.eye(3), atol=1e-6)
    np.testing.assert_allclose(srgb_to_linear(found.colors), [[0.5 / 3] * 3], atol=1e-6)
    np.testing.assert_array_equal(found.appearance.texture, [-1])


def test_the_older_gloss_description_gives_its_diffuse_colour(tmp_path: Path, document: Any) -> None:
    document.slide({"attributes": {"POSITION": document.accessor(CORNERS)}, "material": 0})
    gloss = {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [1, 0, 0.25, 1]}}
    document.json["materials"] = [{"extensions": gloss}]
    np.testing.assert_allclose(srgb_to_linear(read(document, tmp_path).colors), [[1, 0, 0.25]], atol=1e-6)


def test_a_picture_that_cannot_be_shown_is_white_and_noted(tmp_path: Path, document: Any) -> None:
    textured(document, [(0.2, 0.2)] * 3)
    document.json["images"] = [{"uri": "away.png"}]
    found = read(document, tmp_path)
    np.testing.assert_allclose(found.colors, 1)
    assert any("picture 0 left out: needs away.png" in note for note in found.notes)


def test_a_mirrored_part_keeps_its_colours_at_their_corners(tmp_path: Path, document: Any) -> None:
    colors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    attributes = {"POSITION": document.accessor(CORNERS), "COLOR_0": document.accessor(colors)}
    document.slide({"attributes": attributes})
    document.json["nodes"][0]["scale"] = [-1, 1, 1]
    found = read(document, tmp_path)
    assert found.appearance is not None
    corners = zip(found.rest[found.faces[0]], found.appearance.colors[0], strict=True)
    by_place = {tuple(place): tuple(color) for place, color in corners}
    assert by_place == {(0, 0, 0): (1, 0, 0), (-1, 0, 0): (0, 1, 0), (0, 1, 0): (0, 0, 1)}


@pytest.mark.parametrize("value", [0.0, 0.002, 0.04045, 0.3, 1.0])
def test_srgb_and_linear_are_inverses(value: float) -> None:
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(np.full((1, 3), value))), value, atol=1e-7)
