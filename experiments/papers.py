"""The papers' tables as values: published figures, and which run stands for which row.

A table is an entry of `COMPARISONS`: `python -m experiments.table NAME` prints it, its sweep in conf/sweep trains its
rows. Published figures are of the full-size models on the papers' own data.
"""

from collections.abc import Mapping

from experiments.compare import APPEARANCE, COMPUTE, GEOMETRY, LOSS, TEMPORAL, Comparison, Entry, Published

CLIPS = "for clip in data/synthetic/*_holdout_*"
MINUTES = {"minutes": "minutes a clip ↓"}


def _rows(quantities: str, figures: Mapping[str, tuple[float | None, ...]]) -> Mapping[str, Mapping[str, float]]:
    """Figures in the order of the named quantities; None: the paper prints none."""
    names = quantities.split()
    return {
        row: {name: value for name, value in zip(names, values, strict=True) if value is not None}
        for row, values in figures.items()
    }


# Sculpt4D, main results: 50 held-out Objaverse models, 16 frames, the full-size base. Not comparable with other data.
# "compute" is headed PFLOPs in the papers; `published` in compute.py says what it counts. "minutes" are of a clip.
MAIN = Published(
    "Sculpt4D, main table",
    50,
    16,
    _rows(
        "chamfer iou fscore",
        {
            "Hunyuan3D, per frame": (0.1220, 0.3125, 0.2820),
            "Hunyuan3D, shared noise": (0.1231, 0.3176, 0.2883),
            "V2M4": (0.1268, 0.3071, 0.2909),
            "L4GM": (0.1655, None, 0.2033),
            "GVFD": (0.4235, None, 0.0717),
            "Sculpt4D": (0.1052, 0.3381, 0.3137),
        },
    ),
)
# ActionBench's own 128 clips, from the papers of ActionMesh and Helix4D
ACTIONBENCH = Published(
    "ActionBench",
    128,
    None,
    _rows(
        "cd_3d cd_4d cd_m",
        {
            "DreamMesh4D": (0.104, 0.152, 0.265),
            "LIM": (0.089, 0.126, 0.243),
            "V2M4": (0.068, 0.340, 0.616),
            "ShapeGen4D": (0.056, 0.170, 0.348),
            "TripoSG, per frame": (0.056, 0.184, None),
            "SS4D": (0.105, 0.120, None),
            "Mesh4D": (0.096, 0.141, None),
            "Motion 3-to-4": (0.068, 0.114, None),
            "Helix4D": (0.051, 0.093, None),
            "ActionMesh, fast": (0.055, 0.088, 0.154),
            "ActionMesh": (0.053, 0.081, 0.148),
        },
    ),
    digits=3,
)
COMPONENTS = Published(
    "Sculpt4D, ablation",
    None,
    16,
    _rows(
        "chamfer iou fscore compute",
        {
            "w/o consistent sampling": (0.1128, 0.3375, 0.3380, 186.3),
            "w/o shared noise": (0.1051, 0.3396, 0.3342, 186.3),
            "w/o sharp edge sampling": (0.1005, 0.3408, 0.3369, 186.3),
            "w/o attention sink": (0.0986, 0.3442, 0.3375, 169.8),
            "Temporal attention": (0.2071, 0.1972, 0.1833, 60.2),
            "Fixed stride": (0.1124, 0.3298, 0.3306, 167.1),
            "Full attention": (0.0958, 0.3466, 0.3402, 425.7),
            "Ours": (0.0972, 0.3451, 0.3383, 186.3),
        },
    ),
    decimals={"compute": 1},
)
A1 = Published(
    "Sculpt4D, Table A1",
    None,
    16,
    _rows(
        "chamfer iou fscore compute",
        {
            "A: w/o attention sink": (0.0986, 0.3442, 0.3375, 169.8),
            "B: Fixed stride": (0.1124, 0.3298, 0.3306, 167.1),
            "C: Aggressive decay": (0.0991, 0.3420, 0.3365, 145.0),
            "D: Conservative decay": (0.0968, 0.3454, 0.3388, 233.6),
            "E: Full attention": (0.0958, 0.3466, 0.3402, 425.7),
            "F: Ours": (0.0972, 0.3451, 0.3383, 186.3),
        },
    ),
    decimals={"compute": 1},
)
# sparse, full: "PFLOPs"; ratio, kept: percent, kept (of all pairs) with the decimals of the text below the table
A2 = Published(
    "Sculpt4D, Table A2",
    None,
    None,
    _rows(
        "sparse full ratio kept",
        {"8": (84.5, 123.2, 68.6, 58.11), "16": (186.3, 425.7, 43.8, 35.23), "32": (425.0, 1584.9, 26.8, 21.50)},
    ),
    digits=1,
    decimals={"kept": 2},
)
A3 = Published(
    "Sculpt4D, Table A3",
    None,
    None,
    _rows(
        "lpips clip fvd minutes",
        {
            "Hunyuan3D": (0.131, 0.803, 1276.2, 24.0),
            "DreamMesh4D": (0.145, 0.835, 914.9, 45.0),
            "V2M4": (0.152, 0.827, 952.0, 45.0),
            "Ours": (0.098, 0.916, 483.1, 7.0),
            "Ours-full": (0.094, 0.919, 477.8, 16.0),
        },
    ),
    digits=3,
    decimals={"fvd": 1, "minutes": 0},
)
A4 = Published(  # trained at 16 frames
    "Sculpt4D, Table A4",
    None,
    None,
    _rows(
        "chamfer iou fscore",
        {
            "8 frames": (0.099, 0.338, 0.315),
            "16 frames": (0.102, 0.339, 0.315),
            "32 frames": (0.106, 0.334, 0.314),
            "64 frames": (0.114, 0.326, 0.310),
        },
    ),
    digits=3,
)
SHAPEGEN4D = Published(
    "ShapeGen4D, main table",
    33,
    16,
    _rows(
        "chamfer iou fscore minutes",
        {
            "Step1X-3D, per frame": (0.1356, 0.3033, 0.2617, 3.0),
            "L4GM": (0.1576, None, 0.1932, 25 / 60),
            "V2M4": (0.1233, 0.3023, 0.2814, 30.0),
            "GVFD": (0.3978, None, 0.0699, 10.0),
            "ShapeGen4D (Step1X-3D)": (0.1220, 0.3276, 0.2934, 3.0),
            "ShapeGen4D (Hunyuan3D-2.1)": (0.0827, 0.4155, 0.3971, 15.0),
        },
    ),
    decimals={"minutes": 1},
)
SHAPEGEN4D_RENDERING = Published(
    "ShapeGen4D, rendering table (Consistent4D)",
    None,
    None,
    _rows(
        "lpips clip fvd dreamsim",
        {
            "Step1X-3D": (0.1524, 0.9040, 940.0, 0.1106),
            "L4GM": (0.0988, 0.9397, 302.0, 0.0487),
            "GVFD": (0.1691, 0.8601, 916.0, 0.1467),
            "ShapeGen4D": (0.1359, 0.9009, 796.0, 0.0966),
        },
    ),
    decimals={"fvd": 0},
)
SHAPEGEN4D_ABLATION = Published(
    "ShapeGen4D, ablation",
    None,
    8,
    _rows(
        "chamfer iou fscore",
        {
            "w/o aligned latents": (0.1348, 0.3230, 0.3002),
            "w/o shared noise": (0.1186, 0.3137, 0.2962),
            "1D temp. attn.": (0.2118, 0.1503, 0.1462),
            "w/o image hidden states": (0.1196, 0.3332, 0.3084),
            "w/o time shift": (0.1374, 0.3087, 0.2861),
            "Full method": (0.1096, 0.3346, 0.3190),
        },
    ),
)


def _generated(label: str, variant: str, options: str = "", trained: bool = False) -> Entry:
    """A row of clips that generate.py makes with `options`; trained: after a training with the same attention.

    The shipped temporal weights are those of blockmask_decay; other rows are trained as these were (weights/tiny).
    """
    folder = f"runs/train/{variant}"
    train = f"python train.py attention={variant} flow=logit_normal flow.time.mean=-0.8 output={folder} && "
    given = f"{options} checkpoint={folder}" if trained else options
    make = f"{CLIPS}; do python generate.py input=$clip output=out/{variant}/${{clip##*/}}{given}; done"
    return Entry(label, variant, prepare=(train if trained else "") + make)


COMPARISONS: Mapping[str, Comparison] = {
    # Outputs of other methods have no common pose. protocol=sculpt4d aligns them, so clips of ours that stand in one
    # table with them are measured the same way: generate.py, then predictions=DIR method=blockmask_decay.
    "main": Comparison(
        "Main comparison",
        MAIN,
        GEOMETRY | TEMPORAL,
        (
            Entry("Hunyuan3D, per frame", "per_frame", "baselines"),
            Entry("Hunyuan3D, shared noise", "per_frame_shared_noise", "baselines"),
            Entry("Hunyuan3D, official weights, per frame", "Hunyuan3D"),
            Entry("L4GM", "L4GM"),
            Entry("V2M4", "V2M4"),
            Entry("GVFD", "GVFD"),
            Entry("DreamMesh4D", "DreamMesh4D"),
            Entry("ActionMesh", "ActionMesh"),
            Entry("ShapeGen4D", "shapegen4d", "shapegen4d"),
            Entry("Sculpt4D, official weights", "Sculpt4D"),
            Entry("Sculpt4D", "blockmask_decay", "masks"),
        ),
        reference="Sculpt4D",
        notes=(
            "per_frame, per_frame_shared_noise: our base without temporal layers, each frame with its own noise or "
            "one.",
        ),
    ),
    "components": Comparison(
        "Ablation of components",
        COMPONENTS,
        GEOMETRY | TEMPORAL | COMPUTE,
        (
            Entry("w/o consistent sampling", "without_consistent_sampling", "components"),
            Entry("w/o shared noise", "without_shared_noise", "components"),
            Entry("w/o sharp edge sampling", "without_sharp_edges", "components"),
            Entry("w/o attention sink", "no_anchor", "masks"),
            Entry("Temporal attention", "temporal_only", "components"),
            Entry("Fixed stride", "fixed_stride", "masks"),
            Entry("Full attention", "full", "masks"),
            Entry("Ours", "blockmask_decay", "masks"),
        ),
        reference="Ours",
        notes=(
            "compute: one evaluation of the denoiser on a clip, counted; the paper's figures are headed PFLOPs there.",
        ),
    ),
    "a1_masks": Comparison(
        "Table A1, masks of temporal attention",
        A1,
        GEOMETRY | TEMPORAL | LOSS | COMPUTE,
        (
            Entry("A: w/o attention sink", "no_anchor", "masks"),
            Entry("B: Fixed stride", "fixed_stride", "masks"),
            Entry("C: Aggressive decay", "aggressive", "masks"),
            Entry("D: Conservative decay", "conservative", "masks"),
            Entry("E: Full attention", "full", "masks"),
            Entry("F: Ours", "blockmask_decay", "masks"),
            Entry("stride by motion", "motion_adaptive", "adaptive"),
            Entry("strides fitted to attention", "learned", "adaptive"),
        ),
        reference="F: Ours",
        notes=(
            "compute: one evaluation of the denoiser on a clip, counted; the paper's figures are headed PFLOPs there "
            "(python -m experiments.table a2_compute says what they count). The last two rows are in no paper.",
            "held-out loss: rectified flow loss of clips that were not trained on, at the end of training, over evenly "
            "spread times, with the same noise in every row of a seed.",
        ),
    ),
    "a3_appearance": Comparison(
        "Table A3, appearance and time",
        A3,
        APPEARANCE | MINUTES,
        (
            _generated("Hunyuan3D", "per_frame", " baseline=per_frame"),
            Entry("DreamMesh4D", "DreamMesh4D"),
            Entry("V2M4", "V2M4"),
            _generated("Ours", "blockmask_decay"),
            _generated("Ours-full", "full", " attention=full", trained=True),
        ),
        options="metrics=appearance",
        notes=(
            "Objects, views and networks of the published figures are not known; papers differ by a factor of two in "
            "the figures of one method. Measured time: of clips of generate.py, without loading networks.",
        ),
    ),
    "a4_length": Comparison(
        "Table A4, length: one set of weights at half, once, twice and four times the frames of training",
        A4,
        GEOMETRY | TEMPORAL,
        (
            Entry("8 frames", "blockmask_decay_frames4", "length"),
            Entry("16 frames", "blockmask_decay_frames8", "length"),
            Entry("32 frames", "blockmask_decay_frames16", "length"),
            Entry("64 frames", "blockmask_decay_frames32", "length"),
        ),
        reference="16 frames",
        free=("frames", "data"),
        notes=(
            "The paper trains at 16 frames, the sweep at 8: method names the paper's length, here the run and its "
            "frames. The same motion is seen at more moments in a longer clip, so jitter is not comparable "
            "between lengths.",
        ),
    ),
    "shapegen4d": Comparison(
        "ShapeGen4D's main comparison",
        SHAPEGEN4D,
        GEOMETRY | TEMPORAL | MINUTES,
        (
            Entry("Step1X-3D, per frame"),
            Entry("base of ours, per frame", "per_frame", "baselines"),
            Entry("L4GM", "L4GM"),
            Entry("V2M4", "V2M4"),
            Entry("GVFD", "GVFD"),
            Entry("ShapeGen4D (Step1X-3D)"),
            Entry("ShapeGen4D (Hunyuan3D-2.1)", "shapegen4d", "shapegen4d"),
            Entry("Sculpt4D", "blockmask_decay", "masks"),
        ),
        notes=(
            "here, shapegen4d is ShapeGen4D's temporal layer over our tiny base, not its weights.",
            "minutes a clip: of outputs that predictions= measured, from what generate.py leaves; sweeps time no "
            "clips, as several runs share a machine.",
        ),
    ),
    "shapegen4d_rendering": Comparison(
        "ShapeGen4D's comparison of rendered sequences",
        SHAPEGEN4D_RENDERING,
        APPEARANCE | {"dreamsim": "DreamSim ↓"},
        (
            Entry("Step1X-3D"),
            _generated("base of ours, per frame", "per_frame", " baseline=per_frame"),
            Entry("L4GM", "L4GM"),
            Entry("GVFD", "GVFD"),
            _generated("ShapeGen4D", "shapegen4d", " attention=shapegen4d sampler=euler_shifted", trained=True),
            _generated("Sculpt4D", "blockmask_decay"),
        ),
        options="metrics=appearance",
        notes=(
            "Published on Consistent4D; L4GM's figures gain from its alignment with the input view, as the paper "
            "notes.",
        ),
    ),
    "shapegen4d_ablation": Comparison(
        "ShapeGen4D's ablation",
        SHAPEGEN4D_ABLATION,
        GEOMETRY | TEMPORAL,
        (
            Entry("w/o aligned latents", "unaligned_queries", "shapegen4d"),
            Entry("w/o shared noise", "independent_noise", "shapegen4d"),
            Entry("1D temp. attn.", "temporal_only", "shapegen4d"),
            Entry("w/o image hidden states", "no_image_tokens", "shapegen4d"),
            Entry("w/o time shift", "no_time_shift", "shapegen4d"),
            Entry("Full method", "shapegen4d", "shapegen4d"),
        ),
        reference="Full method",
        notes=(
            "temporal_only: latent k sees latent k of every frame, and no image tokens either. It is sampled with the "
            "time shift, as shapegen4d is; the variant of this name in sweep=components is sampled without.",
        ),
    ),
}
