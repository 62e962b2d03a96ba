"""Fixtures of the tests of diagnose."""

import numpy as np
import pytest

from Testing.helpers.panel_diagnoses import classifier_choice


@pytest.fixture
def image(module):
    import slicer

    return slicer.util.addVolumeFromArray(
        np.random.default_rng(0).integers(0, 4000, (1, 40, 30)).astype(np.int16), name="chest PA"
    )


@pytest.fixture
def panel(logic, make_panel, image):
    """With two classifiers and the image chosen, and the section open."""
    logic.diagnosers = (classifier_choice(), classifier_choice("silicosis", ask=True))
    panel = make_panel()
    panel.ui.diagnoseCollapsibleButton.collapsed = False
    panel.ui.diagnoseImageSelector.setCurrentNode(image)
    return panel


@pytest.fixture
def answer(module):
    """answer(image) -> a table node with a heat map's volume node."""
    import slicer

    from MedLLMSegLib.slicer_bridge.scene.map_roles import HEAT_MAP
    from MedLLMSegLib.slicer_bridge.scene.overlay import map_node, name_map

    def make(volume):
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "chest PA diagnosis")
        heat = slicer.mrmlScene.AddNode(map_node(np.ones((1, 40, 30), np.float32), volume))
        name_map(table, heat, HEAT_MAP)
        return table

    return make
