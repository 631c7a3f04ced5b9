"""Foreign and own checkpoints into networks: strict, whole, under every layout; and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sculpt4d.checkpoints.load import NAMES, fill, read_names, transfers
from sculpt4d.checkpoints.locate import open_checkpoint, refuse_unknown
from sculpt4d.checkpoints.names import PARTS
from sculpt4d.checkpoints.stored import save_weights
from sculpt4d.model.denoiser import is_temporal

from .released import flat, networks, sharded, tensors, three_parts


def theirs(name: str) -> str:
    """A plausible foreign name of a temporal tensor."""
    return name.replace("norm_temporal.", "norm4.").replace(".temporal.", ".temporal_attn.")


def names_of(module: nn.Module, part: str) -> list[str]:
    names = list(module.state_dict())
    return names if part in ("vae", "conditioner") else [n for n in names if is_temporal(n) == (part == "temporal")]


def load(location: Path, into: dict[str, nn.Module], parts: tuple[str, ...] = PARTS) -> None:
    checkpoint = open_checkpoint(location)
    refuse_unknown(checkpoint)
    for part in parts:
        module = into["denoiser" if part == "temporal" else part]
        fill(module, transfers(module, names_of(module, part), checkpoint.layout.parts[part], str(location)))


def equal(a: dict[str, nn.Module], b: dict[str, nn.Module], dtype: torch.dtype, parts: tuple[str, ...] = PARTS) -> bool:
    """Every tensor of `a` is that of `b` after a stay in `dtype`."""
    for part in parts:
        key = "denoiser" if part == "temporal" else part
        first, second = a[key].state_dict(), b[key].state_dict()
        if not all(torch.equal(first[n], second[n].to(dtype).float()) for n in names_of(a[key], part)):
            return False
    return True


BASE = ("vae", "conditioner", "denoiser")


def single(folder: Path, made: dict[str, nn.Module]) -> Path:
    return three_parts(folder / "hunyuan3d-dit-v2-1" / "model.fp16.ckpt", tensors(made))


LAYOUTS: dict[str, tuple[Callable[[Path, dict[str, nn.Module]], Path], torch.dtype, tuple[str, ...]]] = {
    "one torch file": (single, torch.float16, BASE),
    "the repository's folder": (lambda f, made: single(f, made).parents[1], torch.float16, BASE),
    "one safetensors file": (lambda f, made: flat(f / "model.safetensors", tensors(made)), torch.float32, BASE),
    "Sculpt4D shards": (
        lambda f, made: sharded(f / "blockmask_bf16", tensors(made, temporal=True), theirs),
        torch.bfloat16,
        PARTS,
    ),
    "Sculpt4D repository": (
        lambda f, made: sharded(f / "blockmask_bf16", tensors(made, temporal=True), theirs).parent,
        torch.bfloat16,
        PARTS,
    ),
    "shards of a wrapped module": (
        lambda f, made: sharded(f, tensors(made, temporal=True), lambda name: f"module.{theirs(name)}"),
        torch.bfloat16,
        PARTS,
    ),
    "reference training": (
        lambda f, made: flat(
            f / "last.safetensors",
            {
                name.replace("vae.", "first_stage_model.", 1).replace("conditioner.", "cond_stage_model.", 1): value
                for name, value in tensors(made).items()
            },
        ),
        torch.float32,
        BASE,
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_numbers_it_was_made_of(layout: str, tmp_path: Path):
    write, dtype, parts = LAYOUTS[layout]
    made, other = networks(0), networks(1)
    assert not equal(other, made, dtype, parts)
    load(write(tmp_path, made), other, parts)
    assert equal(other, made, dtype, parts)


def test_the_loaded_denoiser_computes_what_the_saved_one_does(tmp_path: Path):
    made, other = networks(0), networks(1)
    load(flat(tmp_path / "model.safetensors", tensors(made, temporal=True)), other)
    inputs = torch.randn(2, 3, 16, 8), torch.rand(2), torch.randn(2, 3, 5, 16)
    with torch.no_grad():
        assert torch.equal(made["denoiser"].eval()(*inputs), other["denoiser"].eval()(*inputs))


def test_natural_rows_of_temporal_layers_can_be_declared(tmp_path: Path):
    made, other = networks(0), networks(1)
    found = tensors(made, temporal=True)
    for name, value in made["denoiser"].state_dict().items():
        if is_temporal(name):
            found[f"model.{name}"] = value
    table = tmp_path / "names.yaml"
    table.write_text(NAMES.read_text().replace("rows: reference", "rows: natural"))
    checkpoint = open_checkpoint(flat(tmp_path / "model.safetensors", found))
    for part in ("denoiser", "temporal"):
        module = other["denoiser"]
        fill(module, transfers(module, names_of(module, part), checkpoint.layout.parts[part], "it", table))
    assert equal(other, made, torch.float32, ("denoiser", "temporal"))


@pytest.mark.parametrize("old", [True, False])
def test_an_image_encoder_folder_of_either_naming_generation_loads(old: bool, tmp_path: Path):
    made, other = networks(0), networks(1)
    prefix = "conditioner.main_image_encoder.model."
    found = {name.removeprefix(prefix): value for name, value in tensors(made).items() if name.startswith(prefix)}
    assert any("attention.attention.query" in name for name in found)
    if not old:
        found = {name.removeprefix("model."): value for name, value in made["conditioner"].state_dict().items()}
    flat(tmp_path / "model.safetensors", found)
    (tmp_path / "config.json").write_text("{}")
    load(tmp_path, other, ("conditioner",))
    assert equal(other, made, torch.float32, ("conditioner",))


def test_own_files_of_a_run_load_by_stage(tmp_path: Path):
    made, other = networks(0), networks(1)
    parts = {f"denoiser.{n}": v for n, v in made["denoiser"].state_dict().items()}
    base = {n: v for n, v in parts.items() if not is_temporal(n)}
    base |= {f"conditioner.{n}": v for n, v in made["conditioner"].state_dict().items()}
    save_weights(tmp_path / "vae" / "vae.safetensors", made["vae"].state_dict(), {"stage": "vae"})
    save_weights(tmp_path / "base" / "base.safetensors", base, {"stage": "base"})
    layers = {n: v for n, v in parts.items() if is_temporal(n)}
    save_weights(tmp_path / "temporal.safetensors", layers, {"stage": "temporal"})
    load(tmp_path, other)
    assert equal(other, made, torch.float32)


def refused(
    location: Path, *words: str, parts: tuple[str, ...] = BASE, made: dict[str, nn.Module] | None = None
) -> None:
    """Loading raises one ValueError with the words; nothing has moved."""
    into = made or networks(1)
    before = {part: {n: v.clone() for n, v in module.state_dict().items()} for part, module in into.items()}
    with pytest.raises(ValueError) as problem:
        load(location, into, parts)
    for word in words:
        assert word in str(problem.value)
    for part, module in into.items():
        assert all(torch.equal(value, before[part][name]) for name, value in module.state_dict().items())


def changed(change: Callable[[dict[str, Tensor]], None]) -> dict[str, Tensor]:
    found = tensors(networks(0))
    change(found)
    return found


def test_every_missing_and_every_unused_name_is_told(tmp_path: Path):
    def change(found: dict[str, Tensor]) -> None:
        for block in range(3):
            del found[f"model.blocks.{block}.norm2.bias"]
        found["model.blocks.0.skip_norm.weight"] = torch.zeros(32)

    path = flat(tmp_path / "x.safetensors", changed(change))
    refused(
        path,
        str(path),
        "missing in the file: blocks.{0-2}.norm2.bias",
        "not used: blocks.0.skip_norm.weight",
        parts=("denoiser",),
    )


def test_another_shape_and_another_type_are_told(tmp_path: Path):
    def change(found: dict[str, Tensor]) -> None:
        found["model.x_embedder.weight"] = torch.zeros(32, 9)
        found["model.x_embedder.bias"] = torch.zeros(32, dtype=torch.int64)

    path = flat(tmp_path / "x.safetensors", changed(change))
    refused(path, "x_embedder.weight (32, 9) instead of (32, 8)", "x_embedder.bias int64", parts=("denoiser",))


def test_a_tensor_of_no_part_is_refused(tmp_path: Path):
    path = flat(tmp_path / "x.safetensors", changed(lambda found: found.update({"model.extra": torch.zeros(2)})))
    refused(path, "model.extra", "belong to no part")


def test_unknown_temporal_layers_are_listed_on_both_sides(tmp_path: Path):
    found = tensors(networks(0), temporal=True)
    path = sharded(tmp_path, found, lambda name: name.replace(".temporal.", ".mystery."))
    refused(path, "blocks.{0-2}.mystery.to_q.weight", "blocks.{0-2}.temporal.to_q.weight", parts=("temporal",))


def test_a_denoiser_with_temporal_layers_still_serves_as_a_base(tmp_path: Path):
    made, other = networks(0), networks(1)
    path = sharded(tmp_path, tensors(made, temporal=True), lambda name: name.replace(".temporal.", ".mystery."))
    load(path, other, ("denoiser",))
    assert equal(other, made, torch.bfloat16, ("denoiser",))


def test_folders_without_one_clear_checkpoint_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        open_checkpoint(tmp_path)
    for name in "ab":
        flat(tmp_path / f"{name}.safetensors", {"x_embedder.weight": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match=r"a\.safetensors, b\.safetensors"):
        open_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent is missing"):
        open_checkpoint(tmp_path / "absent")


@pytest.mark.parametrize(
    "text", ["", "temporal: []", "rows: sideways\ntemporal: []", "rows: natural\ntemporal: [['(', 'a']]"]
)
def test_a_broken_rename_table_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "names.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"names\.yaml is no rename table"):
        read_names(path)


def test_a_training_checkpoint_of_ours_points_to_the_exported_file(tmp_path: Path):
    state = {f"denoiser.{name}": value for name, value in networks(0)["denoiser"].state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt.*folder of the run"):
        open_checkpoint(tmp_path / "last.ckpt")
