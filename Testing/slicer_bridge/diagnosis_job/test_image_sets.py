"""Which images a node stands for: slices, sequences, channels."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib import UserError, Volume, diagnose
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.registry.user_models import import_model
from Testing.helpers.diagnosis_jobs import (
    assert_same_diagnosis,
    ijk_matrix,
    load_as_slicer,
    table_columns,
)
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.tiny_classifier import tiny_network, write_tiny
from Testing.slicer_bridge.stand_in import OBLIQUE


def test_a_scan_in_slices(logic, bundles, add_volume):
    array = np.random.default_rng(1).normal(0, 300, (6, 40, 30)).astype(np.float32)
    scan = add_volume(array, OBLIQUE, "scan")
    assert_same_diagnosis(
        *logic.diagnose(scan, bundles["slices"], device="cpu"),
        diagnose(Volume(array, OBLIQUE, "scan"), bundles["slices"], device="cpu"),
    )
    with pytest.raises(UserError, match=r"one image.*sequence"):
        logic.diagnose(scan, bundles["frames"], device="cpu")


@pytest.fixture
def cine(scene):
    """(sequence, its browser, the frames' arrays)"""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    arrays = [
        np.random.default_rng(n).normal(100, 20, (4, 36, 30)).astype(np.float32) for n in range(3)
    ]
    for n, array in enumerate(arrays):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, array)
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE))
        sequence.SetDataNodeAtValue(volume, str(n))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser, arrays


@pytest.mark.parametrize("by", ["sequence", "image that is shown"])
def test_a_sequence_is_diagnosed_as_a_whole(logic, client, bundles, cine, add_transform, by):
    sequence, browser, arrays = cine
    proxy = browser.GetProxyNode(sequence)
    proxy.SetAndObserveTransformNodeID(add_transform(OBLIQUE).GetID())
    table, heat = logic.diagnose(
        sequence if by == "sequence" else proxy, bundles["frames"], device="cpu"
    )
    wanted = diagnose(
        [Volume(array, OBLIQUE @ OBLIQUE, f"t{n}") for n, array in enumerate(arrays)],
        bundles["frames"],
        device="cpu",
    )
    assert_same_diagnosis(table, heat, wanted)
    assert len(client.requests[0][1]["volumes"]) == 3
    assert heat.GetTransformNodeID() == proxy.GetTransformNodeID()
    assert np.isnan(table_columns(table)["threshold"]).all()
    assert sum(table_columns(table)["positive"]) == 1
    assert table.GetName() == "cine diagnosis"


def test_the_shown_image_of_a_sequence_by_itself_and_several_nodes_together(
    logic, bundles, cine, add_volume
):
    sequence, browser, arrays = cine
    proxy = browser.GetProxyNode(sequence)
    assert_same_diagnosis(
        *logic.diagnose(proxy, bundles["slices"], device="cpu"),
        diagnose(Volume(arrays[0], OBLIQUE), bundles["slices"], device="cpu"),
    )
    with pytest.raises(UserError, match="is a sequence"):
        logic.diagnose(sequence, bundles["slices"], device="cpu")
    frames = [add_volume(array, OBLIQUE, f"phase {n}") for n, array in enumerate(arrays)]
    wanted = diagnose([Volume(array, OBLIQUE) for array in arrays], bundles["frames"], device="cpu")
    assert_same_diagnosis(*logic.diagnose(frames, bundles["frames"], device="cpu"), wanted)


def test_what_can_be_chosen_is_classifiers_alone(logic, bundles):
    shipped = {choice.entry.id for choice in logic.classifiers()}
    import_model(bundles["flat"])
    found = {choice.entry.id: choice for choice in logic.classifiers()}
    assert set(found) - shipped == {"tiny"}
    assert found["tiny"].entry.classes == (
        "no finding",
        "pneumonia",
    )
    assert "tiny" not in {choice.entry.id for choice in logic.models()}


def test_channels_are_nodes_in_order_and_a_missing_one_is_none(
    scene, logic, client, add_volume, pixels, tmp_path
):
    """Each is read from its file where it has one; the panel gives the first channel alone."""
    asked = InputConfig(modalities=("PT",), body_part="", views=(), channels={"ct": ("CT",)})
    bundle = write_tiny(
        tmp_path / "pet-ct",
        tiny_network(kind="fusion", channels=2, record=None),
        id="pet-ct",
        input=asked,
    )
    files = [
        write_dicom(
            tmp_path / f"{modality}.dcm",
            pixels,
            Modality=modality,
            WindowCenter=2000,
            WindowWidth=width,
        )
        for modality, width in (("PT", 3000), ("CT", 900))
    ]
    pet, ct = (load_as_slicer(path, path.stem) for path in files)
    assert_same_diagnosis(
        *logic.diagnose([pet, ct], bundle, device="cpu"), diagnose(files, bundle, device="cpu")
    )
    assert client.requests[-1][1]["volumes"] == [str(path) for path in files]
    table, heat = logic.diagnose(pet, bundle, device="cpu")
    assert "1 of the model's 2 channels are missing (ct)." in table.GetDescription()
    assert heat is not None
    table, heat = logic.diagnose([None, ct], bundle, device="cpu")
    wanted = diagnose([None, files[1]], bundle, device="cpu")
    assert heat is None
    assert table_columns(table)["probability"] == pytest.approx(
        list(wanted.probabilities.values()), abs=1e-6
    )
    drawn = add_volume(
        (pixels.astype(np.int16) - 1024)[None],
        slicer.util.arrayFromVTKMatrix(ijk_matrix(pet)),
        "no file of its own",
    )
    hierarchy = scene.GetSubjectHierarchyNode()
    hierarchy.SetItemAttribute(
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), drawn), "DICOM.Modality", "CT"
    )
    wanted = diagnose(
        [
            files[0],
            Volume(
                (pixels.astype(np.int16) - 1024)[None],
                slicer.util.arrayFromVTKMatrix(ijk_matrix(drawn)),
                "ct",
            ),
        ],
        bundle,
        device="cpu",
    )
    assert table_columns(logic.diagnose([pet, drawn], bundle, device="cpu")[0])[
        "probability"
    ] == pytest.approx(list(wanted.probabilities.values()), abs=1e-6)
    for nodes_, words in (
        ([drawn, pet], "is a CT image"),
        ([pet, pet], "as its channel ct"),
        ([None, None], "No image is selected"),
        ([pet, ct, ct], "3 images"),
    ):
        with pytest.raises(UserError, match=words):
            logic.diagnose(nodes_, bundle, device="cpu")
