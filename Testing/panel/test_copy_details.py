"""Copy details, with a patient's name planted wherever Slicer may keep one."""

import numpy as np
import pytest

from MedLLMSegLib import UserError
from Testing.panel.steps import press, start

SECRETS = ("quintessa", "vanderzee", "hv-70331", "19500102", "1.2.826.0.1.3680043.8.498.77")


@pytest.fixture
def patient(module, tmp_path):
    """A scan of a patient, from a file, in a study with DICOM's values."""
    import slicer

    node = slicer.util.addVolumeFromArray(
        np.random.default_rng(0).normal(100, 20, (8, 9, 10)), name="Quintessa brain"
    )
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "HV-70331 Vanderzee" / "brain.nii.gz"))
    node.SetAndObserveStorageNodeID(storage.GetID())
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    person = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Vanderzee, Q (HV-70331)")
    hierarchy.SetItemAttribute(person, "DICOM.PatientName", "VANDERZEE^QUINTESSA")
    hierarchy.SetItemAttribute(person, "DICOM.PatientBirthDate", "19500102")
    hierarchy.SetItemUID(person, "DICOM", "1.2.826.0.1.3680043.8.498.77")
    return node


LEAKING = (
    'Nothing was found in "Quintessa brain".',
    "The scan of Quintessa, HV-70331, is upside down.",
    "VANDERZEE^QUINTESSA was born on 19500102, see 1.2.826.0.1.3680043.8.498.77.",
    "/tmp/HV-70331 Vanderzee/brain.nii.gz cannot be read.",
)


@pytest.mark.parametrize("sentence", LEAKING)
@pytest.mark.parametrize("late", [True, False])
def test_the_copied_error_names_no_patient(panel, logic, patient, said, picture, sentence, late):
    if late:
        details = f"Traceback (most recent call last):\nValueError: {sentence}"
        start(panel, logic).end("failed", message=sentence, details=details)
    else:
        logic.error = UserError(sentence) if sentence.startswith("N") else ValueError(sentence)
        press(panel.ui.segmentButton)
    assert sentence in panel.panel.message  # the user reads the whole of it
    picture(panel, "copy-details")
    press(panel.ui.copyDetailsButton)
    text = said["copied"][-1]
    for secret in SECRETS:
        assert secret not in text.lower()
    assert "hippocampus-t1" in text
    assert "[removed]" in text


def test_a_name_is_left_out_though_its_node_is_gone_by_then(panel, logic, patient, said):
    import slicer

    start(panel, logic).end("failed", message="Quintessa is upside down.", details="")
    slicer.mrmlScene.RemoveNode(patient)
    press(panel.ui.copyDetailsButton)
    assert "[removed] is upside down." in said["copied"][-1]


def test_the_button_goes_with_the_next_run(panel, logic, patient):
    start(panel, logic).end("failed", message="It broke.", details="")
    assert panel.ui.copyDetailsButton.visible
    start(panel, logic)
    assert not panel.ui.copyDetailsButton.visible


def test_a_failure_of_another_section_is_copied_there(panel, said, tmp_path):
    panel.ui.modelsCollapsibleButton.collapsed, said["path"] = False, str(tmp_path / "Quintessa")
    panel.ui.importModelButton.click()
    press(panel.ui.modelsCopyDetailsButton)
    assert "task" in said["copied"][-1]
    assert "quintessa" not in said["copied"][-1].lower()
    assert not panel.ui.copyDetailsButton.visible
