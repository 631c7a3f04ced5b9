"""Which objects are held out."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sculpt4d.data.split import fitting, held_out

IDS = [hashlib.md5(str(number).encode()).hexdigest() for number in range(200)]


@given(st.permutations(IDS[:40]), st.integers(0, 50))
def test_order_does_not_matter_and_the_count_is_kept(ids: list[str], count: int):
    chosen = held_out(ids, count)
    assert chosen == held_out(IDS[:40], count) and len(chosen) == min(count, 40)


def test_they_have_the_smallest_sha_256():
    chosen = held_out(IDS, 50)
    digests = {uid: hashlib.sha256(uid.encode()).hexdigest() for uid in IDS}
    assert max(digests[uid] for uid in chosen) < min(digests[uid] for uid in IDS if uid not in chosen)


def test_one_more_object_moves_at_most_one():
    assert len(held_out(IDS[:101], 50) ^ held_out(IDS[:100], 50)) in (0, 2)


@pytest.mark.parametrize("count, objects, held", [(50, 13000, 50), (50, 100, 50), (50, 99, 9), (2, 5, 2), (50, 3, 1)])
def test_a_small_set_keeps_something_to_train_on(count: int, objects: int, held: int):
    assert fitting(count, objects) == held
