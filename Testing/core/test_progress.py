"""Progress in words: a line for each stage and not for each step, and durations as people say
them.
"""

import time

import pytest

from MedLLMSegLib.core.progress import ProgressLog, duration_text


def test_a_line_for_each_stage_and_every_half_minute(capsys, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    line = ProgressLog()
    for text in (
        "reading images: a",
        "reading images: b",
        "cxr main-0: epoch 1",
        "cxr main-0: epoch 2",
        "cxr main-1: epoch 1",
    ):
        line(text, 0.5)
    now += 31
    line("cxr main-1: epoch 9", 0.75)
    assert capsys.readouterr().out.splitlines() == [
        " 50.0 %  reading images: a",
        " 50.0 %  cxr main-0: epoch 1",
        " 50.0 %  cxr main-1: epoch 1",
        " 75.0 %  cxr main-1: epoch 9",
    ]


@pytest.mark.parametrize(
    "seconds, text",
    [(0.9, "0 min 0 s"), (312, "5 min 12 s"), (3599, "59 min 59 s"), (3900, "1 h 5 min")],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text
