"""Data types shared between modules: immutable containers with documented shapes and units."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Integer, UInt8

if TYPE_CHECKING:  # preparation imports the mesh types without torch; NamedTuple annotations are not checked
    from torch import Tensor


class Clip(NamedTuple):
    """One animated object, or a batch of them (leading axis b). Coordinates are in the clip's box, [-1, 1]^3, y up.

    images   (t, 3, h, w)  RGB in [0, 1] on white, one crop for the whole clip
    surface  (t, n, 7)     position, unit normal, 1 on sharp edges; index k is one material point in all frames
    queries  (p,)          indices into `surface`, chosen by farthest point sampling in the first frame
    points   (t, m, 3)     query points with a known signed distance (m = 0 when the store has none)
    distance (t, m)        signed distance at `points`, positive inside, in box units
    """

    images: "Float[Tensor, '*b t 3 h w']"
    surface: "Float[Tensor, '*b t n 7']"
    queries: "Int[Tensor, '*b p']"
    points: "Float[Tensor, '*b t m 3']"
    distance: "Float[Tensor, '*b t m']"


@dataclass(frozen=True)
class Mesh:
    """Triangle mesh of one frame.

    vertices: (v, 3) float32. faces: (f, 3) integers, counter-clockwise seen from outside. An empty mesh (v = f = 0) is
    a frame in which no surface was found.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]


@dataclass(frozen=True)
class Appearance:
    """Colours and textures of a mesh, per face corner.

    colors: (f, 3, 3) sRGB in [0, 1] at every corner (base colour factor times vertex colour). texcoords: (f, 3, 2),
    origin at the upper left as in glTF. texture: (f,) index into `textures`, or -1. textures: (h, w, 3) uint8 sRGB
    images, multiplied by the colours.
    """

    colors: Float32[np.ndarray, "f 3 3"]
    texcoords: Float32[np.ndarray, "f 3 2"]
    texture: Integer[np.ndarray, " f"]
    textures: tuple[UInt8[np.ndarray, "_ _ 3"], ...] = ()


@dataclass(frozen=True)
class Drawable:
    """A mesh with its colours, as a renderer takes it: y up, within [-0.5, 0.5]^3 for the project's cameras.

    colors: (f, 3) sRGB in [0, 1], one per face; `appearance` replaces them when given. smooth: interpolate vertex
    normals over the faces.
    """

    mesh: Mesh
    colors: Float[np.ndarray, "f 3"]
    appearance: Appearance | None = None
    smooth: bool = False


@dataclass(frozen=True)
class AnimatedMesh:
    """A moving mesh of constant topology. World space, y up, units of the file.

    vertices: (t, v, 3) positions in every frame. rest: (v, 3) rest pose. faces: (f, 3). colors: (f, 3) in [0, 1], one
    per face. times: (t,) timestamps in seconds on the clip's time axis. notes: choices made while reading (clip name,
    skipped parts). appearance: colours within the faces, or None when the face colours are sufficient.
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
    """One mesh per frame; the topology may change. Coordinates are in the clip's box, [-1, 1]^3, y up."""

    frames: tuple[Mesh, ...]
    fps: float = 8.0


class EncodedClip(NamedTuple):
    """A clip, or a batch of them, encoded by the frozen autoencoder: the denoiser's training input.

    mean, logvar (t, p, c)     posterior of the latents, not yet normalised
    images       (t, 3, h, w)  RGB in [0, 1] on white
    """

    mean: "Float[Tensor, '*b t p c']"
    logvar: "Float[Tensor, '*b t p c']"
    images: "Float[Tensor, '*b t 3 h w']"
