"""The selectors of a model that takes several images of one patient."""

import shutil
from dataclasses import replace

import numpy as np
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


@pytest.fixture
def both(module):
    """A volume of two values in each voxel, as Slicer loads a file of two images."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "both")
    slicer.util.updateVolumeFromArray(node, np.arange(2 * 4**3, dtype=np.int16).reshape(4, 4, 4, 2))
    return node


def test_a_volume_that_holds_all_images_is_chosen_once(panel, logic, both, picture):
    panel.ui.inputVolumeSelector.setCurrentNode(both)
    assert panel.parameters.inputVolume is both
    assert not panel.ui.imagesLabel.visible
    panel.ui.modelList.setCurrentRow(3)
    assert shown(panel) == [False] * 3
    assert "1 ct (CT in HU), 2 pet (PET in SUV)" in panel.ui.imagesLabel.text
    picture(panel, "all-images-in-one")
    press(panel.ui.segmentButton)
    assert logic.calls[-1][1] is both
    assert "furtherNodes" not in logic.calls[-1][2]


def sequence_of(count):
    """(sequence, the node that shows it)"""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "frames")
    for n in range(count):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, np.arange(8, dtype=np.int16).reshape(2, 2, 2))
        sequence.SetDataNodeAtValue(volume, str(n))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser.GetProxyNode(sequence)


def test_where_its_sequence_is_deleted_the_shown_image_is_one(panel, module):
    sequence, panel.parameters.inputVolume = sequence_of(2)
    panel.ui.modelList.setCurrentRow(3)
    assert panel.ui.segmentButton.enabled
    slicer.mrmlScene.RemoveNode(sequence)
    assert shown(panel) == [True, False, False]
    assert "Choose the image pet" in panel.ui.segmentButton.toolTip


@pytest.mark.parametrize("count", [2, 3])
def test_a_sequence_holds_all_images_or_the_panel_says_what_to_do(panel, logic, module, count):
    _, panel.parameters.inputVolume = sequence_of(count)
    panel.ui.modelList.setCurrentRow(3)
    assert panel.ui.segmentButton.enabled is (count == 2)
    assert panel.ui.imagesLabel.visible is (count == 2)
    if count == 3:
        assert "holds 3 images, and the model takes 2" in panel.ui.segmentButton.toolTip
    panel.ui.wholeSequenceCheckBox.checked = False  # the image that is shown, and another one
    assert shown(panel) == [True, False, False]
    assert "Choose the image pet" in panel.ui.segmentButton.toolTip


def test_two_images_may_share_a_name(panel, scan, pet):
    panel.ui.modelList.setCurrentRow(3)
    pet.SetName(scan.GetName())
    panel.parameters.secondImage = pet
    assert panel.ui.segmentButton.enabled


def test_what_another_model_had_besides_is_not_chosen_twice(panel, scan, pet):
    panel.ui.modelList.setCurrentRow(3)
    panel.parameters.secondImage = pet
    panel.parameters.thirdImage = pet  # of a model of three images
    assert panel.ui.segmentButton.enabled
