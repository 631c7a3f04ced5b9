"""README and docs: commands compose, links and paths exist, options and extras are listed, --help names its groups."""

import importlib.util
import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ("README.md", "docs/generate.md", "docs/train.md", "docs/prepare.md", "docs/configuration.md")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
MADE_LATER = ("docs/preview.png", "weights/tiny", "runs/", "data/", "checkpoints/")  # by training, or by the commands
OURS = ("sculpt4d/", "conf/", "tests/", "experiments/", "benchmarks/", "examples/", "docs/")
SCRIPTS = ("train", "evaluate", "generate", "prepare")
ON_THE_SHELL = ("make", "python", "pip", "source")
README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()


def commands(pages: tuple[str, ...] = GUIDES) -> list[str]:
    """Every line of the bash blocks, with continued lines joined."""
    blocks = [
        block
        for page in pages
        for block in re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    ]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def composed(script: str, overrides: list[str]) -> DictConfig:
    root = [] if script == "prepare" else [f"paths.root={ROOT}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(script, [*root, *overrides], return_hydra_config=True)


def every_choice(overrides: list[str]) -> list[list[str]]:
    """The runs of a multirun."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    choices = [
        [f"{item.get_key_element()}={value}" for value in item.sweep_string_iterator()]
        if item.is_sweep_override()
        else [text]
        for item, text in zip(parsed, overrides, strict=True)
    ]
    return [list(run) for run in itertools.product(*choices)]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in headings}


def test_the_guides_have_commands_for_every_script():
    assert {command.split()[0] for command in commands()} <= set(ON_THE_SHELL)
    for script in SCRIPTS:
        assert any(command.startswith(f"python {script}.py") for command in commands()), script
    assert {"make run", "make test"} <= set(commands())


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_command_of_the_guides_would_start(command: str):
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    elif words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None
    else:
        script, overrides = words[1].removesuffix(".py"), words[2:]
        assert script in SCRIPTS
        multirun = "-m" in overrides
        runs = every_choice([word for word in overrides if word != "-m"])
        assert multirun == (len(runs) > 1), "several values need -m, and -m several values"
        for run in runs:
            composed(script, run)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_lead_somewhere(page: str):
    text = (ROOT / page).read_text()
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)]+)\)", plain):
        path, _, anchor = target.partition("#")
        if not path.startswith(("http", *MADE_LATER)):
            assert not path or (folder / path).exists(), target
            assert not anchor or anchor in anchors((folder / path) if path else ROOT / page), target
    quoted = re.findall(r"`([\w.*/-]+/[\w.*/-]*)`", plain) + re.findall(r"`([\w/]+\.(?:py|yaml|md))`", plain)
    if page.startswith("docs/") and page not in GUIDES:  # these also name files of other projects
        quoted = [path for path in quoted if path.startswith(OURS)]
    for path in quoted:
        known = path.startswith(MADE_LATER) or path == "utils.py"
        assert known or list(ROOT.glob(path)) or list(folder.glob(path)), f"{page}: {path} does not exist"


def test_functions_named_beside_a_file_are_in_it():
    named = re.findall(r"`(sculpt4d/[\w/]+\.py)`, `(\w+)`", README)
    assert len(named) >= 3
    for path, function in named:
        assert f"def {function}(" in (ROOT / path).read_text(), f"{function} is not in {path}"


def test_the_table_of_groups_is_the_folder():
    table = CONFIGURATION.partition("| group | options |")[2].partition("\n\n")[0]
    told = {
        row.split("|")[1].strip(" `"): set(re.findall(r"`([\w]+)`", row.split("|")[2]))
        for row in table.splitlines()
        if row.startswith("| `")
    }
    folders = [path for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name not in ("hydra", "paths")]
    assert told == {folder.name: {file.stem for file in folder.glob("*.yaml")} for folder in folders}


def test_the_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = set(re.findall(r"'\.\[(\w+)\]'", CONFIGURATION))
    assert told == set(extras)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_commands_that_compose_and_the_groups_that_are_read(script: str):
    cfg = composed(script, {"generate": ["input=x"], "prepare": ["source=x"]}.get(script, []))
    header = cfg.hydra.help.header
    shown = re.findall(rf"python {script}\.py(.*)", header)
    assert len(shown) >= 2
    for line in shown:
        for run in every_choice([word for word in shlex.split(line) if word != "-m"]):
            composed(script, run)
    sentence = re.search(r"It reads the groups? (.*)\.", header)
    listed = set(re.split(r", | and ", sentence[1])) if sentence else set()
    defaults = OmegaConf.load(ROOT / "conf" / f"{script}.yaml").defaults
    groups = {str(key) for entry in defaults if OmegaConf.is_config(entry) for key in entry}
    assert listed == {group for group in groups if not group.startswith(("paths", "hydra", "override", "optional"))}


def test_the_changelog_has_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
