"""What the numbers of a node measure: by its own unit, or by the DICOM files that it came from."""

import types

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.volume import Quantity
from MedLLMSegLib.slicer_bridge.scene.node_quantity import measured_volume
from Testing.helpers.dicom_pet import FACTOR, write_pet

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


@pytest.fixture
def node(scene, add_volume):
    """node(modality) -> a volume node that the subject hierarchy says to be one."""

    def make(modality):
        made, hierarchy = add_volume(ARRAY), scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(made) or hierarchy.CreateItem(
            hierarchy.GetSceneItemID(), made
        )
        hierarchy.SetItemAttribute(item, "DICOM.Modality", modality)
        return made

    return make


def test_a_ct_is_in_hounsfield_units_and_an_unknown_image_in_nothing(node, add_volume):
    assert measured_volume(node("CT")).quantity == Quantity("CT", "HU")
    assert measured_volume(add_volume(ARRAY)).quantity == Quantity()
    assert measured_volume(node("MR")).quantity == Quantity("MR")


def test_a_pet_that_nothing_is_known_of(node):
    assert measured_volume(node("PT")).quantity == Quantity("PT")


def test_the_files_of_a_pet_give_its_factor(node, tmp_path, monkeypatch):
    folder = write_pet(tmp_path / "pet")
    pet = node("PT")
    pet.SetAttribute("DICOM.instanceUIDs", "0 1 2")
    database = types.SimpleNamespace(fileForInstance=lambda uid: str(folder / f"{uid}.dcm"))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    quantity = measured_volume(pet).quantity
    assert (quantity.unit, quantity.suv_factor) == ("BQML", pytest.approx(FACTOR))
    (folder / "1.dcm").unlink()
    assert measured_volume(pet).quantity == Quantity("PT")
