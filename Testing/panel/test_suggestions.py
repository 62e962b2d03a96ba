"""A model is suggested for the chosen scan, and the user's own choice stays."""

import numpy as np
import pytest

from Testing.panel.steps import press, start

BY_HAND = 1  # the row of heart-cine


@pytest.fixture
def load(module):
    """load(name) -> a scan, as large as a head."""
    import slicer

    def make(name, lowest=0):
        array = np.full((14, 16, 15), lowest, np.int16)
        array[5] = 100
        node = slicer.util.addVolumeFromArray(array, name=name)
        node.SetSpacing(12.0, 12.0, 12.0)
        return node

    return make


def choose(panel, scan):
    panel.ui.inputVolumeSelector.setCurrentNode(scan)


def test_the_model_that_suits_the_first_scan_is_chosen_and_the_sentence_says_why(
    panel, load, picture
):
    load("Cardiac cine")
    assert panel.parameters.model == "heart-cine"
    assert panel.ui.modelList.currentRow == BY_HAND
    text = panel.ui.suggestionLabel.text
    assert "Heart in cine MRI suits Cardiac cine: its name says MR, cine and heart" in text
    assert not panel.ui.suggestionButton.visible
    picture(panel, "suggestion")


def test_it_follows_the_scan(panel, load):
    head, heart, body = load("MRHead"), load("Cardiac cine"), load("CTChest", -1024)
    assert panel.parameters.model == "hippocampus-t1"
    for scan, model in ((heart, "heart-cine"), (body, "body-ct"), (head, "hippocampus-t1")):
        choose(panel, scan)
        assert panel.parameters.model == model


def test_a_choice_of_the_users_own_stays_and_the_other_is_offered(panel, load, picture):
    panel.ui.modelList.setCurrentRow(BY_HAND)
    load("MRHead")
    assert panel.parameters.model == "heart-cine"
    assert "Hippocampus" in panel.ui.suggestionLabel.text
    picture(panel, "suggestion-offered")
    press(panel.ui.suggestionButton)
    assert panel.parameters.model == "hippocampus-t1"
    assert not panel.ui.suggestionButton.visible
    choose(panel, load("Cardiac cine"))  # it was the user's choice, too
    assert panel.parameters.model == "hippocampus-t1"
    assert panel.ui.suggestionButton.visible


def test_a_model_that_a_script_has_set_stays(panel, load):
    panel.parameters.model = "body-ct"
    load("MRHead")
    assert panel.parameters.model == "body-ct"


def test_choices_that_come_with_a_scene_or_were_shown_before_stay(panel, load):
    head, heart = load("MRHead"), load("Cardiac cine")
    panel.exit()
    saved = panel.logic.getParameterNode()
    saved.inputVolume, saved.model = heart, "hippocampus-t1"  # as a scene of 0.3 holds them
    panel.enter()
    assert panel.parameters.model == "hippocampus-t1"
    assert "Heart" in panel.ui.suggestionLabel.text
    choose(panel, head)
    choose(panel, heart)
    assert panel.parameters.model == "heart-cine"


def test_nothing_changes_during_a_run(panel, logic, load):
    load("MRHead")
    start(panel, logic)
    choose(panel, load("Cardiac cine"))
    assert panel.parameters.model == "hippocampus-t1"
    assert panel.ui.suggestionButton.visible


def test_a_scan_that_says_nothing_of_itself_gets_no_suggestion(panel, scan, load):
    import slicer

    load("MRHead")
    choose(panel, load("scan of today"))
    assert not panel.ui.suggestionLabel.visible
    slicer.mrmlScene.Clear(0)
    assert not panel.ui.suggestionLabel.visible


def test_a_scan_that_the_chosen_model_was_not_trained_on_is_named(panel, load):
    panel.ui.modelList.setCurrentRow(0)
    load("FLAIR of the knee")
    assert "seems to be" in panel.ui.suggestionLabel.text
    assert not panel.ui.suggestionButton.visible


def test_another_scene_is_judged_anew(panel, load):
    import slicer

    load("Cardiac cine")
    slicer.mrmlScene.Clear(0)
    load("MRHead")
    assert panel.parameters.model == "hippocampus-t1"
    assert "MRHead" in panel.ui.suggestionLabel.text
