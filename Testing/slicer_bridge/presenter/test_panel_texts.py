"""The texts that several sections share."""

import re
from dataclasses import replace

import pytest

from MedLLMSegLib.slicer_bridge.presenter.panel_texts import (
    breakable,
    stage_name,
    time_left,
    with_mark,
)
from Testing.helpers.panel_states import (
    READY,
    widget_properties,
)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (None, ""),
        (float("nan"), ""),
        (float("inf"), ""),
        (-1, ""),
        (0, "about 1 s left"),
        (12.4, "about 12 s left"),
        (99, "about 99 s left"),
        (150, "about 2 min left"),
        (3000, "about 50 min left"),
        (9000, "about 2.5 h left"),
    ],
)
def test_time_left(seconds, text):
    assert time_left(seconds) == text


@pytest.mark.parametrize(
    "stage, text",
    [
        ("start", "Starting Python"),
        ("segment", "Outlining"),
        ("segment right", "Outlining, right side"),
        ("segment on the CPU", "Outlining, on the CPU"),
        ("2 of 9: segment left", "2 of 9: outlining, left side"),
        ("3 of 9: load", "3 of 9: loading the model"),
        ("Collecting scan 1 of 3", "Collecting scan 1 of 3"),
        ("step 80 of 400", "Step 80 of 400"),
        ("", ""),
    ],
)
def test_stages_in_words(stage, text):
    assert stage_name(stage) == text


def test_every_stage_of_the_worker_has_words():
    from MedLLMSegLib.slicer_bridge.presenter.panel_texts import STAGES
    from MedLLMSegLib.worker import protocol

    said = re.search(r"Stages\s+of\s+segment: (.*?)\.\s+Of\s+train", protocol.__doc__, re.DOTALL)[1]
    assert set(re.findall(r"\b[a-z]+\b", re.sub(r"\(.*?\)", "", said))) <= set(STAGES)


def test_messages_are_no_markup():
    assert "&lt;b&gt;" in with_mark('"<b>" & more', "failed")
    assert with_mark("", "failed") == ""


def test_long_words_may_be_broken_into_lines_and_short_ones_are_left():
    name = "sub_0042_ses_02_acq_highres_run_01_desc_defaced_n4corrected_T1w"
    text = widget_properties(
        replace(READY, message=f"{name} has 3 time_points."), "statusLabel"
    ).text
    parts = re.search(r"sub\S+", text)[0].split("\u200b")
    assert "".join(parts) == name
    assert max(map(len, parts)) < 30
    assert "time_points" in text
    assert max(map(len, breakable("x" * 90).split("\u200b"))) < 30
    assert (
        breakable("The model is ready, and chosen above.")
        == "The model is ready, and chosen above."
    )
