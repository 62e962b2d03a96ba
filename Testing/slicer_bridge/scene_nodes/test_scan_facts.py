"""What a scan in the scene says of itself: for the suggestion of a model."""

import types

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.slicer_bridge.scene.scan_facts import scan_facts

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 1000
SPACING = np.diag([-0.5, 2.0, 10.0, 1.0])


def test_sizes_are_along_k_j_and_i(add_volume):
    facts = scan_facts(add_volume(ARRAY, SPACING, "CTChest"))
    assert facts.name == "CTChest"
    assert facts.spacing_mm == (10.0, 2.0, 0.5)
    assert facts.size_mm == (20.0, 6.0, 2.0)
    assert facts.lowest == -1000
    assert (facts.modality, facts.descriptions, facts.is_series) == ("", (), False)


def test_what_dicom_says_is_read_from_hierarchy_and_database(scene, add_volume, monkeypatch):
    node, hierarchy = add_volume(ARRAY), scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(
        hierarchy.GetSceneItemID(), node
    )
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    tags = {("1.2.3", "0008,103E"): "Cine SAX", ("1.2.3", "0018,0015"): "HEART"}
    database = types.SimpleNamespace(instanceValue=lambda uid, tag: tags.get((uid, tag), ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    facts = scan_facts(node)
    assert facts.modality == "MR"
    assert facts.words >= {"cine", "sax", "heart"}


def test_a_flat_image_and_a_node_without_voxels_say_nothing(scene, add_volume):
    assert scan_facts(None) is None
    assert scan_facts(add_volume(ARRAY[:1])) is None
    assert scan_facts(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")) is None
