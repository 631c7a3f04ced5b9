"""Keyframes sampled by the formulas of glTF 2.0, appendix C."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sculpt4d.gltf.keyframes import Track, sample, sample_all

HALF = np.sqrt(0.5)


def test_the_three_interpolations_follow_their_formulas() -> None:
    times, keys = np.array([-1.0, 0, 0.5, 2, 3]), np.array([0.0, 2.0])
    line = Track(0, "translation", keys, np.array([[0.0, 0, 0], [4, 0, 0]]))
    np.testing.assert_allclose(sample(line, times)[:, 0], [0, 0, 1, 4, 4])
    np.testing.assert_allclose(sample(line._replace(interpolation="STEP"), times)[:, 0], [0, 0, 0, 4, 4])
    # x = s^3 from 0 to 8 over two seconds: slopes 0 and 12 per second
    cubic = np.zeros((2, 3, 3))
    cubic[:, :, 0] = [[0, 0, 0], [12, 8, 0]]
    spline = Track(0, "translation", keys, cubic, "CUBICSPLINE")
    np.testing.assert_allclose(sample(spline, times)[:, 0], [0, 0, 0.125, 8, 8])
    # the same rotation with the other sign: the short way is no way
    turn = Track(0, "rotation", keys, np.array([[0.0, 0, 0, 1], [0, 0, -HALF, -HALF]]))
    angle = np.array([0, 0, np.pi / 8, np.pi / 2, np.pi / 2])
    np.testing.assert_allclose(np.abs(sample(turn, times)[:, 3]), np.cos(angle / 2))


@given(st.data())
def test_tracks_sampled_together_are_what_they_are_alone(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    tracks = {}
    for node in range(data.draw(st.integers(1, 6))):
        path, width = data.draw(st.sampled_from([("translation", 3), ("rotation", 4), ("weights", 2)]))
        kind = data.draw(st.sampled_from(["LINEAR", "STEP", "CUBICSPLINE"]))
        keys = np.arange(data.draw(st.integers(1, 3)), dtype=float)
        shape = (len(keys), 3, width) if kind == "CUBICSPLINE" else (len(keys), width)
        tracks[node, path] = Track(node, path, keys, rng.normal(size=shape), kind)
    times = np.linspace(-1, 3, 9)
    together = sample_all(tracks, times)
    assert together.keys() == tracks.keys()
    for place, track in tracks.items():
        np.testing.assert_allclose(together[place], sample(track, times))
