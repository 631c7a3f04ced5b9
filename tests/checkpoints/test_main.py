"""The command line of checkpoints: what it says of every kind of file, and that conversion loses nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sculpt4d.checkpoints import __main__ as inspection
from sculpt4d.checkpoints.__main__ import main
from sculpt4d.model.denoiser import is_temporal

from .released import DINO, SIZES, VAE, flat, networks, sharded, tensors, three_parts


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conf folder whose one model has the sizes of the small checkpoints."""
    conf = tmp_path / "conf"
    for group in ("model", "attention"):
        (conf / group).mkdir(parents=True)
    sizes = {
        "vae": ("vae.ShapeVAE", VAE),
        "conditioner": ("condition.DinoConditioner", {"size": 28, **DINO}),
        "denoiser": ("denoiser.Denoiser", {**SIZES, "num_experts": 2}),
    }
    lines = ["name: hunyuan3d21", "block_size: 4"]
    for part, (target, values) in sizes.items():
        lines += [f"{part}:", f"  _target_: sculpt4d.model.{target}"]
        lines += [f"  {key}: {value}" for key, value in values.items()]
    (conf / "model" / "hunyuan3d21.yaml").write_text("\n".join(lines))
    pattern = "_target_: sculpt4d.attention.patterns.StridedPattern\nblock_size: ${model.block_size}\n"
    (conf / "attention" / "blockmask_decay.yaml").write_text(pattern)
    monkeypatch.setattr(inspection, "CONF", conf)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(list(arguments))
    return capsys.readouterr().out


def foreign(name: str) -> str:
    return name.replace(".temporal.", ".mystery.")


def test_each_kind_of_file_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made = networks()
    found = tensors(made)
    whole = three_parts(tmp_path / "model.fp16.ckpt", found)
    text = said(capsys, "inspect", str(whole))
    assert "3D denoiser and autoencoder" in text
    assert "model=hunyuan3d21: loads vae, conditioner, denoiser; not in it: temporal" in text
    assert "float16" in text and "reference's order" in text

    shards = sharded(tmp_path / "shards", tensors(made, temporal=True))
    text = said(capsys, "inspect", str(shards))
    assert "4D denoiser with temporal layers" in text
    assert "loads vae, conditioner, denoiser, temporal" in text and "bfloat16" in text

    vae = {name.removeprefix("vae."): value for name, value in found.items() if name.startswith("vae.")}
    text = said(capsys, "inspect", str(flat(tmp_path / "vae.safetensors", vae)))
    assert "ShapeVAE" in text and "loads vae; not in it: conditioner, denoiser, temporal" in text


def test_what_would_not_load_is_told_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = tensors(networks(), temporal=True)
    del found["vae.post_kl.bias"]
    found["model.frame_table"] = torch.zeros(2)
    text = said(capsys, "inspect", str(sharded(tmp_path / "x", found, foreign)))
    assert "UNKNOWN      model.frame_table" in text
    assert "vae does not load: vae does not fit this model (missing in the file: post_kl.bias)" in text
    assert "temporal does not load" in text and "blocks.{0-2}.mystery.to_q.weight" in text


def test_the_release_converts_to_our_files_and_back_without_a_changed_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    made = networks()
    release = {name: value.bfloat16() for name, value in tensors(made, temporal=True).items()}
    source = sharded(tmp_path / "release", release)
    ours = tmp_path / "ours"
    main(["convert", str(source), str(ours)])
    assert sorted(path.name for path in ours.iterdir()) == [
        "base.safetensors",
        "temporal.safetensors",
        "vae.safetensors",
    ]
    state: dict[str, Tensor] = {f"denoiser.{n}": v for n, v in made["denoiser"].state_dict().items()}
    written = load_file(ours / "base.safetensors") | load_file(ours / "temporal.safetensors")
    assert all(torch.equal(written[name], value.bfloat16()) for name, value in state.items())
    assert "loads vae, conditioner, denoiser, temporal" in said(capsys, "inspect", str(ours))
    main(["convert", str(ours), str(tmp_path / "back.safetensors"), "--to", "hunyuan3d"])
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == release.keys()
    assert all(torch.equal(back[name], release[name]) for name in back)


def test_parts_alone_convert_to_the_files_they_make(tmp_path: Path):
    made = networks()
    layers = {n: v for n, v in tensors(made, temporal=True).items() if is_temporal(n)}
    main(["convert", str(flat(tmp_path / "layers.safetensors", layers)), str(tmp_path / "ours")])
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["temporal.safetensors"]


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["inspect", "absent"], "absent is missing"),
        (["convert", "{file}", "{folder}/x.bin", "--to", "hunyuan3d"], "ending in .safetensors"),
        (["convert", "{encoder}", "{folder}/out"], "takes conditioner and denoiser together"),
        (["inspect", "{file}", "--attention", "sideways"], "blockmask_decay"),
    ],
)
def test_what_cannot_be_done_ends_with_one_line_and_no_output(
    arguments: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    found = tensors(networks())
    encoder = {name: value for name, value in found.items() if name.startswith("conditioner.")}
    paths = {
        "file": flat(tmp_path / "model.safetensors", found),
        "encoder": flat(tmp_path / "encoder.safetensors", encoder),
        "folder": tmp_path,
    }
    with pytest.raises(SystemExit) as status:
        main([argument.format(**paths) for argument in arguments])
    error = capsys.readouterr().err
    assert status.value.code == 1 and error.startswith("error: ") and word in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists() and not (tmp_path / "x.bin").exists()
