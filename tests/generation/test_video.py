"""Frames from folders, videos and animated images, and the errors a person meets."""

import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sculpt4d.generation.video import natural_key, read_frames

SHARED = Path(__file__).resolve().parents[3] / "shared"


def cutout(shade: int = 40, size: tuple[int, int] = (24, 32), alpha: bool = True) -> np.ndarray:
    """A grey square in the middle, around it nothing (or white)."""
    height, width = size
    picture = np.full((height, width, 4), 255, np.uint8)
    picture[..., 3] = 0 if alpha else 255
    picture[6:-6, 8:-8] = (shade, shade, shade, 255)
    return picture


def save_folder(folder: Path, names: list[str], **options: bool) -> Path:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(cutout(20 + 10 * index, **options)).save(folder / name)
    return folder


def save_movie(path: Path, count: int, fps: int = 10) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(count):
            picture = cutout(20 + 10 * index, (48, 64), alpha=False)[..., :3]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return path


def shades(frames: tuple[np.ndarray, ...]) -> list[int]:
    return [int(frame[frame.shape[0] // 2, frame.shape[1] // 2, 0]) for frame in frames]


def test_unpadded_numbers_are_read_in_their_order(tmp_path):
    names = [f"{index}.png" for index in range(12)]
    video = read_frames(save_folder(tmp_path / "clip", names))
    assert video.names == tuple(names)
    assert shades(video.frames) == [20 + 10 * index for index in range(12)]


def test_natural_order_is_that_of_the_numbers():
    assert sorted(["b2", "a10", "a9", "A1", "b", "10", "9"], key=natural_key) == [
        "9",
        "10",
        "A1",
        "a9",
        "a10",
        "b",
        "b2",
    ]


def test_the_first_frames_are_taken_every_stride(tmp_path):
    folder = save_folder(tmp_path / "clip", [f"{index}.png" for index in range(10)])
    assert read_frames(folder, 3).names == ("0.png", "1.png", "2.png")
    assert read_frames(folder, 4, stride=3).names == ("0.png", "3.png", "6.png", "9.png")


def test_an_alpha_channel_is_the_mask(tmp_path):
    video = read_frames(save_folder(tmp_path / "clip", ["0.png"]))
    assert "alpha" in video.background
    np.testing.assert_array_equal(video.frames[0], cutout(20))


def test_an_opaque_picture_loses_its_plain_ground(tmp_path):
    video = read_frames(save_folder(tmp_path / "clip", ["0.png"], alpha=False))
    assert "plain" in video.background
    differing = (video.frames[0][..., 3] > 127) != (cutout()[..., 3] > 127)
    assert differing.sum() <= 4  # the corners are rounded


def test_a_jpeg_lying_on_its_side_is_turned_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(cutout(alpha=False)[..., :3]).save(tmp_path / "0.jpg", exif=exif)
    assert read_frames(tmp_path, background="none").frames[0].shape == (32, 24, 4)


def test_a_16_bit_picture_keeps_its_brightness(tmp_path):
    Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)).save(tmp_path / "0.png")
    assert read_frames(tmp_path, background="none").frames[0][0, 0].tolist() == [128, 128, 128, 255]


def test_a_video_gives_its_frames_and_its_rate(tmp_path):
    video = read_frames(save_movie(tmp_path / "clip.mp4", 7), 3, stride=2)
    assert video.fps == 5
    assert video.names == ("clip.mp4[0]", "clip.mp4[2]", "clip.mp4[4]")
    np.testing.assert_allclose(shades(video.frames), [20, 40, 60], atol=3)


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_animated_rgba_images_keep_alpha_and_rate(tmp_path, suffix):
    pictures = [Image.fromarray(cutout(20 + 60 * index)) for index in range(3)]
    path = tmp_path / f"clip.{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=125, lossless=True)
    video = read_frames(path)
    assert video.fps == 8
    assert "alpha" in video.background
    np.testing.assert_array_equal(
        [frame[12, 16] for frame in video.frames], [(20,) * 3 + (255,), (80,) * 3 + (255,), (140,) * 3 + (255,)]
    )


def test_partial_frames_of_a_gif_are_laid_over_what_was_there(tmp_path):
    whole = Image.new("RGB", (32, 24), "white")
    whole.paste((200, 0, 0), (4, 4, 28, 20))
    second = whole.copy()
    second.paste((0, 0, 200), (6, 6, 12, 12))
    whole.save(tmp_path / "clip.gif", save_all=True, append_images=[second], duration=100, disposal=1)
    frames = read_frames(tmp_path / "clip.gif", background="none").frames
    assert len(frames) == 2
    assert frames[1][8, 8, :3].tolist() == [0, 0, 200]
    assert frames[1][18, 26, :3].tolist() == [200, 0, 0]


def raises(path: Path, *words: str, kind: type[Exception] = ValueError, **options: int | str) -> None:
    """The error names the path and says each of the words."""
    with pytest.raises(kind) as caught:
        read_frames(path, **options)
    for word in (path.name, *words):
        assert word in str(caught.value)


def test_a_missing_path_is_named(tmp_path):
    raises(tmp_path / "none", "does not exist", kind=FileNotFoundError)


def test_a_folder_without_images_says_what_images_are(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    raises(tmp_path, ".png", kind=FileNotFoundError)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_an_unreadable_image_is_named(tmp_path, content):
    folder = save_folder(tmp_path / "clip", ["0.png", "1.png"])
    broken = folder / "1.png"
    broken.write_bytes(broken.read_bytes()[:60] if content is None else content)
    raises(folder, "1.png", "not a readable image")


def test_frames_of_different_sizes_are_named(tmp_path):
    folder = save_folder(tmp_path / "clip", ["0.png", "1.png"])
    Image.fromarray(cutout(size=(24, 30))).save(folder / "2.png")
    raises(folder, "0.png is 32x24", "2.png is 30x24")


def test_too_few_frames_give_both_counts_and_the_remedy(tmp_path):
    folder = save_folder(tmp_path / "clip", [f"{index}.png" for index in range(5)])
    raises(folder, "has 5 frames", "frames=8", "frames=5", frames=8)
    raises(folder, "has 5 frames", "needs 7", "frames=2", frames=3, stride=3)
    raises(save_movie(tmp_path / "clip.mp4", 4), "has 4 frames", "frames=16", frames=16)


@pytest.mark.parametrize("options", [{"frames": 0}, {"frames": -1}, {"stride": 0}])
def test_counts_below_one_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="at least 1"):
        read_frames(save_folder(tmp_path / "clip", ["0.png"]), **options)


def test_a_fully_transparent_frame_is_named(tmp_path):
    folder = save_folder(tmp_path / "clip", ["0.png"])
    Image.new("RGBA", (32, 24)).save(folder / "1.png")
    raises(folder, "1.png", "nothing is visible")


def test_an_empty_picture_on_a_plain_ground_is_named(tmp_path):
    folder = save_folder(tmp_path / "clip", ["0.png"], alpha=False)
    Image.new("RGB", (32, 24), "white").save(folder / "1.png")
    raises(folder, "1.png", "nothing is visible")


def test_what_is_no_video_is_refused(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"this is no video" * 20)
    raises(path, "not a video")


def test_a_video_without_a_picture_is_refused(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    raises(path, "no video stream")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize("name", ["dancing_robot_fg.mp4", "running_triceratops_32f", "kangaroo", "davis_camel"])
def test_the_shared_clips_are_read(name):
    video = read_frames(SHARED / "data" / "clips" / name, 4)
    assert [int(re.findall(r"\d+", frame)[-1]) for frame in video.names] == [0, 1, 2, 3]
    covered = np.mean([frame[..., 3] > 127 for frame in video.frames])
    assert 0.05 < covered < 0.6
