"""The four networks against other formulas and other implementations of them, on small random weights."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torch.nn import functional

from sculpt4d.evaluation.appearance import networks as appearance_networks
from sculpt4d.evaluation.appearance.clip import load_clip, similarity
from sculpt4d.evaluation.appearance.dreamsim import distance, dreamsim_files, load_dreamsim
from sculpt4d.evaluation.appearance.i3d import frechet_distance, load_i3d, padded
from sculpt4d.evaluation.appearance.images import resized, resized_exactly
from sculpt4d.evaluation.appearance.lpips import load_lpips, shipped_heads

from . import judges

CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def pictures(seed: int, count: int = 3, size: int = 64) -> Tensor:
    """Smooth random pictures in [0, 1]."""
    coarse = torch.rand((count, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, (size, size), mode="bilinear")


def test_lpips_equals_the_one_of_torchmetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.functional.image import lpips as library

    tensors, layers = judges.vgg_tensors(), []
    for first, second in itertools.pairwise([*judges.VGG, 30]):
        conv = nn.Conv2d(4 if first else 3, 4, 3, padding=1)
        conv.load_state_dict({kind: tensors[f"features.{first}.{kind}"] for kind in ("weight", "bias")})
        layers += [conv, nn.ReLU(), *([nn.MaxPool2d(2)] if second - first == 3 else [])]
    monkeypatch.setattr(library, "_get_tv_model_features", lambda *rest, **named: nn.Sequential(*layers[:30]))
    monkeypatch.setattr(library.nn, "Conv2d", _narrow_heads(library.nn.Conv2d))
    given = judges.write_lpips(tmp_path)
    theirs = library._LPIPS(pretrained=False, net="vgg", pnet_rand=True)
    theirs.load_state_dict(torch.load(given["heads"]), strict=False)
    ours = load_lpips(Path(given["weights"]), Path(given["heads"]))
    mine, other = pictures(0), pictures(1)
    expected = theirs(mine, other, normalize=True).flatten()
    assert torch.allclose(ours(mine, other), expected, rtol=1e-4)
    assert expected.min() > 1e-3


def _narrow_heads(real: type[nn.Conv2d]) -> object:
    """Heads of four channels in the place of the library's 64 to 512."""
    return lambda into, out, *rest, **named: real(min(into, 4), out, *rest, **named)


def test_lpips_is_zero_for_equal_pictures_symmetric_and_grows_with_the_change(tmp_path: Path) -> None:
    given = judges.write_lpips(tmp_path)
    measure = load_lpips(Path(given["weights"]), Path(given["heads"]))
    one, other = pictures(0), pictures(1)
    assert measure(one, one).abs().max() == 0
    assert torch.allclose(measure(one, other), measure(other, one))
    near, far = (torch.lerp(one, other, weight) for weight in (0.1, 0.6))
    assert (measure(one, near) < measure(one, far)).all()


def test_the_shipped_heads_are_those_of_the_full_network() -> None:
    heads = torch.load(shipped_heads(), weights_only=True, map_location="cpu")
    assert [heads[f"lin{stage}.model.1.weight"].shape[1] for stage in range(5)] == [64, 128, 256, 512, 512]
    assert all(value.min() >= 0 for value in heads.values())


def test_clip_equals_transformers_with_its_own_image_processor(tmp_path: Path) -> None:
    from transformers import CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = Path(judges.write_clip(tmp_path)["weights"])
    library, processor = CLIPModel.from_pretrained(folder).eval(), CLIPImageProcessorPil()
    frames = (255 * pictures(3, size=80).permute(0, 2, 3, 1)).byte().numpy()
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    prepared = processor([Image.fromarray(frame) for frame in frames], return_tensors="pt", **size)
    with torch.inference_mode():
        vision = library.vision_model(**prepared).pooler_output
        expected = vision @ library.visual_projection.weight.T
    ours = load_clip(folder / "model.safetensors")
    small = torch.from_numpy(resized(list(frames), ours.size)).permute(0, 3, 1, 2) / 255
    assert torch.allclose(ours(small), expected, atol=1e-5)
    assert torch.allclose(similarity(expected, 3 * expected), torch.ones(3))
    cosine = (expected[0] @ expected[1]) / (expected[0].norm() * expected[1].norm())
    assert similarity(expected[:1], expected[1:2]).item() == pytest.approx(cosine.item(), abs=1e-6)


def test_old_files_of_clip_are_read_as_well(tmp_path: Path) -> None:
    folder = Path(judges.write_clip(tmp_path)["weights"])
    new = load_clip(folder / "model.safetensors")
    state = {f"{name}": value for name, value in new.tower.state_dict().items()}
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    torch.save(state | {"logit_scale": torch.ones(())}, folder / "pytorch_model.bin")
    again = load_clip(folder / "pytorch_model.bin")
    assert torch.equal(new(pictures(0, size=32)), again(pictures(0, size=32)))


def test_the_towers_of_dreamsim_equal_those_of_transformers() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from sculpt4d.evaluation.appearance.dreamsim import VisionTransformer
    from sculpt4d.evaluation.appearance.networks import filled

    tensors = judges.tower_tensors(5, clip=True)
    tensors["patch_embed.proj.bias"] = torch.zeros(judges.HIDDEN)  # CLIP has none
    sizes = {"hidden_size": judges.HIDDEN, "intermediate_size": 2 * judges.HIDDEN, "num_attention_heads": 1}
    config = CLIPVisionConfig(
        **sizes, num_hidden_layers=2, image_size=32, patch_size=16, projection_dim=8, hidden_act="quick_gelu"
    )
    library = CLIPVisionModelWithProjection(config).eval()
    names = {
        "vision_model.embeddings.class_embedding": tensors["cls_token"][0, 0],
        "vision_model.embeddings.patch_embedding.weight": tensors["patch_embed.proj.weight"],
        "vision_model.embeddings.position_embedding.weight": tensors["pos_embed"][0],
        "visual_projection.weight": tensors["proj"].T,
    }
    for kind in ("weight", "bias"):
        names[f"vision_model.pre_layrnorm.{kind}"] = tensors[f"pos_drop.{kind}"]
        names[f"vision_model.post_layernorm.{kind}"] = tensors[f"norm.{kind}"]
        for layer in range(2):
            mine, theirs = f"blocks.{layer}", f"vision_model.encoder.layers.{layer}"
            for letter, part in zip("qkv", tensors[f"{mine}.attn.qkv.{kind}"].chunk(3), strict=True):
                names[f"{theirs}.self_attn.{letter}_proj.{kind}"] = part
            renamed = {"attn.proj": "self_attn.out_proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
            for ours, other in (renamed | {"norm1": "layer_norm1", "norm2": "layer_norm2"}).items():
                names[f"{theirs}.{other}.{kind}"] = tensors[f"{mine}.{ours}.{kind}"]
    library.load_state_dict(names)
    tower = VisionTransformer(tensors, quick=True)
    filled(tower, tensors, Path("tower"), "a tower")
    with torch.inference_mode():
        seen = 2 * pictures(1, size=32) - 1
        assert torch.allclose(tower(seen), library(pixel_values=seen).image_embeds, atol=1e-4)


def test_dreamsim_adds_the_low_rank_changes_and_joins_the_towers(tmp_path: Path) -> None:
    """Written out once more with plain matrices: DINO's class token before the last norm, then the two projections."""
    folder = Path(judges.write_dreamsim(tmp_path)["weights"])
    network = load_dreamsim(dreamsim_files(folder))
    seen = pictures(2, size=32)
    changes = torch.load(folder / "ensemble_lora" / "adapter_model.bin", weights_only=True)
    expected = []
    for number, seed in enumerate((0, 100, 200)):
        tensors = judges.tower_tensors(seed, clip=number > 0)
        for layer in range(2):
            prefix = f"base_model.model.extractor_list.{number}.model.blocks.{layer}.attn.qkv.lora_"
            product = changes[f"{prefix}B.weight"] @ changes[f"{prefix}A.weight"]
            tensors[f"blocks.{layer}.attn.qkv.weight"] += 0.5 / 2 * product
        mean, deviation = (CLIP_MEAN, CLIP_DEVIATION) if number else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        shaped = (seen - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
        expected.append(_tower(tensors, shaped, quick=number == 1, epsilon=1e-5 if number else 1e-6))
    assert torch.allclose(network(seen), torch.cat(expected, dim=1), atol=1e-3, rtol=1e-3)


def _tower(tensors: dict[str, Tensor], seen: Tensor, quick: bool, epsilon: float) -> Tensor:
    def norm(name: str, value: Tensor) -> Tensor:
        centred = value - value.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
        return unit * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    def linear(name: str, value: Tensor) -> Tensor:
        return value @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    cells = seen.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    patches = cells @ tensors["patch_embed.proj.weight"].flatten(1).T + tensors["patch_embed.proj.bias"]
    tokens = torch.cat([tensors["cls_token"].expand(len(seen), 1, -1), patches], 1) + tensors["pos_embed"]
    clip = "proj" in tensors
    tokens = norm("pos_drop", tokens) if clip else tokens
    for layer in range(2):
        query, key, value = linear(f"blocks.{layer}.attn.qkv", norm(f"blocks.{layer}.norm1", tokens)).chunk(3, -1)
        weights = (query @ key.mT / judges.HIDDEN**0.5).softmax(-1)
        tokens = tokens + linear(f"blocks.{layer}.attn.proj", weights @ value)
        hidden = linear(f"blocks.{layer}.mlp.fc1", norm(f"blocks.{layer}.norm2", tokens))
        gate = torch.sigmoid(1.702 * hidden) if quick else 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        tokens = tokens + linear(f"blocks.{layer}.mlp.fc2", hidden * gate)
    return norm("norm", tokens)[:, 0] @ tensors["proj"] if clip else tokens[:, 0]


def test_dreamsims_distance_is_one_minus_the_correlation() -> None:
    mine, theirs = judges.noise(0, 4, 20) + 3, judges.noise(1, 4, 20)
    expected = [1 - np.corrcoef(one, other)[0, 1] for one, other in zip(mine.numpy(), theirs.numpy(), strict=True)]
    assert distance(mine, theirs).numpy() == pytest.approx(np.array(expected), abs=1e-5)
    assert distance(mine, 2 * mine + 1).abs().max() < 1e-6


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3])
def test_i3d_equals_the_layers_written_out(epsilon: float, tmp_path: Path) -> None:
    """Every convolution with the padding that makes the output the input over the stride, computed another way."""
    tensors = judges.i3d_tensors()
    network = load_i3d(Path(judges.write_i3d(tmp_path)["weights"]), epsilon)
    video = 2 * torch.rand((1, 3, 11, 224, 224), generator=torch.Generator().manual_seed(0)) - 1

    def same(value: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """Padded behind without bound, then cut to what is needed: another road to the same padding."""
        needed = [(math.ceil(n / s) - 1) * s + k for n, s, k in zip(value.shape[2:], stride, kernel, strict=True)]
        before = [max(want - n, 0) // 2 for want, n in zip(needed, value.shape[2:], strict=True)]
        wide = functional.pad(value, [side for b in before[::-1] for side in (b, 8)])
        return wide[:, :, : needed[0], : needed[1], : needed[2]]

    def unit(name: str, value: Tensor, stride: int = 1) -> Tensor:
        weight = tensors[f"{name}.conv3d.weight"]
        made = functional.conv3d(same(value, tuple(weight.shape[2:]), (stride,) * 3), weight, stride=stride)
        mean, variance, scale, shift = (
            tensors[f"{name}.bn.{kind}"].view(-1, 1, 1, 1) for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return ((made - mean) / (variance + epsilon).sqrt() * scale + shift).clamp(min=0)

    def pool(value: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        return functional.max_pool3d(same(value, kernel, stride), kernel, stride)

    def mixed(name: str, value: Tensor) -> Tensor:
        first = unit(f"{name}.b1b", unit(f"{name}.b1a", value))
        second = unit(f"{name}.b2b", unit(f"{name}.b2a", value))
        third = unit(f"{name}.b3b", pool(value, (3, 3, 3), (1, 1, 1)))
        return torch.cat([unit(f"{name}.b0", value), first, second, third], 1)

    hidden = pool(unit("Conv3d_1a_7x7", video, 2), (1, 3, 3), (1, 2, 2))
    hidden = pool(unit("Conv3d_2c_3x3", unit("Conv3d_2b_1x1", hidden)), (1, 3, 3), (1, 2, 2))
    hidden = pool(mixed("Mixed_3c", mixed("Mixed_3b", hidden)), (3, 3, 3), (2, 2, 2))
    for letter in "bcdef":
        hidden = mixed(f"Mixed_4{letter}", hidden)
    hidden = mixed("Mixed_5c", mixed("Mixed_5b", pool(hidden, (2, 2, 2), (2, 2, 2))))
    assert hidden.shape[2:] == (2, 7, 7)
    weight = tensors["logits.conv3d.weight"].flatten(1)
    expected = hidden.mean(dim=(2, 3, 4)) @ weight.T + tensors["logits.conv3d.bias"]
    with torch.inference_mode():
        assert torch.allclose(network(video), expected, atol=1e-6, rtol=1e-5)


def test_full_size_i3d_has_the_published_layout() -> None:
    from sculpt4d.evaluation.appearance.i3d import BRANCHES, CONVOLUTIONS, MIXED, I3d

    # Carreira and Zisserman's table: branches of the nine blocks
    widths = {
        **{"3b": (64, 96, 128, 16, 32, 32), "3c": (128, 128, 192, 32, 96, 64), "4b": (192, 96, 208, 16, 48, 64)},
        **{"4c": (160, 112, 224, 24, 64, 64), "4d": (128, 128, 256, 24, 64, 64), "4e": (112, 144, 288, 32, 64, 64)},
        **{"4f": (256, 160, 320, 32, 128, 128), "5b": (256, 160, 320, 32, 128, 128)},
        "5c": (384, 192, 384, 48, 128, 128),
    }
    shapes = {
        "Conv3d_1a_7x7": (64, 3, 7, 7, 7),
        "Conv3d_2b_1x1": (64, 64, 1, 1, 1),
        "Conv3d_2c_3x3": (192, 64, 3, 3, 3),
    }
    before = 192
    for block in MIXED:
        out = dict(zip(BRANCHES, widths[block[-2:]], strict=True))
        for branch in BRANCHES:
            into = {"b1b": out["b1a"], "b2b": out["b2a"]}.get(branch, before)
            shapes[f"{block}.{branch}"] = (out[branch], into, *(judges.KERNELS[branch],) * 3)
        before = out["b0"] + out["b1b"] + out["b2b"] + out["b3b"]
    assert before == 1024 and set(shapes) == set(CONVOLUTIONS)
    with torch.device("meta"):
        network = I3d(shapes | {"logits": (400, 1024, 1, 1, 1)})
    assert sum(value.numel() for value in network.parameters()) == 12_697_264


@given(n=st.integers(1, 30), kernel=st.integers(1, 7), stride=st.integers(1, 3))
def test_padding_makes_the_output_the_input_over_the_stride(n: int, kernel: int, stride: int) -> None:
    filled = padded(torch.ones(1, 1, n, 1, 1), (kernel, 1, 1), (stride, 1, 1))
    made = (filled.shape[2] - kernel) // stride + 1
    assert made == -(-n // stride)
    front = int(filled.flatten().nonzero()[0])
    behind = filled.shape[2] - n - front
    assert 0 <= behind - front <= 1


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), mine=st.integers(2, 12), theirs=st.integers(2, 12))
def test_the_frechet_distance_equals_the_one_with_a_matrix_root(seed: int, mine: int, theirs: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(mine, 4)), 0.5 * rng.normal(size=(theirs, 4)) @ rng.normal(size=(4, 4)) + 1
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    vectors, values = np.linalg.eigh(covariances[0])[::-1]
    root = vectors @ np.diag(np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ covariances[1] @ root)
    mean = np.square(first.mean(0) - second.mean(0)).sum()
    expected = mean + sum(np.trace(c) for c in covariances) - 2 * np.sqrt(np.clip(inner, 0, None)).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), abs=1e-8)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(first, first + 2) == pytest.approx(16, abs=1e-8)


def test_the_frechet_distance_of_many_clips_equals_scipys_root() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(300, 6)), rng.normal(size=(200, 6)) * np.arange(1, 7) + 1
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    mean = np.square(first.mean(0) - second.mean(0)).sum()
    expected = mean + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)


def test_independent_axes_give_the_sum_of_squared_differences_of_deviations() -> None:
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))  # uncorrelated columns of equal variance
    variance = 8 / 7
    expected = variance * ((1 - 2) ** 2 + (1 - 3) ** 2 + (1 - 0.5) ** 2)
    assert frechet_distance(signs, signs * (2, 3, 0.5)) == pytest.approx(expected)
    assert math.isnan(frechet_distance(signs[:1], signs))


def test_exact_resizing_keeps_constants_and_means() -> None:
    plain = np.full((2, 50, 50, 3), 200, np.uint8)
    assert resized_exactly(plain, 20) == pytest.approx(200)
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 64, 3))[None]
    assert resized_exactly(np.ascontiguousarray(ramp), 16).mean() == pytest.approx(31.5, abs=0.1)


@pytest.mark.parametrize("kind", ["lpips", "clip", "fvd", "dreamsim"])
def test_other_files_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    odd = tmp_path / "odd.pth"
    torch.save({"features.0.weight": torch.ones(4, 3, 3, 3)}, odd)
    if kind == "clip":
        judges.write_clip(tmp_path)
        (tmp_path / "config.json").write_text((tmp_path / "clip" / "config.json").read_text())
    if kind == "dreamsim":
        folder = Path(judges.write_dreamsim(tmp_path)["weights"])
        odd = folder / "open_clip_vitb16_pretrain.pth.tar"
        torch.save({"state_dict": judges.tower_tensors(0, clip=False)}, odd)
    loaders = {
        "lpips": lambda: load_lpips(odd, shipped_heads()),
        "clip": lambda: load_clip(odd),
        "fvd": lambda: load_i3d(odd),
        "dreamsim": lambda: load_dreamsim(dreamsim_files(odd.parent)),
    }
    with pytest.raises(ValueError, match=odd.name.split(".")[0]):
        loaders[kind]()


def test_nothing_is_fetched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setattr(appearance_networks, "resolve", lambda location, offline: asked.append(offline) or tmp_path)
    for download in (False, True):
        found = appearance_networks.find_file("hf://owner/name", ("model.safetensors",), "remedy", download)
        assert found == tmp_path / "model.safetensors"
    assert asked == [True, False]
    with pytest.raises(FileNotFoundError, match=r"other\.bin: remedy"):
        appearance_networks.find_file("hf://owner/name", ("other.bin",), "remedy")
    with pytest.raises(FileNotFoundError, match="nowhere is missing: remedy"):
        appearance_networks.find_file("nowhere", (), "remedy")


def test_a_program_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    with pytest.raises(ValueError, match="never run"):
        load_i3d(path)


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    folder = Path(judges.write_clip(tmp_path)["weights"])
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config\.json"):
        load_clip(folder / "model.safetensors")
    place = Path(judges.write_dreamsim(tmp_path)["weights"])
    (place / "ensemble_lora" / "adapter_config.json").write_text(json.dumps({"r": 0, "lora_alpha": 1}))
    with pytest.raises(ValueError, match="adapter_config"):
        load_dreamsim(dreamsim_files(place))
