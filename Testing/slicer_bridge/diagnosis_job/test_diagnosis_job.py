"""From an image's node to a table and a heat map, by a tiny classifier of the library."""

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer
from PIL import Image

from MedLLMSegLib import UserError, Volume, diagnose
from MedLLMSegLib.slicer_bridge.scene import flat_images as images
from MedLLMSegLib.slicer_bridge.scene.map_colours import map_colours
from MedLLMSegLib.slicer_bridge.scene.map_layer import layer_of
from MedLLMSegLib.slicer_bridge.scene.map_roles import is_map
from MedLLMSegLib.slicer_bridge.scene.overlay import heat_map_of
from Testing.helpers.diagnosis_jobs import (
    assert_same_diagnosis,
    ijk_matrix,
    load_as_slicer,
    table_columns,
)
from Testing.helpers.dicom_writer import write_dicom
from Testing.slicer_bridge.stand_in import OBLIQUE


def test_a_table_and_a_heat_map_on_the_images_grid(
    scene, logic, client, flat, bundles, pixels, add_transform
):
    flat.SetAndObserveTransformNodeID(add_transform(OBLIQUE).GetID())
    seen = []
    table, heat = logic.diagnose(
        flat, bundles["flat"], lambda *step: seen.append(step[0]), device="cpu"
    )
    volume = Volume(
        pixels[None], OBLIQUE @ slicer.util.arrayFromVTKMatrix(ijk_matrix(flat)), "chest"
    )
    wanted = diagnose(volume, bundles["flat"], device="cpu")
    assert_same_diagnosis(table, heat, wanted)
    got = table_columns(table)
    assert list(got) == ["class", "probability", "threshold", "positive", "confidence"]
    assert np.isnan(got["threshold"][0])
    assert got["threshold"][1] == pytest.approx(0.4)
    assert got["positive"] == [float(name == wanted.answer) for name in got["class"]]
    assert got["confidence"] == pytest.approx([wanted.confidence] * 2)
    assert (table.GetName(), heat.GetName()) == ("chest diagnosis", "chest heat map")
    assert "not a medical device" in table.GetDescription()
    assert table.GetAttribute("MedLLMSeg.model") == "tiny"
    assert heat.GetTransformNodeID() == flat.GetTransformNodeID()
    assert "load" in seen
    assert "write" in seen
    np.testing.assert_array_equal(
        slicer.util.arrayFromVTKMatrix(ijk_matrix(heat)),
        slicer.util.arrayFromVTKMatrix(ijk_matrix(flat)),
    )


def test_the_heat_map_is_a_colour_overlay_beside_the_image(scene, logic, flat, bundles):
    hierarchy = scene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, flat)
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    table, heat = logic.diagnose(flat, bundles["flat"], device="cpu")
    assert [
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (table, heat)
    ] == [study, study]
    assert heat_map_of(table) is heat
    assert is_map(heat)
    assert not is_map(flat)
    assert heat.GetDisplayNode().GetColorNodeID() == map_colours(scene)
    assert logic.showHeatMap(table, flat) is heat
    assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (
        flat.GetID(),
        layer_of(heat).GetID(),
    )
    logic.showHeatMap(table, show=False)
    assert view.GetForegroundVolumeID() is None
    assert view.GetBackgroundVolumeID() == flat.GetID()
    scene.RemoveNode(heat)
    with pytest.raises(UserError, match="no heat map"):
        logic.showHeatMap(table)
    assert logic.diagnose(flat, bundles["flat"], device="cpu", heatMap=False)[1] is None


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_dicom_image_is_read_from_its_file(
    scene, logic, client, bundles, pixels, tmp_path, photometric
):
    """Windows count in the stored values, which Slicer's voxels of a MONOCHROME1 image are not."""
    path = write_dicom(
        tmp_path / "chest.dcm",
        pixels,
        PhotometricInterpretation=photometric,
        WindowCenter=[2000, 900],
        WindowWidth=[3000, 700],
        ViewPosition="LL",
    )
    node = load_as_slicer(path)
    table, heat = logic.diagnose(node, bundles["flat"], device="cpu", window=2)
    assert client.requests[0][1]["image"] == str(path)
    wanted = diagnose(path, bundles["flat"], device="cpu", window=2)
    assert_same_diagnosis(table, heat, wanted)
    assert "lateral" in table.GetDescription()
    file = np.squeeze(slicer.util.arrayFromVolume(node)).astype(float)
    assert (
        abs(np.corrcoef(file.ravel(), pixels.ravel())[0, 1]) > 0.999
    )  # the heat map's rows and columns are the node's


def test_a_dicom_image_without_a_file_of_its_own_is_found_in_the_database(
    logic, client, bundles, pixels, tmp_path, monkeypatch, flat
):
    path = write_dicom(tmp_path / "chest.dcm", pixels, WindowCenter=2000, WindowWidth=3000)
    database = type(
        "Database", (), {"fileForInstance": lambda self, uid: str(path) if uid == "1.2.3" else ""}
    )()
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    flat.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    logic.diagnose(flat, bundles["flat"], device="cpu")
    flat.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")  # a stack of two is no single file
    logic.diagnose(flat, bundles["flat"], device="cpu")
    assert [request.get("image") for _, request in client.requests] == [str(path), None]


def test_a_picture_is_read_from_its_file_unless_it_was_changed(
    logic, client, bundles, add_volume, pixels, tmp_path
):
    path, array = tmp_path / "chest.png", (pixels / 16).astype(np.uint8)
    Image.fromarray(array).save(path)
    node = add_volume(array[None], name="chest")  # slicer-core cannot read PNG
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "chest.nrrd"))
    assert node.GetStorageNode().WriteData(node)
    node.GetStorageNode().SetFileName(str(path))
    assert_same_diagnosis(
        *logic.diagnose(node, bundles["flat"], device="cpu"),
        diagnose(path, bundles["flat"], device="cpu"),
    )
    slicer.util.updateVolumeFromArray(node, 255 - array[None])
    logic.diagnose(node, bundles["flat"], device="cpu")
    assert ["image" in request for _, request in client.requests] == [True, False]


def test_a_grey_picture_that_slicer_loads_in_colours(scene, logic, bundles, pixels):
    array = (pixels / 16).astype(np.uint8)
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "chest")
    slicer.util.updateVolumeFromArray(node, np.repeat(array[None, ..., None], 3, -1))
    table, heat = logic.diagnose(node, bundles["flat"], device="cpu")
    assert_same_diagnosis(
        table,
        heat,
        diagnose(Volume(array[None], np.eye(4), "chest"), bundles["flat"], device="cpu"),
    )
    assert "stored in colour" in table.GetDescription()


def test_a_window_and_the_direction_of_grey_go_along_with_voxels(
    logic, client, bundles, flat, pixels, scene
):
    flat.CreateDefaultDisplayNodes()
    display = flat.GetDisplayNode()
    assert images.read_image(flat).tags == {}  # Slicer's own choice of a window is nobody's
    display.AutoWindowLevelOff()
    display.SetWindowLevel(1500, 2200)
    display.SetAndObserveColorNodeID(images.INVERTED)
    tags = {"window_center": 2200, "window_width": 1500, "inverted": 1}
    assert images.read_image(flat).tags == tags
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), flat)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CR")
    table, heat = logic.diagnose(flat, bundles["flat"], device="cpu", view="lateral")
    assert_same_diagnosis(
        table,
        heat,
        diagnose(
            Volume(pixels[None], np.diag([-0.2, -0.2, 1, 1.0]), "chest", tags),
            bundles["flat"],
            device="cpu",
        ),
    )
    assert "lateral" in table.GetDescription()
    assert client.requests[0][1]["modality"] == "CR"
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    with pytest.raises(UserError, match="is a CT image"):
        logic.diagnose(flat, bundles["flat"], device="cpu")


def test_a_lung_mask_is_a_label_map_or_a_segmentation(scene, logic, client, bundles, flat, pixels):
    lungs = np.zeros(pixels.shape, np.uint8)
    lungs[20:70, 10:50] = 1
    mask = slicer.util.addVolumeFromArray(
        lungs[None], name="lungs", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    wanted = diagnose(
        Volume(pixels[None], np.diag([-0.2, -0.2, 1, 1.0]), "chest"),
        bundles["flat"],
        device="cpu",
        lungs=lungs > 0,
    )
    assert_same_diagnosis(*logic.diagnose(flat, bundles["flat"], device="cpu", lungs=mask), wanted)
    drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lungs, drawn")
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(flat)
    for name, half in (("left", slice(10, 30)), ("right", slice(30, 50))):  # one segment each
        part = np.zeros_like(lungs)
        part[:, half] = lungs[:, half]
        drawn.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(part[None], drawn, name, flat)
    assert_same_diagnosis(*logic.diagnose(flat, bundles["flat"], device="cpu", lungs=drawn), wanted)
    assert not slicer.util.arrayFromVolume(
        logic.diagnose(flat, bundles["flat"], device="cpu", lungs=mask)[1]
    )[0, :20].any()
