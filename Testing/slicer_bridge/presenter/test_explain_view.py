"""What the panel shows around its buttons Explain and Copy text."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.slicer_bridge.presenter.explain_view import structure_choices, with_explanation
from MedLLMSegLib.slicer_bridge.presenter.segment_view import with_job
from MedLLMSegLib.slicer_bridge.presenter.view import view
from Testing.helpers.panel_states import READY, ended_job, shown_text, widget_properties

ROWS = (
    ("Left hippocampus (anterior)", 1.5, 0.9),
    ("Left hippocampus (posterior)", 1.3, 0.9),
    ("Brain stem", 24.0, None),
)
DONE = replace(READY, rows=ROWS, result="MRHead segmentation")


def test_parts_can_be_explained_together():
    assert structure_choices(ROWS) == (
        "Left hippocampus",
        "Left hippocampus (anterior)",
        "Left hippocampus (posterior)",
        "Brain stem",
    )
    assert view(DONE).explained == structure_choices(ROWS)


def test_what_a_second_model_drew_is_not_asked_of_the_first_one():
    """brain-mr, whose hippocampi were divided, knows the whole hippocampus alone."""
    job = ended_job("done", rows=ROWS, inserted=tuple(name for name, *_ in ROWS[:2]))
    job.segmentationNode = SimpleNamespace(GetName=lambda: "MRHead segmentation")
    assert view(with_job(DONE, job)).explained == ("Left hippocampus", "Brain stem")


def test_there_has_to_be_a_result_first():
    button = widget_properties(READY, "explainButton")
    assert not button.enabled
    assert button.toolTip == "Press Segment first."
    assert widget_properties(DONE, "explainButton").enabled


def test_one_task_waits_for_the_other():
    explaining = replace(DONE, state="running", task="explain", stage="explain", fraction=0.5)
    assert widget_properties(explaining, "explainButton").text == "Cancel"
    assert not widget_properties(explaining, "segmentButton").enabled
    assert "being explained" in widget_properties(explaining, "segmentButton").toolTip
    assert shown_text(explaining) == "Looking for the evidence"
    assert widget_properties(explaining, "progressBar").visible
    segmenting = replace(DONE, state="running", task="segment")
    assert not widget_properties(segmenting, "explainButton").enabled


def test_what_was_measured_of_the_map_is_said_and_the_table_stays():
    job = ended_job("done", structure="Brain stem", notes=("62 % of it lies inside.",))
    panel = with_explanation(replace(DONE, state="running", task="explain"), job)
    assert shown_text(panel).replace("\u2068", "").replace("\u2069", "") == (
        "Evidence for Brain stem. 62 % of it lies inside."
    )
    assert panel.rows == ROWS
    failed = with_explanation(DONE, ended_job("failed", message="No such structure."))
    assert failed.message_failed
    assert failed.state == "idle"
    assert "as it was" in with_explanation(DONE, ended_job("cancelled")).message


@pytest.mark.parametrize("state", ("done", "cancelled", "failed"))
def test_what_was_said_of_the_result_outlives_its_explanations(state):
    """Its light and its warnings are of the outlines, which are as they were."""
    amber = ScanQuality(Quality("amber", ("the expected Dice is 0.71",)))
    panel = replace(DONE, notes=("The scan was oblique.",), quality=amber)
    for _press in range(2):
        panel = with_explanation(panel, ended_job(state, notes=("62 % of it lies inside.",)))
    assert panel.notes == ("The scan was oblique.",)
    assert panel.quality is amber
    text = shown_text(panel)
    assert "The scan was oblique." in text
    assert ("Quality amber" in text) == (state != "failed")  # beside a failure no light is shown
    assert text.count("62 %") == (state == "done")


def test_the_slider_is_there_for_either_map():
    assert not widget_properties(DONE, "uncertaintySlider").visible
    assert widget_properties(replace(DONE, evidenced=True), "uncertaintySlider").visible
    hidden = replace(DONE, evidenced=True, evidence=False)
    assert not widget_properties(hidden, "uncertaintySlider").visible


def test_sentences_can_be_copied_where_there_are_any():
    assert not widget_properties(DONE, "copyTextButton").enabled
    assert widget_properties(replace(DONE, sentences=("It is.",)), "copyTextButton").enabled
