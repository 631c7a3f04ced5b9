"""The contact sheet and the preview video."""

import av
import numpy as np
import pytest
import trimesh

from sculpt4d.generation.preview import contact_sheet, crop_inputs, preview_frames, render_sequence, write_video
from sculpt4d.types import Mesh, MeshSequence

RED, BLUE = (np.full((20, 20, 3), color, np.uint8) for color in ((200, 0, 0), (0, 0, 200)))
NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))


def ball(shift: float = 0.0) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=2, radius=0.4)
    return Mesh((sphere.vertices + np.array([shift, 0, 0])).astype(np.float32), sphere.faces)


@pytest.mark.parametrize("count, rows", [(1, 1), (8, 1), (9, 2), (32, 4)])
def test_a_sheet_shows_every_input_above_its_mesh(count, rows):
    sheet = contact_sheet([RED] * count, [BLUE] * count, cell=40)
    red, blue = (np.all(sheet == color, axis=-1) for color in ((200, 0, 0), (0, 0, 200)))
    assert red.sum() == blue.sum() == count * 40 * 40
    assert np.flatnonzero(red.any(axis=1))[0] < np.flatnonzero(blue.any(axis=1))[0]
    assert np.diff(red.any(axis=1).astype(int)).clip(0).sum() == rows


def test_preview_frames_are_even_with_the_input_on_the_left():
    frames = list(preview_frames([RED], [BLUE], size=75))
    assert len(frames) == 1
    assert frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    assert frames[0][30, 20].tolist() == [200, 0, 0]
    assert frames[0][30, 100].tolist() == [0, 0, 200]


@pytest.mark.parametrize("fps, count, written", [(8.0, 16, 64), (8.0, 100, 100), (12.5, 5, 100)])
def test_a_video_is_repeated_until_it_can_be_seen(tmp_path, fps, count, written):
    frames = [np.full((36, 64, 3), index % 250, np.uint8) for index in range(count)]
    assert write_video(tmp_path / "clip.mp4", frames, fps) == written
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(fps)
        assert sum(1 for _ in container.decode(video=0)) == written


def test_meshes_share_one_crop_and_missing_ones_stay_white():
    left, nothing, right = render_sequence(MeshSequence((ball(-0.5), NOTHING, ball(0.5))), 64)
    assert (nothing == 255).all()
    columns = [np.flatnonzero((picture < 250).any(axis=(0, 2))) for picture in (left, right)]
    assert columns[0].max() < 40 < columns[1].min() + 16
    assert len(columns[0]) == pytest.approx(len(columns[1]), abs=2)


def test_a_sequence_of_nothing_is_white():
    assert all((picture == 255).all() for picture in render_sequence(MeshSequence((NOTHING, NOTHING)), 32))


def test_inputs_lie_on_white():
    frame = np.zeros((30, 40, 4), np.uint8)
    frame[10:20, 10:30] = (10, 20, 30, 255)
    picture = crop_inputs([frame], 46)[0]
    assert picture.shape == (46, 46, 3)
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert picture[23, 23].tolist() == [10, 20, 30]
