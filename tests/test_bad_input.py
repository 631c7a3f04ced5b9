"""What a person gets for wrong input: one line with file and remedy, exit status 1, nothing half-written."""

import base64
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from sculpt4d.checkpoints.stored import save_weights
from sculpt4d.cli import clean_errors
from sculpt4d.data import store
from sculpt4d.evaluation.run import evaluate
from sculpt4d.generation import export
from sculpt4d.generation.generate import generate
from sculpt4d.preparation import run as prepare
from sculpt4d.training.run import fit

ROOT = Path(__file__).resolve().parents[1]
Configure = Callable[..., DictConfig]
Refusal = Callable[[Callable[[DictConfig], object], DictConfig], str]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """What a command says before it ends with status 1, after a check that it is one error and no traceback."""

    def told(command: Callable[[DictConfig], object], cfg: DictConfig) -> str:
        with pytest.raises(SystemExit) as stop:
            clean_errors(command)(cfg)
        assert stop.value.code == 1
        message = capsys.readouterr().err
        assert message.startswith("error: ") and message.count("error: ") == 1, message
        return message

    return told


def written(folder: Path) -> set[str]:
    """Every file below a folder, hidden ones too, which may not be there."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# generate.py


def picture(size: int = 16, alpha: int = 255) -> Image.Image:
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[size // 4 : -size // 4, size // 4 : -size // 4] = (200, 80, 40, alpha)
    return Image.fromarray(pixels)


def frames(folder: Path, count: int = 4) -> Path:
    folder.mkdir()
    for number in range(count):
        picture().save(folder / f"{number}.png")
    return folder


def missing(path: Path) -> None:
    assert not path.exists()


def empty(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no picture")


def unreadable(path: Path) -> None:
    frames(path)
    (path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")


def cut_off(path: Path) -> None:
    frames(path)
    (path / "2.png").write_bytes((path / "2.png").read_bytes()[:60])


def two_sizes(path: Path) -> None:
    frames(path)
    picture(24).save(path / "3.png")


def too_few(path: Path) -> None:
    frames(path, 3)


def transparent(path: Path) -> None:
    frames(path)
    picture(alpha=0).save(path / "1.png")


def movie_without_frames(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        container.add_stream("libx264", rate=8)


def no_movie(path: Path) -> None:
    path.write_bytes(b"text that calls itself a film")


@pytest.mark.parametrize(
    "make, name, words",
    [
        (missing, "clip", ["does not exist", "a folder of images"]),
        (empty, "clip", ["holds no image", ".png"]),
        (unreadable, "clip", ["2.png", "write the file again"]),
        (cut_off, "clip", ["2.png", "write the file again"]),
        (two_sizes, "clip", ["0.png is 16x16", "3.png is 24x24", "one size"]),
        (too_few, "clip", ["has 3 frames", "set frames=3"]),
        (transparent, "clip", ["1.png", "nothing is visible"]),
        (movie_without_frames, "clip.mp4", ["video"]),
        (no_movie, "clip.mp4", ["not a video", "folder of images"]),
    ],
)
def test_a_clip_that_cannot_be_used_is_named(
    make: Callable[[Path], None],
    name: str,
    words: list[str],
    configure: Configure,
    refusal: Refusal,
    tmp_path: Path,
) -> None:
    make(tmp_path / name)
    message = refusal(
        generate, configure("generate", "model=nano", f"input={tmp_path / name}", f"output={tmp_path / 'out/x'}")
    )
    assert str(tmp_path / name) in message
    for word in words:
        assert word in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "override, word",
    [
        ("frames=0", "frames=0"),
        ("stride=0", "stride=0"),
        ("sampler.steps=0", "sampler.steps=0"),
        ("sampler.steps=-3", "sampler.steps=-3"),
        ("sampler.guidance=-1.0", "sampler.guidance=-1.0"),
        ("sampler.steps=many", "sampler"),
        ("sampler.share=2.0", "sampler.share=2.0"),
        ("resolution=0", "resolution=0"),
        ("fps=0", "fps=0"),
        ("baseline=other", "per_frame_shared_noise"),
        ("backend=fast", "merged"),
        ("background=green", "rembg"),
        ("attention.block_size=5", "32 tokens do not split into blocks of 5: set attention.block_size"),
        ("attention.strides=[]", "attention.strides"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(
    override: str, word: str, configure: Configure, refusal: Refusal, tmp_path: Path
) -> None:
    clip = frames(tmp_path / "clip")
    cfg = configure("generate", "model=nano", f"input={clip}", f"output={tmp_path / 'out/x'}", override)
    assert word in refusal(generate, cfg)
    assert not (tmp_path / "out").exists()


def test_a_missing_value_is_asked_for(configure: Configure, refusal: Refusal, tmp_path: Path) -> None:
    assert "input is needed: add input=..." in refusal(generate, configure("generate", f"paths.runs={tmp_path}"))
    places = [f"paths.runs={tmp_path}", f"paths.data={tmp_path}"]
    lone = configure("train", "experiment=overfit_one", "logger=none", *places)
    assert "set data.source" in refusal(fit, lone)
    assert not written(tmp_path)


def test_a_folder_of_another_origin_is_not_replaced(configure: Configure, refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    for overwrite in ("true", "false"):
        cfg = configure("generate", "model=nano", "input=x", f"output={tmp_path / 'mine'}", f"overwrite={overwrite}")
        assert "choose another output=" in refusal(generate, cfg)
    assert written(tmp_path) == {"mine/thesis.txt"}


def test_a_disk_that_fills_while_a_clip_is_written_leaves_nothing(
    configure: Configure, refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr(export, "write_video", full)
    clip = frames(tmp_path / "clip")
    small = ["model=nano", "sampler.steps=1", "resolution=8"]
    message = refusal(generate, configure("generate", *small, f"input={clip}", f"output={tmp_path / 'out/x'}"))
    assert "no space left" in message and "free some" in message
    assert not written(tmp_path / "out")


def test_an_error_is_one_line_and_status_1_on_the_command_line(script: Callable, tmp_path: Path) -> None:
    done = script("generate.py", "model=nano", f"input={tmp_path / 'none'}", f"paths.runs={tmp_path / 'runs'}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"error: {tmp_path / 'none'} does not exist")


# weights and checkpoints


@pytest.mark.parametrize(
    "description, words",
    [
        ({"model": "tiny", "stage": "temporal", "attention": "x"}, ["model=tiny", "model=nano"]),
        ({"model": "nano", "stage": "temporal", "attention": "Dense()"}, ["attention=Dense()", "strided("]),
        ({"model": "nano", "stage": "vae"}, ["(vae) does not fit this model", "encoder.input_proj.weight"]),
    ],
)
@pytest.mark.parametrize("command, root", [(generate, "generate"), (evaluate, "evaluate")])
def test_weights_of_another_model_are_refused(
    description: dict[str, str],
    words: list[str],
    command: Callable[[DictConfig], object],
    root: str,
    configure: Configure,
    refusal: Refusal,
    tmp_path: Path,
) -> None:
    weights, output = tmp_path / "layers.safetensors", tmp_path / "out/x"
    save_weights(weights, {"denoiser.blocks.0.temporal.to_q.weight": torch.zeros(1)}, description)
    given = [f"input={frames(tmp_path / 'clip')}"] if root == "generate" else [f"paths.data={tmp_path / 'data'}"]
    message = refusal(command, configure(root, "model=nano", f"checkpoint={weights}", f"output={output}", *given))
    for word in [str(weights), *words]:
        assert word in message
    assert not output.exists() and not (tmp_path / "data").exists()


def test_a_checkpoint_that_is_none_is_refused(configure: Configure, refusal: Refusal, tmp_path: Path) -> None:
    clip = frames(tmp_path / "clip")
    for name, word in (("nothing", "is missing"), ("clip", "holds no weights"), ("clip/0.png", "safetensors")):
        cfg = configure(
            "generate", "model=nano", f"input={clip}", f"checkpoint={tmp_path / name}", f"output={tmp_path / 'out/x'}"
        )
        message = refusal(generate, cfg)
        assert str(tmp_path / name) in message and word in message
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_resumed_with_another_attention_or_from_a_broken_file(
    configure: Configure, refusal: Refusal, nano: list[str], tmp_path: Path
) -> None:
    last = tmp_path / "checkpoints/last.ckpt"
    last.parent.mkdir()
    cfg = configure("train", *nano, "logger=none", f"output={tmp_path}")
    torch.save({"sculpt4d": {"model": "nano", "stage": "temporal", "attention": "Dense()"}}, last)
    message = refusal(fit, cfg)
    assert str(last) in message and "Dense()" in message and "choose another output" in message
    last.write_bytes(last.read_bytes()[:99])
    before = last.read_bytes()
    message = refusal(fit, cfg)
    assert str(last) in message and "delete it to start again" in message
    assert written(tmp_path) == {"checkpoints/last.ckpt"} and last.read_bytes() == before


# prepare.py

REPORTS = {"report.json", "report.csv", "report.html"}


def triangle(path: Path, height: float = 1.0, duration: float = 1.0, corner: float = 0.0, clips: bool = True) -> Path:
    """A glTF file of one triangle that slides along x."""
    arrays = [
        np.array([[corner, 0, 0], [1, 0, 0], [0, height, 0]], np.float32),
        np.array([0, duration], np.float32),
        np.array([[0, 0, 0], [2, 0, 0]], np.float32),
    ]
    content = b"".join(array.tobytes() for array in arrays)
    starts = np.cumsum([0, *(array.nbytes for array in arrays)]).tolist()
    document: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "buffers": [
            {
                "byteLength": len(content),
                "uri": "data:application/octet-stream;base64," + base64.b64encode(content).decode(),
            }
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": array.nbytes}
            for start, array in zip(starts, arrays, strict=False)
        ],
        "accessors": [
            {"bufferView": row, "componentType": 5126, "count": len(array), "type": "SCALAR" if row == 1 else "VEC3"}
            for row, array in enumerate(arrays)
        ],
    }
    if clips:
        channel = {"sampler": 0, "target": {"node": 0, "path": "translation"}}
        document["animations"] = [{"channels": [channel], "samplers": [{"input": 1, "output": 2}]}]
    path.write_text(json.dumps(document))
    return path


def prepared(tmp_path: Path, *overrides: str) -> DictConfig:
    small = ["executor=serial", "frames=2", "points=64", "sharp_points=8", "views=1", "image_size=16", "grid_res=16"]
    with initialize_config_dir(str(Path(__file__).resolve().parents[1] / "conf"), version_base="1.3"):
        return compose("prepare", [*small, f"output={tmp_path / 'out'}", *overrides])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"clips": False}, ["has no animation", "export it with its animation"]),
        ({"corner": float("nan")}, ["not finite", "export it again"]),
        ({"duration": 0.0}, ["zero duration"]),
        ({"height": 0.0}, ["only degenerate faces", "triangles of some area"]),
    ],
)
def test_an_asset_that_cannot_be_used_is_named(
    changes: dict[str, Any], words: list[str], refusal: Refusal, tmp_path: Path
) -> None:
    file = triangle(tmp_path / "bad.gltf", **changes)
    message = refusal(prepare.run, prepared(tmp_path, f"source={file}"))
    for word in [str(file), *words]:
        assert word in message
    assert written(tmp_path / "out") == REPORTS
    left_out = json.loads((tmp_path / "out/report.json").read_text())
    assert str(file) in (left_out["failed"] | left_out["skipped"])["bad"]
    assert ("bad" in left_out["skipped"]) == (changes in ({"clips": False}, {"duration": 0.0}))


def test_a_truncated_asset_is_named(nano_data: Path, refusal: Refusal, tmp_path: Path) -> None:
    whole = next((nano_data / "synthetic/glb").glob("*.glb")).read_bytes()
    for count in (0, 10, 300, len(whole) - 4):
        (tmp_path / "cut.glb").write_bytes(whole[:count])
        message = refusal(prepare.run, prepared(tmp_path, f"source={tmp_path / 'cut.glb'}"))
        assert str(tmp_path / "cut.glb") in message and "again" in message
        assert written(tmp_path / "out") == REPORTS


@pytest.mark.parametrize(
    "overrides, word",
    [
        ([], "source and output are needed"),
        (["source=nothing.glb"], "nothing.glb"),
        (["source={clip}", "frames=0"], "frames=0"),
        (["source={clip}", "grid_res=-1"], "grid_res=-1"),
    ],
)
def test_prepare_refuses_before_it_writes(overrides: list[str], word: str, refusal: Refusal, tmp_path: Path) -> None:
    clip = triangle(tmp_path / "clip.gltf")
    given = [override.format(clip=clip) for override in overrides]
    assert word in refusal(prepare.run, prepared(tmp_path, *given))
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_while_an_asset_is_prepared_leaves_nothing(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise FULL

    monkeypatch.setattr(store.np, "savez", full)
    message = refusal(prepare.run, prepared(tmp_path, f"source={triangle(tmp_path / 'clip.gltf')}"))
    assert "No space left on device" in message and "free some space" in message
    assert not written(tmp_path / "out")


# train.py


@pytest.fixture
def copied(nano_data: Path, tmp_path: Path) -> Path:
    """The nano data set, free to be damaged."""
    kept = shutil.ignore_patterns("glb", "latents_*", ".*")
    shutil.copytree(nano_data / "synthetic", tmp_path / "data/synthetic", ignore=kept)
    shutil.copytree(nano_data / "synthetic/glb", tmp_path / "data/synthetic/glb")
    return tmp_path / "data"


def pickled(path: Path) -> None:
    np.savez(path, **{"frame_0000/random_surface": np.array([{"a": 1}], dtype=object)})


def keyless(path: Path) -> None:
    np.savez(path, points=np.zeros((4, 3), np.float16))


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("damage, word", [(pickled, "pickle"), (keyless, "random_surface"), (torn, "cannot be read")])
def test_a_damaged_npz_is_named_and_nothing_is_trained(
    damage: Callable[[Path], None],
    word: str,
    copied: Path,
    nano: list[str],
    configure: Configure,
    refusal: Refusal,
    tmp_path: Path,
) -> None:
    before = written(copied)
    files = sorted((copied / "synthetic").glob("*/geo_data/4d_sample_new.npz"))
    for file in files:
        damage(file)
    cfg = configure("train", *nano, f"paths.data={copied}", "logger=none", f"output={tmp_path / 'out'}")
    message = refusal(fit, cfg)
    assert any(str(file) in message for file in files)
    assert word.lower() in message.lower() and "prepare" in message
    assert not written(tmp_path / "out")
    assert written(copied) - before <= {"synthetic/report.json"}


@pytest.mark.parametrize(
    "override, word",
    [
        ("frames=0", "frames=0"),
        ("frames=9", "9"),
        ("attention.block_size=5", "32 tokens do not split into blocks of 5"),
        ("stage.batch_size=0", "batch_size=0"),
        ("stage.average=1.5", "1.5"),
        ("data.clips=-1", "-1"),
    ],
)
def test_training_refuses_values_that_make_no_sense(
    override: str, word: str, nano: list[str], configure: Configure, refusal: Refusal, tmp_path: Path
) -> None:
    cfg = configure("train", *nano, "logger=none", f"output={tmp_path / 'out'}", override)
    assert word in refusal(fit, cfg)
    assert not written(tmp_path / "out")


def test_a_folder_without_prepared_objects_is_named(configure: Configure, refusal: Refusal, tmp_path: Path) -> None:
    cfg = configure(
        "train",
        "model=nano",
        "data=folder",
        "logger=none",
        f"data.root={tmp_path / 'none'}",
        f"output={tmp_path / 'o'}",
    )
    message = refusal(fit, cfg)
    assert str(tmp_path / "none") in message and "python prepare.py" in message
    assert not written(tmp_path / "o")


def test_a_disk_that_fills_while_a_checkpoint_is_written_leaves_no_half_of_it(
    nano: list[str], configure: Configure, refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(trainer: Any, path: Path, *_: Any, **__: Any) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"half of a checkp")
        raise FULL

    monkeypatch.setattr("lightning.Trainer.save_checkpoint", full)
    cfg = configure("train", *nano, "logger=none", "stage.steps=1", "stage.save_every=1", f"output={tmp_path / 'out'}")
    message = refusal(fit, cfg)
    assert "No space left on device" in message and "free some space" in message
    assert not written(tmp_path / "out")


# the command line


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train.py stage.steps=abc", "stage.steps=abc: must be a whole number of at least 1"),
        ("train.py stage.steps=null", "stage.steps=null: must be a whole number of at least 1"),
        ("train.py stage={steps:abc}", "stage.steps=abc: must be a whole number of at least 1"),
        ("train.py -m stage.steps=-1,2", "stage.steps=-1: must be a whole number of at least 1"),
        ("train.py sweep=masks sweep.seeds=1", "sweep.seeds=1: must be a list: sweep.seeds=[1]"),
        (
            "train.py trainer=deepspeed_zero3",
            "trainer=deepspeed_zero3 is now trainer=deepspeed trainer.strategy.stage=3",
        ),
        ("prepare.py workers=auto", "workers=auto: must be a whole number of at least 1, or null"),
        ("evaluate.py seeds=0", "seeds=0: must be a list: seeds=[0]"),
        ("evaluate.py threads=${seed} limit=abc", "limit=abc: must be a whole number of at least 1, or null"),
        ("evaluate.py limit=1.5", "limit=1.5: must be a whole number of at least 1, or null"),
        ("evaluate.py sedes=[0]", "valid keys beside sedes: "),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(command: str, said: str, tmp_path: Path) -> None:
    words = [sys.executable, *command.split(), f"hydra.run.dir={tmp_path}", f"hydra.sweep.dir={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
