"""Which objects are left out, and why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sculpt4d.gltf.document import GltfFile
from sculpt4d.preparation import filter as selection
from sculpt4d.preparation.filter import Motion, Selection, Unsuitable
from sculpt4d.types import AnimatedMesh

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
FACES = np.array([[0, 1, 2], [3, 2, 1]])


def moving(*offsets: float, size: float = 1.0) -> AnimatedMesh:
    """A cube that stands at these places of the x axis, in units of its side."""
    vertices = np.stack([size * (CUBE + np.array([offset, 0, 0], np.float32)) for offset in offsets])
    colors = np.zeros((len(FACES), 3), np.float32)
    return AnimatedMesh(vertices, FACES, vertices[0], colors, np.arange(len(offsets), dtype=float), "cube")


@given(st.floats(0.001, 1000), st.integers(2, 20))
def test_motion_is_measured_in_units_of_the_first_frame(size: float, frames: int):
    motion = selection.measure_motion(moving(*range(frames), size=size))
    assert motion.distinct == frames
    assert motion.mean == pytest.approx(np.arange(1, frames).mean(), rel=1e-4)
    assert motion.reach == pytest.approx(2 * (0.5 + frames - 1), rel=1e-4)


def test_a_pose_that_comes_back_counts_once():
    assert selection.measure_motion(moving(0, 1, 0, 1, 0, 2)).distinct == 3
    assert selection.measure_motion(moving(0, 1e-6, 2e-6, 1)).distinct == 2  # what rounding moves is no motion


def test_an_object_that_grows_from_nothing_has_no_size_to_stay_within():
    vertices = np.stack([CUBE * 0, CUBE]).astype(np.float32)
    animated = AnimatedMesh(vertices, FACES, CUBE, np.zeros((2, 3), np.float32), np.arange(2.0), "seed")
    assert selection.measure_motion(animated).reach == float("inf")


@pytest.mark.parametrize(
    "motion, kind",
    [
        (Motion(11, 0.5, 2.0), "too few frames: 11 distinct, at least 12"),
        (Motion(12, 0.0099, 2.0), "too little motion: vertices are 0.0099 of the size"),
        (Motion(12, 0.5, 3.01), "travels too far: a box of 3.01 times"),
    ],
)
def test_each_threshold_of_the_motion_has_its_reason(motion: Motion, kind: str):
    reasons = selection.check_motion(motion, Selection())
    assert len(reasons) == 1 and reasons[0].startswith(kind) and "filter." in reasons[0]


def test_what_meets_the_thresholds_exactly_passes():
    assert not selection.check_motion(Motion(12, 0.01, 3.0), Selection())
    assert not selection.check_size(200_000, Selection())
    assert selection.check_size(200_001, Selection())[0].startswith("too many vertices")


def test_every_threshold_is_the_callers():
    loose = Selection(min_frames=2, min_motion=0.0, max_reach=99.0, max_vertices=10**9)
    assert not selection.check_motion(Motion(2, 0.0, 98.0), loose) and not selection.check_size(10**8, loose)
    with pytest.raises(ValueError, match=r"filter.max_reach=0.5"):
        Selection(max_reach=0.5)


def test_a_named_file_is_kept_with_the_reason_as_a_note_unless_nothing_moves():
    lenient = Selection(advice=True)
    assert selection.settle(["too few frames: 3"], lenient) == ["kept although too few frames: 3"]
    with pytest.raises(Unsuitable, match="too few frames"):
        selection.settle(["too few frames: 3"], Selection())
    with pytest.raises(Unsuitable, match="not animated"):
        selection.check_motion(Motion(1, 0.0, 1.0), lenient)


@pytest.mark.parametrize(
    "text, short",
    [
        ("CC-BY-4.0 (http://creativecommons.org/licenses/by/4.0/)", "by"),
        ("CC-BY-NC-SA-4.0 (http://creativecommons.org/licenses/by-nc-sa/4.0/)", "by-nc-sa"),
        ("by-nc", "by-nc"),
        ("BY", "by"),
        ("CC0-1.0", "cc0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("Creative Commons BY-SA", "by-sa"),
        ("SKETCHFAB Standard (https://sketchfab.com/licenses)", "sketchfab standard (https://sketchfab.com/licenses)"),
        ("made by John", "made by john"),
        ("", ""),
    ],
)
def test_licences_are_read_however_they_are_written(text: str, short: str):
    assert selection.short_licence(text) == short


def test_a_licence_is_judged_where_one_is_stated():
    chosen = Selection(licences=frozenset({"by", "cc0"}))
    assert not selection.check_origin(["a"], None, chosen)  # a file that says nothing is its user's own affair
    assert not selection.check_origin(["a"], "by", chosen)
    assert selection.check_origin(["a"], "by-nc", chosen)[0].startswith("licence: by-nc, allowed are by, cc0")
    assert selection.check_origin(["a"], "", chosen)[0].startswith("licence: none given")
    assert not selection.check_origin(["a"], "by-nc", Selection(licences=None))


@pytest.mark.parametrize(
    "asset, licence",
    [
        ({"version": "2.0", "extras": {"license": "CC-BY-4.0 (http://creativecommons.org/licenses/by/4.0/)"}}, "by"),
        ({"version": "2.0", "extras": {"license": 7}}, None),
        ({"version": "2.0", "extras": "x"}, None),
        ({"version": "2.0"}, None),
    ],
)
def test_a_file_states_its_licence_as_sketchfab_does(asset: dict[str, Any], licence: str | None, tmp_path: Path):
    (tmp_path / "a.gltf").write_text(json.dumps({"asset": asset}))
    assert selection.stated_licence(GltfFile(tmp_path / "a.gltf")) == licence


def test_an_excluded_object_is_known_by_its_id_or_its_name(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("Horse\n")
    chosen = selection.choose(["by"], ["consistent4d"], [str(tmp_path / "mine.txt")], 2, 0, 3, 10)
    assert chosen.min_frames == 2 and chosen.licences == {"by"}
    for name, where in (("22BBB0b7ca4d4d63b47b1367984aa7ce", "consistent4d"), ("horse", "mine.txt")):
        assert where in selection.check_origin(["x", name], None, chosen)[0]
    assert not selection.check_origin(["edec2c2e1fd74742ad0288a93301f4a1"], None, chosen)  # of sv4d, not asked for
