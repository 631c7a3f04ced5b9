"""Counted multiply-accumulates against torch's FLOP counter and against the figures of base spec 8.2."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from experiments import compute as full_size
from sculpt4d.attention import merged
from sculpt4d.attention.adaptive import MotionPattern, PairwisePattern
from sculpt4d.attention.backends import attend
from sculpt4d.attention.patterns import JointPattern, StridedPattern
from sculpt4d.compute import Evaluation, Sampling, count_decoding, count_evaluation, count_sampling, pairs
from sculpt4d.model import layers
from sculpt4d.model.denoiser import Denoiser
from sculpt4d.model.moe import MixtureOfExperts
from sculpt4d.sampler import Euler

LATENTS, CONTEXT, WIDTH, DEPTH = 4096, 1370, 2048, 21
DENSE = StridedPattern(strides=(1,), anchor=False)


def merged_flop_count(q: torch.Size, k: torch.Size, v: torch.Size, *rest: Any, **_: Any) -> int:
    """Of the opaque operator: the dense attentions that its plan runs, each counted as torch counts one."""
    strides, anchor, block_size, kind, frames = rest
    layouts, size = merged._planned(tuple(strides), anchor, block_size, kind, frames, q[2])
    total = 0
    for piece in (piece for layout in layouts for piece in layout.pieces):
        queries, keys = (
            (piece.classes * piece.frames, rows * size) for rows in (piece.queries.length, piece.keys.length)
        )
        total += sdpa_flop_count(*((q[0] * q[1], *side, q[3]) for side in (queries, keys, keys)))
    return total


ATTENTION = {  # torch knows the cost of the attention kernels of CUDA alone
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.sculpt4d.merged_attention: merged_flop_count,
}
MODULES = {  # of each component; scores are the batched products outside the projections of an attention
    "latent_embedding": r"x_embedder",
    "time_embedding": r"t_embedder",
    "spatial_projections": r"attn1\.\w+",
    "spatial_scores": r"attn1",
    "cross_queries": r"attn2\.(to_q|out_proj)",
    "cross_context": r"attn2\.(to_k|to_v)",
    "cross_scores": r"attn2",
    "mlp": r"mlp",
    "expert_gate": r"moe\.gate",
    "routed_experts": r"moe\.experts\.\d+",
    "shared_expert": r"moe\.shared_experts",
    "skip_projections": r"skip_linear",
    "head": r"final_layer",
    "temporal_projections": r"temporal\.\w+",
    "temporal_scores": r"temporal",
}


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the meta device cannot do: route by values, and autocast (the rotation of queries and keys, no product).

    Instead of the tokens that chose it, each expert gets an even share of the `top` x tokens assignments, to the row.
    """

    def route_evenly(self: MixtureOfExperts, tokens: Tensor) -> Tensor:
        flat = tokens.flatten(0, 1)
        self.gate(flat)
        assignments, experts = self.top * len(flat), len(self.experts)
        for index, expert in enumerate(self.experts):
            expert(flat[: assignments // experts + (index < assignments % experts)])
        return self.shared_experts(tokens)

    monkeypatch.setattr(MixtureOfExperts, "forward", route_evenly)
    monkeypatch.setattr(layers, "rotate", lambda heads: heads)


def counted(run: Callable[[], Any]) -> FlopCounterMode:
    """torch's counter after a run."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        run()
    return counter


def by_component(counter: FlopCounterMode) -> Evaluation:
    """Multiply-accumulates that torch counted in the modules of every component."""
    found = Counter[str]()
    for module, operations in counter.get_flop_counts().items():
        path = module.partition("Denoiser.")[2].removeprefix("blocks.").lstrip("0123456789.")
        for component, pattern in MODULES.items():
            if re.fullmatch(pattern, path):
                projections = (torch.ops.aten.mm, torch.ops.aten.addmm)
                scores = component.endswith("scores")
                found[component] += sum(flop for op, flop in operations.items() if not scores or op not in projections)
    assert sum(found.values()) == counter.get_total_flops(), "a product belongs to no component, or to two"
    return Evaluation(*(found[component] // 2 for component in Evaluation._fields))


def evaluate(model: Denoiser, frames: int, latents: int, context: int, device: str = "meta") -> FlopCounterMode:
    """One evaluation under torch's counter."""
    channels, width = model.x_embedder.in_features, model.blocks[0].attn2.to_k.in_features
    noisy = torch.zeros(1, frames, latents, channels, device=device)
    image = torch.zeros(1, frames, context, width, device=device)
    return counted(lambda: model(noisy, torch.zeros(1, device=device), image))


def full_size_model(**options: Any) -> Denoiser:
    with torch.device("meta"):
        return Denoiser(**options).eval()


def test_the_full_size_base_costs_what_torch_counts(on_meta: None):
    model = full_size_model()
    assert by_component(evaluate(model, 1, LATENTS, CONTEXT)) == count_evaluation(model, 1, LATENTS, CONTEXT)


def test_the_full_size_4d_model_costs_what_torch_counts_in_the_pieces_of_its_mask(on_meta: None):
    model = full_size_model(pattern=StridedPattern(), backend="merged")
    assert by_component(evaluate(model, 4, LATENTS, CONTEXT)) == count_evaluation(model, 4, LATENTS, CONTEXT)


def test_dense_temporal_attention_costs_two_n_squared_d_l(on_meta: None):
    model = full_size_model(pattern=DENSE, backend="reference")
    found = by_component(evaluate(model, 3, LATENTS, CONTEXT))
    assert found == count_evaluation(model, 3, LATENTS, CONTEXT)
    assert found.temporal_scores == 2 * (3 * LATENTS) ** 2 * WIDTH * DEPTH
    assert found.temporal_projections == 4 * 3 * LATENTS * WIDTH**2 * DEPTH


@pytest.mark.parametrize("pattern", [None, DENSE])
def test_routing_by_values_costs_what_even_routing_costs(pattern: StridedPattern | None):
    """On the CPU, where the gate decides and nothing is replaced."""
    sizes = {"in_channels": 8, "hidden_size": 32, "context_dim": 16, "depth": 5, "num_heads": 2, "num_experts": 4}
    model = Denoiser(**sizes, num_moe_layers=2, pattern=pattern, backend="reference").eval()
    assert by_component(evaluate(model, 2, 128, 7, "cpu")) == count_evaluation(model, 2, 128, 7)


@pytest.mark.parametrize("frames", [1, 5, 16])
@pytest.mark.parametrize("mask", sorted(path.stem for path in full_size.CONF.glob("attention/*.yaml")))
def test_backends_compute_the_pairs_that_are_counted(mask: str, frames: int, configure: Callable[..., DictConfig]):
    """At the full size: `merged` the kept pairs and no other, `reference` all of them where none is hidden."""
    pattern = instantiate(configure("train", "model=hunyuan3d21", f"attention={mask}").attention)
    heads = torch.empty(1, 16, frames * LATENTS, 128, device="meta")
    kept = pairs(pattern, frames, LATENTS)
    if isinstance(pattern, MotionPattern):
        (pattern,) = pattern.by_change(torch.rand(1, frames - 1, generator=torch.Generator().manual_seed(0)))
        assert frames < 16 or isinstance(pattern, PairwisePattern)
    if mask not in ("radial", "shapegen4d"):  # these have no dense pieces
        counter = counted(lambda: attend(heads, heads, heads, pattern, frames, "merged"))
        assert counter.get_total_flops() == 2 * 2 * kept * WIDTH
    if mask in ("full", "rope", "shapegen4d"):
        counter = counted(lambda: attend(heads, heads, heads, pattern, frames, "reference"))
        assert counter.get_total_flops() == 2 * 2 * (frames * LATENTS) ** 2 * WIDTH == 2 * 2 * kept * WIDTH


def test_image_tokens_among_the_keys_are_counted():
    sizes = {"in_channels": 8, "hidden_size": 32, "context_dim": 16, "depth": 3, "num_heads": 2, "num_moe_layers": 0}
    model = Denoiser(**sizes, pattern=JointPattern()).eval()
    inputs = torch.zeros(1, 3, 24, 8), torch.zeros(1), torch.ones(1, 3, 7, 16)
    assert by_component(counted(lambda: model(*inputs))) == count_evaluation(model, 3, 24, 7)


def test_the_reference_backend_computes_what_it_hides():
    pattern, heads = StridedPattern(block_size=4), torch.zeros(1, 2, 8 * 32, 16)
    counter = counted(lambda: attend(heads, heads, heads, pattern, 8, "reference"))
    assert counter.get_total_flops() == 4 * (8 * 32) ** 2 * 2 * 16 > 4 * pairs(pattern, 8, 32) * 2 * 16


def test_components_of_the_base_are_those_of_the_specification():
    """Base spec 8.2, TFLOP per frame."""
    one = count_evaluation(full_size_model(), 1, LATENTS, CONTEXT)
    published = {
        "latent_embedding": 0.0011,
        "time_embedding": 0.0001,
        "spatial_projections": 2.8869,
        "spatial_scores": 2.8876,
        "cross_queries": 1.4435,
        "cross_context": 0.2413,
        "cross_scores": 0.9656,
        "mlp": 4.1242,
        "expert_gate": 0.0008,
        "routed_experts": 3.2993,
        "shared_expert": 1.6497,
        "skip_projections": 0.6874,
        "head": 0.0011,
        "temporal_projections": 0,
        "temporal_scores": 0,
    }
    assert {name: 2e-12 * number for name, number in one._asdict().items()} == pytest.approx(published, abs=0.5e-4)
    assert 2e-12 * one.total == pytest.approx(18.1885, abs=0.5e-4)
    assert 2e-12 * one.cross == pytest.approx(2.650, abs=0.5e-3)


@pytest.mark.parametrize("frames, base, projections", [(8, 145.51, 23.09), (16, 291.02, 46.18), (32, 582.03, 92.36)])
def test_a_clip_costs_the_base_and_the_temporal_layers(frames: int, base: float, projections: float):
    """Base spec 8.2, TFLOP. It counts the time token once a frame, we once a clip: 0.002 at 32 frames."""
    one = full_size.evaluation("full", frames)
    rest = one.total - one.temporal_projections - one.temporal_scores
    assert 2e-12 * rest == pytest.approx(base, abs=0.008)
    assert 2e-12 * one.temporal_projections == pytest.approx(projections, abs=0.005)


@pytest.mark.parametrize(
    "frames, kept, attention, one, twice, alone, guided",
    [
        (8, 1, 184.72, 353.32, 0.7066, 17.666, 35.332),
        (8, 0.58105, 107.33, 275.93, 0.5519, 13.796, 27.593),
        (8, 0.35229, 65.07, 233.67, 0.4673, 11.684, 23.367),
        (8, 0.21503, 39.72, 208.32, 0.4166, 10.416, 20.832),
        (16, 1, 738.87, 1076.07, 2.1521, 53.803, 107.607),
        (16, 0.58105, 429.32, 766.52, 1.5330, 38.326, 76.652),
        (16, 0.35229, 260.30, 597.49, 1.1950, 29.875, 59.749),
        (16, 0.21503, 158.88, 496.08, 0.9922, 24.804, 49.608),
        (32, 1, 2955.49, 3629.88, 7.2598, 181.494, 362.988),
        (32, 0.58105, 1717.29, 2391.68, 4.7834, 119.584, 239.168),
        (32, 0.35229, 1041.19, 1715.58, 3.4312, 85.779, 171.558),
        (32, 0.21503, 635.52, 1309.91, 2.6198, 65.495, 130.991),
    ],
)
def test_totals_are_those_of_the_specification(
    frames: int, kept: float, attention: float, one: float, twice: float, alone: float, guided: float
):
    """Base spec 8.2, TFLOP and PFLOP, with its densities of five digits."""
    full = full_size.evaluation("full", frames)
    counts = full._replace(temporal_scores=round(kept * full.temporal_scores))
    assert 2e-12 * counts.temporal_scores == pytest.approx(attention, abs=0.006)
    assert 2e-12 * counts.total == pytest.approx(one, abs=0.008)
    assert 2e-15 * 2 * counts.total == pytest.approx(twice, abs=0.6e-4)
    assert 2e-15 * 50 * counts.total == pytest.approx(alone, abs=0.6e-3)
    assert 2e-15 * count_sampling(counts, 49).release == pytest.approx(guided, abs=0.8e-3)


@pytest.mark.parametrize("frames, kept", [(8, 0.58105), (16, 0.35229), (32, 0.21503)])
def test_kept_shares_are_those_of_the_specification(frames: int, kept: float):
    assert full_size.kept("blockmask_decay", frames) == pytest.approx(kept, abs=0.6e-5)


def test_savings_are_those_of_the_specification():
    one = full_size.evaluation("blockmask_decay", 16)
    clip = count_sampling(one, 49)
    assert clip.less("empty_step") == clip.release * 49 // 50
    assert 2e-12 * clip.null_cross == pytest.approx(49 * 16 * 2.650, rel=1e-3)
    assert clip.less(*clip._fields[1:]) == 49 * (2 * one.total - one.cross - one.cross_context) + one.cross_context


def test_sampling_here_costs_what_the_table_says():
    """Counted while it samples, with the context projected once: all three savings are made."""
    sizes = {"in_channels": 8, "hidden_size": 32, "context_dim": 16, "depth": 3, "num_heads": 2, "num_experts": 4}
    model = Denoiser(**sizes, num_moe_layers=1, pattern=DENSE, backend="reference").eval()
    sampler, noise, context = Euler(steps=3, guidance=2.0), torch.zeros(1, 2, 128, 8), torch.ones(1, 2, 5, 16)
    flop = counted(lambda: sampler.sample(model, noise, model.project(context))).get_total_flops()
    assert flop == 2 * count_sampling(count_evaluation(model, 2, 128, 5), 3).less(*Sampling._fields[1:])


@pytest.mark.parametrize("size", ["nano", "tiny", "hunyuan3d21"])
def test_decoding_costs_what_torch_counts(size: str, configure: Callable[..., DictConfig]):
    with torch.device("meta"):
        vae = instantiate(configure("generate", f"model={size}").model.vae).eval()
    parts = count_decoding(vae, vae.num_latents)
    latents, places = (
        torch.empty(1, vae.num_latents, vae.embed_dim, device="meta"),
        torch.empty(1, 77, 3, device="meta"),
    )
    assert counted(lambda: vae.decode(latents)).get_total_flops() == 2 * parts.transformer
    decoded = torch.empty(1, vae.num_latents, vae.post_kl.out_features, device="meta")
    assert counted(lambda: vae.field(places, decoded)).get_total_flops() == 2 * (parts.memory + 77 * parts.place)


def test_decoding_costs_what_the_specification_says():
    """Base spec 8.2: 2.75 TFLOP a shape, 17.2 GFLOP of keys and values, 37.9 MFLOP a place."""
    parts = full_size.decoded_frame()
    assert 2e-12 * parts.transformer == pytest.approx(2.75, abs=0.005)
    assert 2e-9 * parts.memory == pytest.approx(17.2, abs=0.05)
    assert 2e-6 * parts.place == pytest.approx(37.9, abs=0.05)
    assert 2e-12 * 385**3 * parts.place == pytest.approx(2160, abs=5)
    assert 2e-12 * -(-(385**3) // 8000) * parts.memory == pytest.approx(123, abs=0.5)


def test_a_saving_that_does_not_exist_is_refused():
    with pytest.raises(KeyError, match="empty_steps"):
        count_sampling(full_size.evaluation("full", 8), 49).less("empty_steps")
