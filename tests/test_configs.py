"""Every option of every group composes, builds what it names, and a wrong one is refused with the right ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sculpt4d.attention.patterns import Pattern
from sculpt4d.generation.pipeline import load_pipeline
from sculpt4d.training.run import fit, with_stage

CONF = Path(__file__).resolve().parents[1] / "conf"
ROOTS = {path.stem: path.read_text() for path in CONF.glob("*.yaml")}
OPTIONS = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
ATTENTIONS = [option for group, option in OPTIONS if group == "attention"]


def roots_of(group: str) -> list[str]:
    """Root configurations that have the group among their defaults."""
    return [name for name, text in ROOTS.items() if f"- {group}: " in text]


@pytest.mark.parametrize("group, option", OPTIONS)
def test_every_option_composes_and_resolves(group: str, option: str, configure: Callable[..., DictConfig]):
    assert roots_of(group), f"no root configuration uses the group {group}"
    for root in roots_of(group):
        cfg = configure(root, f"{group}={option}", *([] if root == "prepare" else ["output=out"]))
        if root == "evaluate":
            OmegaConf.set_struct(cfg, False)
            del cfg.data.module  # of training alone
        for name in cfg:
            if OmegaConf.is_config(cfg._get_node(name)) and "${hydra:" not in OmegaConf.to_yaml(cfg[name]):
                OmegaConf.to_container(cfg[name], resolve=True)


@pytest.mark.parametrize("group, option", OPTIONS)
def test_every_option_says_what_it_is(group: str, option: str):
    text = (CONF / group / f"{option}.yaml").read_text()
    assert text.startswith("#") or len(text.splitlines()) < 6, "a head comment tells what the option is for"


@pytest.mark.parametrize("root", ROOTS)
def test_the_roots_compose_alone(root: str, configure: Callable[..., DictConfig]):
    assert configure(root)


def test_all_masks_are_there_and_differ(configure: Callable[..., DictConfig]):
    patterns = [instantiate(configure("train", f"attention={option}").attention) for option in ATTENTIONS]
    assert len(ATTENTIONS) == 13
    assert all(isinstance(pattern, Pattern) for pattern in patterns)
    assert len(set(patterns)) >= 12  # rope is full attention by another road


@pytest.mark.parametrize("group", sorted({group for group, _ in OPTIONS} & {"attention", "model", "stage", "trainer"}))
def test_a_mistyped_option_is_refused_with_the_valid_ones(group: str, configure: Callable[..., DictConfig]):
    with pytest.raises(MissingConfigException) as problem:
        configure("train", f"{group}=typo")
    for option in [option for other, option in OPTIONS if other == group]:
        assert option in str(problem.value)


@pytest.mark.parametrize("override", ["attention.strids=[1]", "modle=nano", "stage.optimisation.speed=1", "frame=4"])
def test_a_mistyped_key_is_refused(override: str, configure: Callable[..., DictConfig]):
    with pytest.raises(ConfigCompositionException, match=override.partition("=")[0].rpartition(".")[2]):
        configure("train", override)


def test_a_mistyped_key_is_answered_with_the_valid_ones(script: Callable):
    done = script("train.py", "stage.stps=3")
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "stps" in told and "steps" in told and "batch_size" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("stage", ["vae", "base", "temporal"])
def test_the_models_stage_values_hold_and_the_command_line_wins(stage: str, configure: Callable[..., DictConfig]):
    assert configure("train", "model=nano", f"stage={stage}").stage.steps == 20
    assert configure("train", "model=nano", f"stage={stage}", "stage.steps=7").stage.steps == 7
    assert configure("train", "model=hunyuan3d21", "stage=temporal").stage.steps == 24000  # the paper's


def test_options_of_single_stages_are_taken_and_a_mistyped_one_is_refused(configure: Callable[..., DictConfig]):
    chosen = configure("train", "model=nano", "output=out", "stage_options={vae: {steps: 3}}")
    assert with_stage(chosen, "vae", {}).stage.steps == 3
    assert with_stage(chosen, "base", {}).stage.steps == 20
    with pytest.raises(ValueError, match=r"stage_options\.vae has no stps: choose among .*steps"):
        with_stage(configure("train", "output=out", "stage_options={vae: {stps: 3}}"), "vae", {})


@pytest.fixture(scope="module")
def trained_base(nano: list[str], configure: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory):
    """Overrides that name autoencoder and base weights of a two-step training."""
    folder = tmp_path_factory.mktemp("base")
    quiet = ["logger=none", "callbacks=none", "stage.steps=2", "stage.val_every=2"]
    for stage in ("vae", "base"):
        vae = [f"model.weights.vae={folder}/vae/vae.safetensors"] if stage == "base" else []
        fit(configure("train", *nano, *quiet, *vae, f"stage={stage}", f"output={folder}/{stage}"))
    return [f"model.weights.{stage}={folder}/{stage}/{stage}.safetensors" for stage in ("vae", "base")]


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_attention_takes_a_training_step_and_generates(
    attention: str,
    nano: list[str],
    trained_base: list[str],
    configure: Callable[..., DictConfig],
    tmp_path: Path,
):
    common = [f"attention={attention}", *trained_base]
    quiet = ["logger=none", "callbacks=none", "stage.steps=1", "stage.val_every=1", f"output={tmp_path}"]
    loss = fit(configure("train", *nano, *common, *quiet))
    assert 0 < loss < 100
    chosen = [f"checkpoint={tmp_path}", "model=nano", "sampler.steps=2", "resolution=16"]
    pipeline = load_pipeline(configure("generate", "input=none", *common, *chosen))
    assert any(block.temporal.out_proj.weight.any() for block in pipeline.denoiser.blocks)
    sequence = pipeline.generate(torch.rand(4, 3, 16, 16), seed=0)
    assert len(sequence.frames) == 4


@pytest.mark.parametrize("attention, order", [("radial", "morton"), ("blockmask_decay", "fps")])
@pytest.mark.parametrize("root", ["train", "evaluate"])
def test_the_data_sort_tokens_as_the_mask_wants_them(
    root: str, attention: str, order: str, configure: Callable[..., DictConfig]
):
    for data in ("synthetic", "folder", "objaverse4d"):
        assert configure(root, f"attention={attention}", f"data={data}").data.settings.token_order == order
