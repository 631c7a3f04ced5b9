"""Video in, animated 3D mesh out: an open implementation of Sculpt4D (CVPR 2026).

The parts are imported from where they live, so that importing the package builds, loads and prints nothing:

    sculpt4d.types                  Clip, EncodedClip, Mesh, AnimatedMesh, MeshSequence
    sculpt4d.attention.patterns     StridedPattern and its kin: which blocks see which
    sculpt4d.attention.backends     attend: runs a pattern
    sculpt4d.model.denoiser         Denoiser, 3D without a pattern, 4D with one
    sculpt4d.model.vae              ShapeVAE
    sculpt4d.compute                count_evaluation: multiply-accumulates of a denoiser
    sculpt4d.generation.pipeline    Pipeline, load_pipeline: pictures to meshes
    sculpt4d.evaluation.metrics.geometry     Chamfer, FScore, SolidIoU
    sculpt4d.preparation.run           animated GLB files to training objects
"""


def __getattr__(name: str) -> str:
    """`__version__`, looked up on demand: that of pyproject.toml, from the installed package's metadata."""
    if name == "__version__":
        from importlib.metadata import version

        return version("sculpt4d")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
