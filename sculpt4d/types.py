"""The values that travel between modules: small, immutable, with their shapes and units."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Integer, UInt8

if TYPE_CHECKING:  # preparation uses the meshes of this module and does without torch; a NamedTuple checks no types
    from torch import Tensor


class Clip(NamedTuple):
    """One animated object, or a batch of them (leading b). Coordinates are those of the clip's box, [-1, 1]^3, y up.

    images   (t, 3, h, w)  RGB in [0, 1] on white, one crop for the whole clip
    surface  (t, n, 7)     position, unit normal, 1 on sharp edges; row k is one material point through time
    queries  (p,)          rows of `surface` chosen by farthest point sampling in the first frame
    points   (t, m, 3)     places where the signed distance is known (m = 0 when the store has none)
    distance (t, m)        signed distance there, positive inside, in box units
    """

    images: "Float[Tensor, '*b t 3 h w']"
    surface: "Float[Tensor, '*b t n 7']"
    queries: "Int[Tensor, '*b p']"
    points: "Float[Tensor, '*b t m 3']"
    distance: "Float[Tensor, '*b t m']"


@dataclass(frozen=True)
class Mesh:
    """Triangles of one frame. `vertices` (v, 3) float32; `faces` (f, 3) integers, counter-clockwise seen from outside.

    An empty mesh (v = f = 0) is a frame in which nothing was found.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]


@dataclass(frozen=True)
class Appearance:
    """How a mesh looks. colors (f, 3, 3) sRGB in [0, 1] of every corner (base colour factor times vertex colour);
    texcoords (f, 3, 2), origin at the upper left as in glTF; texture (f,) row of `textures` or -1; textures: (h, w, 3)
    uint8 sRGB pictures, multiplied with the colours.
    """

    colors: Float32[np.ndarray, "f 3 3"]
    texcoords: Float32[np.ndarray, "f 3 2"]
    texture: Integer[np.ndarray, " f"]
    textures: tuple[UInt8[np.ndarray, "_ _ 3"], ...] = ()


@dataclass(frozen=True)
class AnimatedMesh:
    """One topology, moving. World space, y up, units of the file.

    vertices (t, v, 3) positions in every frame; rest (v, 3) the rest pose; faces (f, 3); colors (f, 3) in [0, 1], one
    per face; times (t,) seconds on the clip's own axis; notes: choices made while reading (clip name, skipped parts);
    appearance: colours inside the faces, None where the face colours say all.
    """

    vertices: Float32[np.ndarray, "t v 3"]
    faces: Integer[np.ndarray, "f 3"]
    rest: Float32[np.ndarray, "v 3"]
    colors: Float32[np.ndarray, "f 3"]
    times: Float[np.ndarray, " t"]
    name: str
    notes: tuple[str, ...] = field(default=())
    appearance: Appearance | None = None


@dataclass(frozen=True)
class MeshSequence:
    """A mesh per frame, topology free to change; coordinates in the clip's box, [-1, 1]^3, y up."""

    frames: tuple[Mesh, ...]
    fps: float = 8.0


class EncodedClip(NamedTuple):
    """A clip, or a batch of them, as the denoiser is trained on: the frozen autoencoder's view of it.

    mean, logvar (t, p, c)     posterior of the latents, not yet normalised
    images       (t, 3, h, w)  RGB in [0, 1] on white
    """

    mean: "Float[Tensor, '*b t p c']"
    logvar: "Float[Tensor, '*b t p c']"
    images: "Float[Tensor, '*b t 3 h w']"
