"""Slicer's real core (MRML, Segmentations, Terminologies, subject hierarchy) without its desktop.

The PyPI package `slicer-core` brings it; without it the tests of nodes and logic are skipped, and
say so.
"""

import gc
import importlib.util

import numpy as np
import pytest

from Testing.helpers.empty_scene import empty_scene

if importlib.util.find_spec("slicer_core"):
    import slicer
    import slicer.util
else:
    slicer = None


@pytest.fixture
def scene(slicer_scene):
    """The session's scene, empty after each test. `slicer_scene` is of Testing/conftest.py."""
    _refresh_hierarchy(slicer_scene)
    yield slicer_scene
    empty_scene(slicer_scene)


def _refresh_hierarchy(scene):
    """A test's traceback may keep the hierarchy of its scene alive, and the scene goes on to name
    it after `Clear`, though it no longer holds it. Then that one is put back, empty.
    """
    if not scene.IsNodePresent(scene.GetSubjectHierarchyNode()):
        gc.collect()
    hierarchy = scene.GetSubjectHierarchyNode()
    if not scene.IsNodePresent(hierarchy):
        scene.AddNode(hierarchy)
    assert scene.IsNodePresent(scene.GetSubjectHierarchyNode())


@pytest.fixture
def add_volume(scene):
    """add_volume(array [k, j, i], ijk_to_ras (4, 4), name) -> vtkMRMLScalarVolumeNode"""

    def add(array, ijk_to_ras=None, name="MRHead"):
        return slicer.util.addVolumeFromArray(np.asarray(array), ijkToRAS=ijk_to_ras, name=name)

    return add


@pytest.fixture
def add_transform(scene):
    """add_transform(matrix (4, 4) to parent, parent=None) -> vtkMRMLLinearTransformNode"""

    def add(matrix, parent=None):
        node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "transform")
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
        if parent:
            node.SetAndObserveTransformNodeID(parent.GetID())
        return node

    return add
