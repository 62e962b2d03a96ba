"""What the panel shows around its button Segment."""

import types
from dataclasses import replace

import pytest

from MedLLMSegLib.slicer_bridge.presenter.panel_state import Panel
from MedLLMSegLib.slicer_bridge.presenter.panel_texts import MARK_COLOURS
from MedLLMSegLib.slicer_bridge.presenter.segment_view import row_texts, table_text, with_job
from MedLLMSegLib.slicer_bridge.presenter.view import view
from Testing.helpers.panel_states import READY, ended_job, shown_text, widget_properties

ROWS = (("Left", 1.5321, 0.9134), ("Right", 0.05, float("nan")))


def test_with_a_scan_and_a_model_it_can_begin():
    button = widget_properties(READY, "segmentButton")
    assert (button.text, button.enabled) == (
        "Segment",
        True,
    )
    assert button.toolTip == "Outline anterior, posterior in MRHead."


@pytest.mark.parametrize(
    "missing, says",
    [
        (dict(input=None, scans=0), "Load a scan, or the sample head"),
        (dict(input=None), "Choose a scan"),
        (dict(model="gone"), "Choose a model"),
        (dict(models=()), "import one in the section Models"),
        (dict(state="running", task="train"), "being trained"),
        (dict(state="installing", task="train"), "being installed"),
    ],
)
def test_what_is_missing_is_said(missing, says):
    button = widget_properties(replace(READY, **missing), "segmentButton")
    assert not button.enabled
    assert says in button.toolTip
    assert button.text == "Segment"


def test_an_empty_scene_offers_the_sample_until_there_is_a_scan():
    assert widget_properties(Panel(), "sampleButton").visible
    assert not widget_properties(READY, "sampleButton").visible
    loading = widget_properties(replace(READY, loading_sample=True), "sampleButton")
    assert loading.visible
    assert not loading.enabled
    assert loading.text.startswith("Loading")


def test_progress_has_stage_percent_and_time():
    panel = replace(READY, state="running", stage="segment left", fraction=0.431, seconds_left=12.4)
    bar = view(panel).widgets["progressBar"]
    assert bar == {"visible": True, "maximum": 100, "value": 43}
    assert shown_text(panel) == "Outlining, left side, about 12 s left"
    button = widget_properties(panel, "segmentButton")
    assert (button.text, button.enabled) == ("Cancel", True)


def test_one_structure_is_one():
    node = types.SimpleNamespace(GetName=lambda: "found")
    panel = with_job(READY, ended_job("done", rows=ROWS[:1], segmentationNode=node), seconds=2.0)
    assert shown_text(panel) == "found: 1 structure in 2.0 s."


def test_cancelling_can_only_be_waited_for():
    button = widget_properties(replace(READY, state="cancelling"), "segmentButton")
    assert (button.text, button.enabled) == ("Cancelling...", False)


def test_a_finished_run_is_told_with_its_notes():
    node = types.SimpleNamespace(GetName=lambda: "MRHead segmentation")
    notes = ("The right hippocampus was not found.",)
    panel = with_job(
        replace(READY, state="running", fraction=0.9, seconds_left=1, result="MRHead segmentation"),
        ended_job("done", rows=ROWS, notes=notes, segmentationNode=node),
        seconds=14.23,
    )
    assert (
        shown_text(panel)
        == "MRHead segmentation: 2 structures in 14.2 s. The right hippocampus was not found."
    )
    assert MARK_COLOURS["done"] in widget_properties(panel, "statusLabel").text
    assert not widget_properties(panel, "progressBar").visible
    assert view(panel).rows == (("Left", "1.53", "0.91"), ("Right", "0.05", "–"))
    assert widget_properties(panel, "resultWidget").visible
    assert widget_properties(panel, "resultTable").visible


def test_a_failed_run_leaves_what_was_there_and_the_next_can_begin():
    panel = with_job(
        replace(READY, state="running", rows=ROWS), ended_job("failed", message="The scan is flat.")
    )
    assert panel.state == "failed"
    assert shown_text(panel) == "The scan is flat."
    assert panel.rows == ROWS
    assert MARK_COLOURS["failed"] in widget_properties(panel, "statusLabel").text
    assert widget_properties(panel, "segmentButton").enabled
    assert shown_text(with_job(READY, ended_job("failed")))


def test_a_cancelled_run_says_that_nothing_changed():
    assert "scene is as it was" in shown_text(
        with_job(replace(READY, state="cancelling"), ended_job("cancelled"))
    )
    assert (
        shown_text(with_job(READY, ended_job("cancelled", message="The scan was removed.")))
        == "The scan was removed."
    )


def test_rows_and_the_table_for_a_spreadsheet():
    assert row_texts("Left", 0.004, None) == ("Left", "0.00", "–")
    assert (
        table_text(ROWS)
        == "Structure\tVolume (mL)\tMean confidence\nLeft\t1.53\t0.91\nRight\t0.05\t–\n"
    )


def test_restore_is_there_when_something_was_overwritten():
    assert not widget_properties(replace(READY, result="x"), "restoreButton").enabled
    assert widget_properties(replace(READY, result="x", can_restore=True), "restoreButton").enabled
    busy = widget_properties(
        replace(READY, result="x", can_restore=True, state="running"), "restoreButton"
    )
    assert not busy.enabled
    assert "Wait" in busy.toolTip


def test_a_result_without_a_table_still_has_its_buttons():
    panel = replace(READY, result="from a saved scene")
    assert widget_properties(panel, "resultWidget").visible
    assert not widget_properties(panel, "resultTable").visible
    assert not widget_properties(panel, "copyTableButton").enabled
    assert not widget_properties(Panel(), "resultWidget").visible


def test_the_overlay_says_when_a_run_is_needed():
    assert (
        "once more"
        in widget_properties(replace(READY, rows=ROWS, mapped=False), "uncertaintyCheckBox").toolTip
    )
    assert (
        "once more"
        not in widget_properties(
            replace(READY, rows=ROWS, mapped=True), "uncertaintyCheckBox"
        ).toolTip
    )


@pytest.mark.parametrize(
    "task, button, other, status",
    [
        ("segment", "segmentButton", "trainButton", "statusLabel"),
        ("train", "trainButton", "segmentButton", "trainStatusLabel"),
    ],
)
def test_consent_comes_before_an_installation(task, button, other, status):
    panel = replace(
        READY,
        task=task,
        state="needs_packages",
        packages=("PyTorch (200 MB)", "safetensors (1 MB)"),
        pairs=(("a", "b"), ("c", "d")),
        train_name="mine",
    )
    assert "– PyTorch (200 MB)<br>– safetensors (1 MB)<br>" in widget_properties(panel, status).text
    assert MARK_COLOURS["ask"] in widget_properties(panel, status).text
    assert widget_properties(panel, button).text.startswith("Install and ")
    assert not widget_properties(panel, other).text.startswith("Install")
    shown = [
        widget_properties(panel, name).visible for name in ("notNowButton", "trainNotNowButton")
    ]
    assert shown == [task == "segment", task == "train"]
    installing = replace(panel, state="installing")
    assert widget_properties(installing, button).text == "Installing..."
    assert not widget_properties(installing, button).enabled
    bar = "progressBar" if task == "segment" else "trainProgressBar"
    assert view(installing).widgets[bar]["maximum"] == 0
    assert view(READY).widgets[bar]["maximum"] == 100
