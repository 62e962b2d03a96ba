"""Progress reaches the listener as parts of the whole, and a log as one line a stage."""

import time

import pytest

from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.core.progress import Progress, ProgressLog, duration_text


class Listener:
    """A progress callback that remembers what it was told."""

    def __init__(self):
        self.calls = []

    def __call__(self, stage, fraction):
        self.calls.append((stage, pytest.approx(fraction)))


def test_a_listener_hears_stage_and_fraction_as_they_are():
    listener = Listener()
    Progress.of(listener)("reading", 0.25)
    assert listener.calls == [("reading", 0.25)]


def test_a_part_covers_its_share_of_the_whole():
    listener = Listener()
    part = Progress.of(listener).part(0.2, 0.6)
    for fraction in (0, 0.5, 1):
        part("training", fraction)
    assert listener.calls == [("training", 0.2), ("training", 0.4), ("training", 0.6)]


def test_a_part_of_a_part():
    listener = Listener()
    Progress.of(listener).part(0.5, 1.0).part(0.0, 0.5)("step", 1.0)
    assert listener.calls == [("step", 0.75)]


def test_equal_parts_follow_each_other_without_a_gap():
    listener = Listener()
    parts = Progress.of(listener).parts(4)
    for part in parts:
        part("case", 0)
        part("case", 1)
    fractions = [fraction for _, fraction in listener.calls]
    assert fractions == [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1]
    assert Progress.of(listener).parts(0) == []


def test_a_label_stands_around_the_stage_or_instead_of_it():
    listener = Listener()
    progress = Progress.of(listener)
    progress.part(0, 1, "fold 2: {}")("epoch 3", 0)
    progress.part(0, 1, "Downloading")("", 0)
    progress.part(0, 1, "study: {}").part(0, 1, "run 1: {}")("epoch {}", 0)
    assert [stage for stage, _ in listener.calls] == [
        "fold 2: epoch 3",
        "Downloading",
        "study: run 1: epoch {}",
    ]


def test_without_a_listener_nothing_happens():
    progress = Progress.of(None)
    progress("stage", 0.5)
    progress.part(0, 0.5)("stage", 0.5)


def test_a_progress_is_not_wrapped_again():
    progress = Progress.of(Listener())
    assert Progress.of(progress) is progress


def test_cancelled_passes_through_all_parts():
    def cancel(stage, fraction):
        raise Cancelled

    part = Progress.of(cancel).part(0, 0.5).parts(3)[1]
    with pytest.raises(Cancelled):
        part("stage", 0.1)


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
