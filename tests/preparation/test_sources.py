"""What a source names."""

from pathlib import Path

import pytest

from sculpt4d.preparation import sources

UID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two animated files, two folders of renders, and one object that the objaverse package has downloaded."""
    for name in ("a.glb", "deep/b.GLTF", "notes.md", f"home/.objaverse/hf-objaverse-v1/glbs/000-023/{UID}.glb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("renders/one", "renders/two"):
        (tmp_path / name / "render_cond/frame_0000").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_list_names_files_beside_it_and_downloaded_objects(tree: Path):
    (tree / "list.txt").write_text(
        f"a.glb\ndeep/b.GLTF\n{tree}/a.glb\n{UID.upper()}\nlost.glb\nnotes.md\n{'f' * 32}\na.glb\n"
    )
    found = sources.find(str(tree / "list.txt"), "export")
    assert [asset.name for asset in found.assets] == ["a", "b", UID] and found.assets[2].uid == UID
    assert {reason.partition(":")[0] for reason in found.skipped.values()} == {"repeated line"} and len(
        found.skipped
    ) == 2
    assert {name: reason.partition(":")[0] for name, reason in found.failed.items()} == {
        "lost.glb": "missing file",
        "notes.md": "damaged line",
        "f" * 32: "unknown id",
    }
    assert not found.named


def test_a_list_for_mode_render_names_folders(tree: Path):
    (tree / "list.txt").write_text("renders/one\na.glb\n")
    found = sources.find(str(tree / "list.txt"), "render")
    assert [asset.path for asset in found.assets] == [tree / "renders/one"] and list(found.failed) == ["a.glb"]


def test_renders_are_a_folder_of_objects_or_one_of_them(tree: Path):
    assert [asset.name for asset in sources.find(str(tree / "renders"), "render").assets] == ["one", "two"]
    one = sources.find(str(tree / "renders/two"), "render")
    assert [asset.name for asset in one.assets] == ["two"] and one.named
    with pytest.raises(FileNotFoundError, match="names no finished renders"):
        sources.find(str(tree / "deep"), "render")
    with pytest.raises(FileNotFoundError, match="finished renders, which mode=render takes"):
        sources.find(str(tree / "renders"), "export")


def test_only_a_file_given_by_itself_is_named(tree: Path):
    assert sources.find(str(tree / "a.glb"), "export").named
    assert not sources.find(str(tree / "deep"), "export").named
    assert not sources.find(str(tree / "*.glb"), "export").named


def test_an_empty_list_is_refused(tree: Path):
    (tree / "list.txt").write_text("# nothing yet\n")
    with pytest.raises(FileNotFoundError, match=r"list.txt is an empty list"):
        sources.find(str(tree / "list.txt"), "export")
