"""Which clips of a file become objects."""

import numpy as np

from sculpt4d.data.selection import Motion
from sculpt4d.preparation.assets.motions import ClipMeasure, _judge, choose_clips

RNG = np.random.default_rng(0)
BODY = RNG.uniform(-0.5, 0.5, (40, 3))


def clip(key: str, fill: float = 0.9, motion: float = 0.1, path: np.ndarray | None = None) -> ClipMeasure:
    path = RNG.standard_normal((16, 40, 3)) if path is None else path
    return ClipMeasure(key, Motion(16, motion, 1.5), fill, path)


def chosen(*clips: ClipMeasure, limit: int = 4, salt: str = "a") -> set[str]:
    return {one.key for one in choose_clips(clips, limit, 0.7, 0.01, salt)}


def test_an_object_that_stays_fills_its_box_and_one_that_travels_does_not() -> None:
    swaying = BODY + 0.05 * np.sin(np.arange(16))[:, None, None]
    leaping = BODY + np.linspace(0, 4, 16)[:, None, None] * [0, 1, 0]
    assert _judge(swaying)[1] > 0.9
    assert _judge(leaping)[1] < 0.65
    assert _judge(leaping)[0].mean > _judge(swaying)[0].mean  # though it moves more


def test_a_flat_object_is_judged_by_its_length_and_width() -> None:
    flat = np.tile(BODY * [1, 1e-9, 1], (16, 1, 1))
    flat[:, :, 1] += 1e-4 * np.arange(16)[:, None]
    assert _judge(flat)[1] > 0.95


def test_clips_that_are_still_or_small_in_their_box_are_left_out() -> None:
    assert chosen(clip("good"), clip("small", fill=0.6), clip("still", motion=0.001)) == {"good"}


def test_one_motion_under_two_names_counts_once() -> None:
    path = RNG.standard_normal((16, 40, 3))
    assert len(chosen(clip("one", path=path), clip("two", path=path + 0.001), clip("other"))) == 2


def test_files_of_a_pack_show_different_motions_and_one_file_always_the_same() -> None:
    clips = [clip(str(number)) for number in range(12)]
    picks = [chosen(*clips, limit=3, salt=salt) for salt in ("cow", "horse", "pig")]
    assert all(len(pick) == 3 for pick in picks)
    assert len(set().union(*picks)) > 3
    assert picks[0] == chosen(*clips[::-1], limit=3, salt="cow")
