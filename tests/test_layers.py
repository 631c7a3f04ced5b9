"""The layer table of ARCHITECTURE.md: a module imports its own package and lower rows, never a neighbour."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sculpt4d"
ROWS = {
    "optional": 0,
    "types": 0,
    "attention": 1,
    "flow": 1,
    "geometry": 1,
    "data": 2,
    "model": 2,
    "compute": 3,
    "sampler": 3,
    "generation": 4,
    "preparation": 4,
    "evaluation": 5,
    "training": 6,
}
SCRIPTS = 7  # entry scripts, experiments and what they alone share
SCRIPTS_OWN = {"cli", "__init__"}
FOREIGN = {"blender_views.py"}  # scripts that another program runs, imported by nothing here
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The package of a module file, or the module itself where it lies at the top."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imported(path: Path) -> Iterator[str]:
    """Dotted names of every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """Parts of this project that a file imports."""
    names = [name.split(".") for name in imported(path)]
    return {name[1] for name in names if name[0] == "sculpt4d" and len(name) > 1}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path):
    part = part_of(path)
    if part in SCRIPTS_OWN:
        return
    assert part in ROWS, f"{part} has no row: add it to ARCHITECTURE.md and to this table"
    wrong = {other for other in own_imports(path) - {part} if ROWS.get(other, SCRIPTS) >= ROWS[part]}
    assert not wrong, f"{path.relative_to(ROOT)} (row {ROWS[part]}) imports {sorted(wrong)}"


def test_nothing_in_the_package_imports_scripts_or_experiments():
    scripts = {path.stem for path in ROOT.glob("*.py")} | {"experiments", "tests"}
    for path in MODULES:
        assert not {name.split(".")[0] for name in imported(path)} & scripts, path


def test_every_row_of_the_table_exists_or_is_planned():
    present = {part_of(path) for path in MODULES} - SCRIPTS_OWN
    assert present <= ROWS.keys()
    assert {"attention", "flow", "geometry", "data", "model", "sampler", "generation", "training"} <= present


def test_heavy_packages_are_not_imported_with_the_package():
    """Optional packages are asked for through sculpt4d.optional, so that a core install imports every module."""
    optional = {
        "block_sparse_attn",
        "bpy",
        "cv2",
        "deepspeed",
        "open3d",
        "pytorch3d",
        "ray",
        "rembg",
        "torchvision",
        "matplotlib",
    }
    for path in MODULES:
        if path.name not in FOREIGN:
            assert not {name.split(".")[0] for name in imported(path)} & optional, path
