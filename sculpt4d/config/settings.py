"""User settings: type, bounds and choices of every key in conf/. Does not import torch, so errors are immediate.

Classes that compute inherit their fields from here (`Euler` from `SamplerSettings`). `Settings` describes the
configuration of all four commands: a key has the same meaning in all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sculpt4d.config.schema import check_fields, setting

# Choices that code looks up by name; tests/test_settings.py compares them with what the code knows.
BACKENDS = ("auto", "reference", "merged", "flex", "block_sparse")
BACKGROUNDS = ("auto", "alpha", "plain", "rembg", "none")
BASELINES = ("per_frame", "per_frame_shared_noise", "reconstruction")
BENCHMARKS = ("consistent4d", "sv4d")
BOXES = ("clip", "first_frame", "none")
COUPLINGS = ("none", "frame", "clip")
CROPS = ("clip", "frame")
DECODERS = ("exact", "flash_mean", "flash_merge")
ENGINES = ("auto", "scipy", "open3d", "pytorch3d", "torch")
EXTRACTORS = ("mc", "lewiner", "release")
MEASURES = ("lpips", "clip", "fvd", "dreamsim")
MODES = ("export", "hybrid", "render")
ORDERS = ("fps", "morton")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PROJECTIONS = ("closest_point", "nearest_center", "none")
RENDERERS = ("embree", "blender", "pytorch3d")
STAGES = ("vae", "base", "temporal")
LARGEST_SEED = (1 << 31) - 1  # limit of numpy's legacy generator, with room for the offsets of ActionBench


@dataclass(frozen=True)
class PrepareSettings:
    """Stored data of each object; the defaults are those of the official release.

    points, sharp_points: surface points per frame. distance_points: points with known signed distance (0: none; the
    autoencoder stage needs them). grid_res: cells of the watertight grid along the box. front: view 0 is the fixed
    front camera. sharp_degrees: angle between the normals of two faces above which their edge is sharp.
    renderer: embree, blender or pytorch3d.
    Ablations: consistent=False draws new points for every frame; sharp_points=0 draws none on edges; projection="none"
    leaves them on the animated mesh; projection="nearest_center" is the paper's, see `geometry.projection`.
    """

    frames: int = setting(32, ge=1)
    points: int = setting(124928, ge=1)
    sharp_points: int = setting(124928, ge=0)
    distance_points: int = setting(0, ge=0)
    views: int = setting(24, ge=1)
    image_size: int = setting(512, ge=1)
    grid_res: int = setting(256, ge=1)
    front: bool = False
    renderer: str = setting("embree", choices=RENDERERS)
    seed: int = setting(0, ge=0)
    sharp_degrees: float = setting(30.0, gt=0, lt=180)
    consistent: bool = True
    projection: str = setting("closest_point", choices=PROJECTIONS)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class ClipSettings:
    """Data read for each object.

    frames: consecutive frames per clip. latents: query points. points, sharp_points: surface points the encoder sees.
    distance_points: points with known signed distance (0: none). image_size: side of the images (0: none). views:
    stored views to draw from; an object with fewer uses all of its views. keep: keep arrays of every object in memory,
    for small sets. token_order: order of the query points, hence of latents: as chosen by farthest point sampling, or
    morton, for masks that assume neighbours.
    Ablations: consistent=False draws points and queries for every frame; aligned=False chooses the queries of every
    frame again; sharp=False replaces sharp points by uniform ones.
    """

    frames: int = setting(ge=1)
    latents: int = setting(ge=1)
    points: int = setting(ge=1)
    sharp_points: int = setting(0, ge=0)
    distance_points: int = setting(0, ge=0)
    image_size: int = setting(64, ge=0)
    views: int = setting(1, ge=1)
    keep: bool = False
    consistent: bool = True
    aligned: bool = True
    sharp: bool = True
    token_order: str = setting("fps", choices=ORDERS)

    def __post_init__(self) -> None:
        check_fields(self, "data.settings")


@dataclass(frozen=True)
class SamplerSettings:
    """Fields of `sampler.Euler`."""

    steps: int = setting(49, ge=1)
    guidance: float = setting(5.0, ge=0)
    shift: float = setting(1.0, gt=0)
    share: float = setting(1.0, ge=0, le=1)
    halves_in_turn: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "sampler")


@dataclass(frozen=True)
class SurfaceSettings:
    """Fields of `generation.surface.Surface`."""

    resolution: int = setting(64, ge=1)
    coarse: int = setting(32, ge=1)
    suspicion: float = setting(1.0, ge=0)
    extractor: str = setting("mc", choices=EXTRACTORS)
    decoder: str = setting("exact", choices=DECODERS)
    chunk: int = setting(8192, ge=1)

    def __post_init__(self) -> None:
        check_fields(self, "surface")


@dataclass(frozen=True)
class SimilaritySettings:
    """Fields of `evaluation.alignment.Similarity`."""

    points: int = setting(10_000, ge=1)
    coarse_points: int = setting(1_000, ge=1)
    coarse_steps: int = setting(30, ge=1)
    kept: int = setting(4, ge=1)
    steps: int = setting(100, ge=1)
    tolerance: float = setting(1e-5, ge=0)


@dataclass(frozen=True)
class RigidSettings:
    """Fields of `evaluation.alignment.Rigid`."""

    points: int = setting(10_000, ge=1)
    steps: int = setting(1_000, ge=1)
    tolerance: float = setting(1e-7, ge=0)
    scale_limits: Sequence[float] = setting((0.95, 1.05), gt=0)


@dataclass(frozen=True)
class ProtocolSettings:
    """Fields of `evaluation.protocol.Protocol`."""

    name: str = "holdout"
    points: int = setting(10_000, ge=1)
    radius: float = setting(0.02, gt=0)
    radii: Sequence[float] = setting((0.01, 0.03, 0.05, 0.1), gt=0)
    resolution: int | None = setting(64, ge=1)
    box: str = setting("clip", choices=BOXES)
    alignment: SimilaritySettings | RigidSettings | None = None
    seed: int = setting(0, ge=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "radii", tuple(self.radii))
        check_fields(self, "protocol")


@dataclass(frozen=True)
class ActionBenchSettings:
    """Fields of `evaluation.actionbench.ActionBench`."""

    name: str = "actionbench"
    points: int = setting(100_000, ge=1)
    alignment_points: int = setting(10_000, ge=1)
    steps: int = setting(200, ge=1)
    rate: float = setting(0.01, gt=0)
    queries: int = setting(10_000, ge=1)
    every_start: bool = True
    seed: int = setting(44, ge=0, le=LARGEST_SEED)
    query_seed: int = setting(44, ge=0, le=LARGEST_SEED)
    exhaustive: bool = False
    screen_points: int = setting(1_000, ge=1)
    screen_margin: float = setting(0.15, ge=0)

    def __post_init__(self) -> None:
        check_fields(self, "protocol")


@dataclass(frozen=True)
class OptimisationSettings:
    """Fields of `training.optimise.Optimisation`."""

    rate: float = setting(5e-5, ge=0)
    betas: tuple[float, float] = setting((0.9, 0.99), ge=0, lt=1)
    eps: float = setting(1e-6, gt=0)
    decay: float = setting(1e-2, ge=0)
    warmup: int = setting(50, ge=0)
    final: float = setting(1e-3, ge=0)
    fused: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        check_fields(self, "stage.optimisation")


@dataclass(frozen=True)
class ExecutorSettings:
    """Limits of executors.

    workers: processes, None is one per core. timeout: seconds per attempt; memory: gigabytes per worker; None is no
    limit. retries: further attempts after a killed worker or an exceeded limit.
    """

    workers: int | None = setting(None, ge=1)
    timeout: int | float | None = setting(None, gt=0)
    memory: int | float | None = setting(None, gt=0)
    retries: int = setting(1, ge=0)

    def __post_init__(self) -> None:
        check_fields(self, "executor")


@dataclass(frozen=True)
class Thresholds:
    """Minimum requirements for training objects (`filter` of prepare.py); fields of `preparation.filter.Selection`."""

    min_frames: int = setting(12, ge=1)
    min_motion: float = setting(0.01, ge=0)
    max_reach: float = setting(3.0, ge=1)
    max_vertices: int = setting(200_000, ge=1)

    def __post_init__(self) -> None:
        check_fields(self, "filter")


# Groups of conf/ without their own class. Only present keys are checked, so their fields need no default.


@dataclass(frozen=True, kw_only=True)
class FilterGroup(Thresholds):
    """`filter` of prepare.py."""

    licences: Sequence[str] | None
    benchmarks: Sequence[str] = setting(choices=BENCHMARKS)
    exclude: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ExecutorGroup(ExecutorSettings):
    """`executor`."""

    address: str


@dataclass(frozen=True, kw_only=True)
class StageGroup:
    """`stage`, and each entry of `stage_options`."""

    name: str
    frames: int | None = setting(ge=1)
    steps: int = setting(ge=1)
    batch_size: int = setting(ge=1)
    average: float = setting(ge=0, lt=1)
    precision: str
    dropout: float = setting(ge=0, le=1)
    coupling: str | None = setting(choices=COUPLINGS)
    variants: int = setting(ge=1)
    cache_latents: bool
    train_base: bool
    recompute: bool
    truncation: float = setting(gt=0)
    kl: float = setting(ge=0)
    val_every: int = setting(ge=1)
    optimisation: OptimisationSettings
    save_every: int = setting(ge=1)
    distance_points: int = setting(ge=0)
    image_size: int = setting(ge=0)
    read_frames: int = setting(ge=1)


@dataclass(frozen=True, kw_only=True)
class FlowTimeGroup:
    """`flow.time`."""

    mean: float
    deviation: float = setting(gt=0)
    shift: float = setting(gt=0)


@dataclass(frozen=True, kw_only=True)
class FlowGroup:
    """`flow`."""

    time: FlowTimeGroup
    shared: bool
    share: float = setting(ge=0, le=1)


@dataclass(frozen=True, kw_only=True)
class DataGroup:
    """`data`."""

    name: str
    root: str
    source: str | None
    holdout_share: float = setting(ge=0, le=1)
    clips: int = setting(ge=0)
    holdout: int = setting(ge=0)
    seed: int = setting(ge=0)
    prepare: PrepareSettings
    settings: ClipSettings
    module: Any
    workers: int | None = setting(ge=1)
    loaders: int = setting(ge=0)


@dataclass(frozen=True, kw_only=True)
class NetworkGroup:
    """`model.vae`, `model.conditioner` and `model.denoiser`: sizes of all networks."""

    num_latents: int = setting(ge=1)
    embed_dim: int = setting(ge=1)
    width: int = setting(ge=1)
    heads: int = setting(ge=1)
    layers: int = setting(ge=0)
    num_encoder_layers: int = setting(ge=0)
    num_decoder_layers: int = setting(ge=0)
    num_freqs: int = setting(ge=0)
    geo_decoder_mlp_expand_ratio: int = setting(ge=1)
    scale_factor: float = setting(gt=0)
    anchors: bool
    channel_scale: bool
    size: int = setting(ge=1)
    hidden_size: int = setting(ge=1)
    num_hidden_layers: int = setting(ge=1)
    num_attention_heads: int = setting(ge=1)
    patch_size: int = setting(ge=1)
    in_channels: int = setting(ge=1)
    context_dim: int = setting(ge=1)
    depth: int = setting(ge=1)
    num_heads: int = setting(ge=1)
    num_moe_layers: int = setting(ge=0)
    num_experts: int = setting(ge=1)
    zero_head: bool


@dataclass(frozen=True, kw_only=True)
class ModelGroup:
    """`model`."""

    name: str
    frames: int = setting(ge=1)
    latents: int = setting(ge=1)
    block_size: int = setting(ge=1)
    image_size: int = setting(ge=1)
    resolution: int = setting(ge=1)
    points: int = setting(ge=1)
    sharp_points: int = setting(ge=0)
    distance_points: int = setting(ge=0)
    share: float = setting(ge=0, le=1)
    coupling: str = setting(choices=COUPLINGS)
    vae: NetworkGroup
    conditioner: NetworkGroup
    denoiser: NetworkGroup
    weights: dict[str, Any]
    sampling: SamplerSettings


@dataclass(frozen=True, kw_only=True)
class AttentionGroup:
    """`attention`: keys of the shipped patterns. The constructor of a new pattern checks its own keys."""

    strides: Sequence[int] = setting(ge=1, empty=False)
    anchor: bool
    block_size: int = setting(ge=1)
    decay: float = setting(gt=0)
    limit: float = setting(ge=1)
    floor: float = setting(gt=0)
    token_order: str = setting(choices=ORDERS)


@dataclass(frozen=True, kw_only=True)
class MetricsGroup:
    """`metrics`: constants of geometry_metrics or of Appearance."""

    radius: float | None = setting(gt=0)
    radii: Sequence[float] | None = setting(gt=0)
    resolution: int | None = setting(ge=1)
    measures: Sequence[str] = setting(choices=MEASURES, empty=False)
    networks: dict[str, Any]
    download: bool
    size: int = setting(ge=1)
    azimuths: Sequence[float]
    elevation: float
    field: float = setting(gt=0, lt=180)
    cameras: str | None
    crop: bool
    window: int | None = setting(ge=1)
    batch: int = setting(ge=1)


@dataclass(frozen=True, kw_only=True)
class CallbackGroup:
    """An entry of `callbacks`. Lightning checks the keys of its own callbacks."""

    every: int = setting(ge=1)
    folder: str
    sampler: SamplerSettings


@dataclass(frozen=True, kw_only=True)
class StrategyGroup:
    """`trainer.strategy` of trainer=deepspeed."""

    stage: int = setting(choices=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class TrainerGroup:
    """`trainer`. Lightning checks all other keys."""

    strategy: StrategyGroup | str


@dataclass(frozen=True, kw_only=True)
class SweepGroup:
    """`sweep`."""

    name: str
    table: str
    seeds: Sequence[int] = setting(ge=0)
    only: Sequence[str] | None
    workers: int | None = setting(ge=1)
    folder: str
    trained: str
    results: str
    train: Sequence[str]
    evaluate: Sequence[str]
    variants: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings(PrepareSettings):
    """Configuration of train.py, generate.py, evaluate.py and prepare.py.

    prepare.py has the keys of PrepareSettings.
    """

    # groups
    attention: AttentionGroup
    model: ModelGroup
    stage: StageGroup
    flow: FlowGroup
    data: DataGroup
    sampler: SamplerSettings
    surface: SurfaceSettings
    protocol: ProtocolSettings | ActionBenchSettings
    metrics: MetricsGroup
    executor: ExecutorGroup
    filter: FilterGroup
    trainer: TrainerGroup
    callbacks: dict[str, CallbackGroup] | None
    logger: dict[str, Any] | None
    sweep: SweepGroup
    paths: dict[str, Any]
    # several commands
    output: str | None
    backend: str = setting(choices=BACKENDS)
    threads: int = setting(ge=0)
    checkpoint: str | Sequence[str] | None
    offline: bool
    weight_names: str | None
    baseline: str | None = setting(choices=BASELINES)
    resolution: int = setting(ge=1)
    device: str
    precision: str = setting(choices=PRECISIONS)
    offload: bool
    low_memory: bool
    workers: int | None = setting(ge=1)
    # train.py
    start: str | None
    stages: Sequence[str] | None = setting(choices=STAGES)
    stage_options: dict[str, StageGroup] | None
    # generate.py
    input: str
    overwrite: bool
    stride: int = setting(ge=1)
    background: str = setting(choices=BACKGROUNDS)
    crop: str = setting(choices=CROPS)
    fps: float = setting(gt=0)
    # evaluate.py
    seeds: Sequence[int] = setting(ge=0, empty=False)
    limit: int | None = setting(ge=1)
    predictions: str | None
    ground_truth: str | None
    pattern: str | None
    objects: str | Sequence[str] | None
    method: str | None
    moments: int = setting(ge=1)
    neighbours: str = setting(choices=ENGINES)
    timeout: int | float | None = setting(gt=0)
    memory: int | float | None = setting(gt=0)
    retries: int = setting(ge=0)
    # prepare.py
    source: str | None
    mode: str = setting(choices=MODES)
    uids: str | None
    downloads: int = setting(ge=1)
    holdout: int = setting(ge=0)
    verify: str | None
    clip: str | int | None
    address: str
