"""What the panel's section Train shows."""

from dataclasses import replace

import pytest

from MedLLMSegLib.slicer_bridge.presenter.panel_texts import MARK_COLOURS
from MedLLMSegLib.slicer_bridge.presenter.train_view import history_text, with_training
from MedLLMSegLib.slicer_bridge.presenter.view import view
from Testing.helpers.panel_states import (
    BUSY,
    READY,
    TRAINABLE,
    ended_job,
    shown_text,
    widget_properties,
)


@pytest.mark.parametrize(
    "missing, says",
    [
        (dict(pairs=(("a", "b"),)), "at least 2 pairs"),
        (dict(train_name=" . "), "name"),
        (dict(train_name="Hippocampus T1"), "already"),
        (dict(state="running"), "being segmented"),
    ],
)
def test_what_a_training_needs(missing, says):
    button = widget_properties(replace(TRAINABLE, **missing), "trainButton")
    assert not button.enabled
    assert says in button.toolTip
    assert widget_properties(TRAINABLE, "trainButton").enabled


def test_a_training_as_it_goes():
    history = (
        {"step": 40, "loss": 0.52341},
        {"step": 40, "val_dice": 0.81},
        {"step": 80, "loss": 0.31},
        {"step": 80, "val_dice": 0.79},
    )
    panel = replace(
        TRAINABLE,
        state="running",
        task="train",
        pair_chosen=True,
        stage="step 80 of 400, 2:10 left, loss 0.310",
        fraction=0.2,
        seconds_left=130,
        history=history,
    )
    text = "Step 80 of 400, about 2 min left, loss 0.310, validation Dice 0.790, best 0.810"
    assert shown_text(panel, "trainStatusLabel") == text
    assert shown_text(panel) == ""
    assert widget_properties(panel, "trainButton").text == "Cancel"
    assert not widget_properties(panel, "addPairButton").enabled
    assert widget_properties(panel, "curveButton").enabled
    assert not widget_properties(TRAINABLE, "curveButton").enabled
    assert view(panel).widgets["trainProgressBar"]["value"] == 20
    assert not widget_properties(panel, "progressBar").visible
    done = with_training(panel, ended_job("done"))
    assert "is ready" in shown_text(done, "trainStatusLabel")
    assert "best 0.810" in shown_text(done, "trainStatusLabel")
    failed = with_training(panel, ended_job("failed", message="The pairs differ."))
    assert shown_text(failed, "trainStatusLabel").startswith("The pairs differ")
    assert MARK_COLOURS["failed"] in widget_properties(failed, "trainStatusLabel").text
    assert "no model was made" in shown_text(
        with_training(replace(panel, history=()), ended_job("cancelled")), "trainStatusLabel"
    )
    later = shown_text(
        with_training(replace(panel, history=()), ended_job("cancelled", kept="/c/trainings/x")),
        "trainStatusLabel",
    )
    assert "no model was made" in later
    assert "goes on from where it was last saved" in later
    assert "goes on" not in shown_text(
        with_training(panel, ended_job("cancelled")), "trainStatusLabel"
    )
    assert 'copies of the scans are kept in "/c/trainings/x"' in later
    dead = shown_text(
        with_training(
            panel, ended_job("failed", message="The worker stopped.", kept="/c/trainings/x")
        ),
        "trainStatusLabel",
    )
    assert dead.startswith("The worker stopped. With the same")
    assert '"/c/trainings/x"' in dead
    assert history_text(()) == ""


def test_what_is_kept_of_trainings_can_be_discarded_when_nothing_runs():
    kept = replace(TRAINABLE, unfinished=("x", "y"))
    assert widget_properties(kept, "discardButton").visible
    assert "x, y" in widget_properties(kept, "discardButton").toolTip
    for panel in (
        TRAINABLE,
        *(replace(kept, task="train", state=state) for state in (*BUSY, "needs_licence")),
    ):
        assert not widget_properties(panel, "discardButton").visible


def test_a_training_that_was_broken_off_says_how_it_goes_on():
    kept = replace(TRAINABLE, unfinished=("x", "y"), broken_off=("x",))
    text = widget_properties(kept, "trainStatusLabel").text
    assert "saved: x." in text
    assert "Go on continues x from there" in text
    assert "copies of the scans" in text
    later = replace(kept, train_message="The training failed.")
    assert "saved: x." not in widget_properties(later, "trainStatusLabel").text


def test_it_can_go_on_when_nothing_runs_and_nothing_else_is_asked():
    kept = replace(TRAINABLE, unfinished=("x", "y"), broken_off=("x", "y"))
    assert widget_properties(kept, "goOnButton").visible
    assert "Train x on" in widget_properties(kept, "goOnButton").toolTip
    assert not widget_properties(TRAINABLE, "goOnButton").visible
    for state in (*BUSY, "needs_licence", "needs_packages"):  # asked for a new training
        asks = replace(kept, task="train", state=state)
        assert not widget_properties(asks, "goOnButton").visible
    asks = replace(kept, task="train", state="needs_licence", going_on="x")
    assert widget_properties(asks, "goOnButton").text == "Accept and go on"


def test_a_training_can_start_from_every_model_or_nothing():
    assert [row[0] for row in view(READY).starts] == ["hippocampus-t1", None]


def test_a_model_that_own_cases_cannot_train_is_no_start():
    sided = replace(READY.models[0], entry=replace(READY.models[0].entry, id="x", fine_tunes=False))
    panel = replace(READY, models=(sided, *READY.models))
    assert view(panel).starts == view(READY).starts
