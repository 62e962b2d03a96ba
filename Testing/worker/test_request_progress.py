"""How often a request's progress is sent, and how the time left is estimated."""

import threading

import pytest

from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.worker.request_progress import RequestProgress


def test_the_time_left_is_guessed_from_the_work_and_not_from_the_model():
    sent, now = [], [100.0]
    report = RequestProgress(sent.append, 5, threading.Event())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("MedLLMSegLib.worker.request_progress.time.monotonic", lambda: now[0])
        for stage, fraction, seconds in (
            ("read", 0, 1),
            ("load", 0, 30),
            ("localize", 0.0, 2),
            ("localize", 0.2, 2),
            ("segment", 0.4, 4),
            ("segment", 0.8, 0),
            ("segment", 1.0, 0),
        ):
            report(stage, fraction)
            now[0] += seconds
    assert [m["seconds_left"] for m in sent] == [None, None, None, 8.0, 6.0, 2.0, 0.0]
    assert [m["stage"] for m in sent][-1] == "segment"
    assert all(m["id"] == 5 for m in sent)


def test_progress_is_not_told_more_often_than_anyone_can_see():
    sent, stop = [], threading.Event()
    report = RequestProgress(sent.append, 5, stop)
    for n in range(1000):
        report(f"step {n} of 1000", n / 1000, [{"step": n}] if n == 500 else [])
    report("done", 1.0)
    assert len(sent) < 20
    assert sent[-1]["fraction"] == 1
    assert [row for m in sent for row in m["history"]] == [{"step": 500}]
    stop.set()
    with pytest.raises(Cancelled):
        report("segment", 0.1)
