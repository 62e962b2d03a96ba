"""The selectors of a model that takes several images of one patient."""

import shutil
from dataclasses import replace

import pytest
import slicer

from MedLLMSegLib.registry.catalogue import model_entry
from Testing.helpers.two_channels import two_channel_bundle
from Testing.panel.steps import press, start


@pytest.fixture
def petct(logic, tmp_path):
    """A model of a CT and a PET comes last in the list."""
    entry = model_entry(two_channel_bundle(tmp_path / "petct"))
    logic.choices = (*logic.choices, replace(logic.choices[0], entry=entry))
    yield entry
    shutil.rmtree(tmp_path / "petct")


@pytest.fixture
def panel(petct, make_panel):
    return make_panel()


@pytest.fixture
def pet(slicer_scene):
    return slicer_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "FDG")


def shown(panel):
    return [
        getattr(panel.ui, f"{name}ImageSelector").visible for name in ("second", "third", "fourth")
    ]


def test_they_are_shown_for_such_a_model_alone(panel, scan, picture):
    assert shown(panel) == [False] * 3
    panel.ui.modelList.setCurrentRow(3)
    assert shown(panel) == [True, False, False]
    assert panel.ui.secondImageLabel.visible
    assert panel.ui.secondImageLabel.text == "pet:"
    assert "pet (PET in SUV)" in panel.ui.secondImageLabel.toolTip
    picture(panel, "further-images")
    panel.ui.modelList.setCurrentRow(0)
    assert shown(panel) == [False] * 3


def test_the_button_waits_for_every_image(panel, scan, pet):
    panel.ui.modelList.setCurrentRow(3)
    assert not panel.ui.segmentButton.enabled
    assert "Choose the image pet (PET in SUV)." in panel.ui.segmentButton.toolTip
    panel.parameters.secondImage = panel.parameters.inputVolume
    assert "is chosen twice" in panel.ui.segmentButton.toolTip
    panel.parameters.secondImage = pet
    assert panel.ui.segmentButton.enabled
    panel.parameters.allScans = True
    assert "untick all scans" in panel.ui.segmentButton.toolTip


def test_they_reach_the_logic(panel, logic, scan, pet):
    panel.parameters.secondImage = pet
    start(panel, logic).end("cancelled")
    panel.ui.modelList.setCurrentRow(3)
    press(panel.ui.segmentButton)
    assert [call[2].get("furtherNodes") for call in logic.calls] == [None, (pet,)]


def test_an_image_that_leaves_the_scene_is_chosen_no_more(panel, scan, pet):
    panel.ui.modelList.setCurrentRow(3)
    panel.parameters.secondImage = pet
    slicer.mrmlScene.RemoveNode(pet)
    assert panel.parameters.secondImage is None
    assert "Choose the image pet (PET in SUV)." in panel.ui.segmentButton.toolTip
