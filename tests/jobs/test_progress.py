"""What a run says of itself."""

import io
import logging
from collections import Counter

import pytest

from sculpt4d.jobs import progress as executors_progress
from sculpt4d.jobs.executor import Outcome
from sculpt4d.jobs.progress import shown, told_of


@pytest.mark.parametrize(
    "done, total, seconds, told",
    [
        ({"prepared": 3, "skipped": 1, "failed": 1}, 10, 300.0, "1 skipped, 1 failed, 1 a minute, 0:05:00 left"),
        ({"prepared": 100}, 100_100, 60.0, "0 skipped, 0 failed, 100 a minute, 16:40:00 left"),
        ({"prepared": 1}, 1001, 360.0, "0 skipped, 0 failed, 0.167 a minute, 4 d 4:00:00 left"),
        ({"failed": 2}, 2, 1.0, "0 skipped, 2 failed, 120 a minute, 0:00:00 left"),
    ],
)
def test_the_time_left_is_the_rest_at_the_rate_of_the_run(
    done: dict[str, int], total: int, seconds: float, told: str
) -> None:
    assert told_of(Counter(done), total, seconds) == told


def test_outcomes_pass_unchanged_and_a_log_gets_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executors_progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    caplog.set_level(logging.INFO)
    outcomes = [Outcome(str(number), "skipped" if number else "prepared") for number in range(3)]
    assert list(shown(outcomes, 3)) == outcomes
    assert [message.partition(",")[0] for message in caplog.messages] == [
        f"{number + 1} of 3 objects: {number} skipped" for number in range(3)
    ]
