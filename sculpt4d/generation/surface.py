"""Surface extraction from latents, with the work that all frames share done once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from sculpt4d.checkpoints.build import Progress
from sculpt4d.config.settings import SurfaceSettings
from sculpt4d.geometry.isosurface import Extraction, extract, first_cells, sample
from sculpt4d.geometry.marching import mesh_of
from sculpt4d.model.field import DecodedShape
from sculpt4d.model.flash import flash_grid
from sculpt4d.model.vae import ShapeVAE
from sculpt4d.types import MeshSequence

BOUNDS = 1.01  # half the side of the sampled cube
TOGETHER = 8  # frames whose first grids are evaluated together; more would save little and their keys fill memory


@dataclass(frozen=True)
class DecodedClip:
    """Meshes, the number of field queries, and the number of points of the full grids."""

    sequence: MeshSequence
    queries: int
    dense: int


@dataclass(frozen=True)
class Surface(SurfaceSettings):
    """Settings of surface extraction.

    resolution: cells per axis of the cube. coarse: minimum cells per axis of the first grid. suspicion: how eagerly to
    refine near possible thin parts that the first grid missed; 0 follows sign changes only, see `extract`. extractor:
    mc, lewiner or release, see `mesh_of`. decoder: `exact` evaluates the field coarse to fine; `flash_mean` and
    `flash_merge` approximate it as the official program does and ignore `coarse` and `suspicion`. chunk: points decoded
    at once; at full size each takes about 60 kB in float32, half that in float16.
    """

    @torch.no_grad()
    def decode(self, vae: ShapeVAE, latents: Float[Tensor, "t p c"], progress: Progress | None = None) -> DecodedClip:
        """Extract a mesh per frame, empty if the field is nowhere positive. `latents` are denormalised.

        Meshes of mc are closed. `progress` is called with "decoding", frames done, total frames.
        """
        search = self._exact if self.decoder == "exact" else self._flash
        found: list[Extraction] = []
        for together in latents.split(TOGETHER):
            # one frame at a time: the decoder's layers need far more memory than their results
            shapes = [vae.prepare(frame[None]) for frame in together]
            for extraction in search(vae, shapes):
                found.append(extraction)
                if progress is not None:
                    progress("decoding", len(found), len(latents))
        queries, dense = sum(each.queries for each in found), sum(each.dense for each in found)
        return DecodedClip(MeshSequence(tuple(each.mesh for each in found)), queries, dense)

    def _exact(self, vae: ShapeVAE, shapes: list[DecodedShape]) -> Iterator[Extraction]:
        """Evaluate coarse to fine. The points of the first grid are the same for all frames and are embedded once."""

        def fields(shape: DecodedShape, points: Float[Tensor, "m 3"]) -> Float[Tensor, "k m"]:
            return vae.field(points[None].to(shape.keys.device), shape)

        def field(shape: DecodedShape, points: Float[Tensor, "m 3"]) -> Float[Tensor, " m"]:
            return fields(shape, points)[0]

        stacked = DecodedShape(*(torch.cat(part) for part in zip(*shapes, strict=True)))
        cells = first_cells(self.resolution, self.coarse)
        starts = sample(partial(fields, stacked), cells, BOUNDS, max(1, self.chunk // len(shapes)))
        for shape, start in zip(shapes, starts, strict=True):
            yield extract(
                partial(field, shape),
                self.resolution,
                BOUNDS,
                coarse=self.coarse,
                safety=self.suspicion,
                extractor=self.extractor,
                chunk=self.chunk,
                start=start,
            )

    def _flash(self, vae: ShapeVAE, shapes: list[DecodedShape]) -> Iterator[Extraction]:
        """Evaluate on the official program's grid, which is slightly coarser than requested."""
        for shape in shapes:
            high = torch.full((3,), BOUNDS, device=shape.keys.device)
            mode = self.decoder.removeprefix("flash_")
            grid = flash_grid(vae.geo_decoder, shape, -high, high, self.resolution, mode=mode, chunk=self.chunk)
            values = grid.values.float().cpu().numpy()
            mesh = mesh_of(values, BOUNDS, extractor=self.extractor, resolution=self.resolution)
            yield Extraction(mesh, grid.queries, (self.resolution + 1) ** 3)
